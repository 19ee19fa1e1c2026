"""When a network uses the fused operations."""

import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from common.kernels.switch import are_wanted, has_triton

HALF = (torch.bfloat16, torch.float16)


def may_use_kernels(x: Tensor) -> bool:
    """Whether the fused operations take clips x (B, C, T, H, W): on this process's GPU, and in channels_last_3d.

    Not while torch.compile or an export captures the network, since these fuse by themselves or need plain operations,
    nor under torch.func.
    """
    return (
        x.is_cuda
        and type(x) in (Tensor, nn.Parameter)
        and x.dtype in (torch.float32, *HALF)
        and is_channels_last(x)
        and is_eager()
        and are_wanted()
        and has_triton()
        and x.device.index == torch.cuda.current_device()  # Triton launches there
        and not failure(x.device, x.dtype)
    )


class _Check:
    """What tries some of the fused operations, and what it found on each GPU."""

    failure_of: Callable[[torch.device, torch.dtype], str]

    def __init__(self, what: str) -> None:
        self.what = what  # is not used, for the warning
        self.failures: dict[tuple[torch.device, torch.dtype], str] = {}

    def failure(self, device: torch.device, dtype: torch.dtype) -> str:
        """See `failure`."""
        known = self.failures.get((device, dtype))
        if known is None:
            if torch.cuda.is_available() and torch.cuda.is_current_stream_capturing():
                return "they were not tried before the capture of a graph"
            known = self.failures[device, dtype] = self.failure_of(device, dtype)
            if known:
                warnings.warn(f"{self.what} not used, since they fail on this GPU: {known}", stacklevel=3)
        return known


_most = _Check("fused operations are")
_of_recursion = _Check("the fused operations of squeeze and recursion are")


def set_check(
    failure_of: Callable[[torch.device, torch.dtype], str],
    recursion_failure_of: Callable[[torch.device, torch.dtype], str],
) -> None:
    """What tries the fused operations on a GPU, and those of squeeze and recursion; see network/self_check.py."""
    _most.failure_of, _of_recursion.failure_of = failure_of, recursion_failure_of


def failure(device: torch.device, dtype: torch.dtype) -> str:
    """Why a GPU's results of the fused operations in `dtype` are not to be used; empty if they are right. Tried once.

    A warning says so. It waits for the GPU, and takes some seconds where the kernels are not compiled yet.
    torch.OutOfMemoryError if there is no memory to try them.
    """
    return _most.failure(device, dtype)


def recursion_failure(device: torch.device, dtype: torch.dtype) -> str:
    """The same of squeeze and recursion. If it fails, PyTorch's operations replace it, and all others are used."""
    return _of_recursion.failure(device, dtype)


def has_hooks(module: nn.Module) -> bool:
    """Whether something watches the module's own calls, which an operation of several modules would skip."""
    hooks = module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks
    return any(hooks)


def kept_as_they_are() -> AbstractContextManager[None]:
    """Tensors that are saved for a backward pass within are not those of a block that is recomputed.

    They are saved without their graph: an operation that saved its own output with it would hold itself for ever.
    """
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)


def description_of_kernels(device: torch.device, dtype: torch.dtype) -> str:
    """Whether the fused operations are used on a GPU in channels_last_3d, in a line for the log; tries them."""
    if not has_triton():
        return "fused operations: not used, Triton is not installed"
    reason = failure(device, dtype)
    if reason:
        return f"fused operations: not used, {reason}"
    reason = recursion_failure(device, dtype)
    but = f", but for squeeze and recursion, where PyTorch's are used: {reason}" if reason else ""
    return f"fused operations: used, their results are right{but}"


def is_channels_last(x: Tensor) -> bool:
    """Whether x (B, C, T, H, W) lies in memory as channels_last_3d, and not also as NCDHW."""
    if not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active():
        return False  # a tensor under vmap has no layout
    return x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()


def is_eager() -> bool:
    """Whether operations are run as they are called: neither captured nor transformed."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():  # exports to ONNX are the one or the other
        return False
    return not torch._C._are_functorch_transforms_active()
