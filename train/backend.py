"""What training sets of a device before it computes there."""

import ctypes

import torch

# What mallopt(3) can set, from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def tune_device(kind: str) -> None:
    """Set this process up for the speed of `kind`, "cuda" or "cpu"; before anything large is allocated.

    On a GPU cuDNN tries its algorithms once a shape, and what remains in single precision uses TF32. On a CPU freed
    memory is kept.
    """
    if kind == "cpu":
        _keep_freed_memory()
        return
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def _keep_freed_memory() -> None:
    """Let this process, and those that it forks, keep the memory that it frees for its next allocations.

    glibc maps each large allocation anew and gives it back to the kernel when it is freed, so that every training step
    waits for the kernel to clear each page of its activations again, which takes a tenth of the step or more. Where
    the C library is another, nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError):  # musl and macOS have no such function, on Windows None is no library
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
