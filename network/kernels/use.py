"""When a network uses the fused operations."""

import warnings
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

HALF = (torch.bfloat16, torch.float16)


@cache
def has_triton() -> bool:
    """Whether Triton is installed; it comes with PyTorch for CUDA on Linux."""
    return find_spec("triton") is not None


def may_use_kernels(x: Tensor) -> bool:
    """Whether the fused operations take clips x (B, C, T, H, W): on this process's GPU, and in channels_last_3d.

    Not while torch.compile or an export captures the network, since these fuse by themselves or need plain operations,
    nor under torch.func.
    """
    return (
        x.is_cuda
        and x.dtype in (torch.float32, *HALF)
        and is_channels_last(x)
        and is_eager()
        and _switch.is_on
        and has_triton()
        and x.device.index == torch.cuda.current_device()  # Triton launches there
        and not failure(x.device, x.dtype)
    )


class _Switch:
    """Whether fused operations are wanted, and what tries them."""

    is_on = True
    failure_of: Callable[[torch.device, torch.dtype], str]


_switch = _Switch()


def set_check(failure_of: Callable[[torch.device, torch.dtype], str]) -> None:
    """What tries the fused operations on a GPU, see network/self_check.py."""
    _switch.failure_of = failure_of


def use_kernels(is_on: bool) -> None:
    """Turn the fused operations of this process on or off."""
    _switch.is_on = is_on


@cache
def failure(device: torch.device, dtype: torch.dtype) -> str:
    """Why a GPU's results of the fused operations in `dtype` are not to be used; empty if they are right. Tried once.

    A warning says so. It waits for the GPU, and takes some seconds where the kernels are not compiled yet.
    """
    reason = _switch.failure_of(device, dtype)
    if reason:
        warnings.warn(f"fused operations are not used, since they fail on this GPU: {reason}", stacklevel=2)
    return reason


def description_of_kernels(device: torch.device, dtype: torch.dtype) -> str:
    """Whether the fused operations are used on a GPU in channels_last_3d, in a line for the log; tries them."""
    if not has_triton():
        return "fused operations: not used, Triton is not installed"
    reason = failure(device, dtype)
    return f"fused operations: not used, {reason}" if reason else "fused operations: used, their results are right"


def is_channels_last(x: Tensor) -> bool:
    """Whether x (B, C, T, H, W) lies in memory as channels_last_3d, and not also as NCDHW."""
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def is_eager() -> bool:
    """Whether operations are run as they are called: neither captured nor transformed."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        return False
    return not torch._C._are_functorch_transforms_active()
