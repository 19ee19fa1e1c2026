"""When a network uses the fused operations."""

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
        and has_triton()
        and x.device.index == torch.cuda.current_device()
    )


def is_channels_last(x: Tensor) -> bool:
    """Whether x (B, C, T, H, W) lies in memory as channels_last_3d, and not also as NCDHW."""
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def is_eager() -> bool:
    """Whether operations are run as they are called: neither captured nor transformed."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch.onnx.is_in_onnx_export():
        return False
    return not torch._C._are_functorch_transforms_active()
