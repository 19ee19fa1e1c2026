"""What training sets of a device before it allocates anything there."""

import ctypes
from contextlib import suppress

import torch

# of mallopt, from glibc's malloc.h
M_TRIM_THRESHOLD = -1
M_MMAP_MAX = -4


def tune_device(kind: str) -> None:
    """Set this process up for the speed of "cuda" or "cpu".

    On a GPU cuDNN tries its algorithms once a shape, and what remains in single precision uses TF32.
    """
    if kind == "cpu":
        keep_freed_memory()
        return
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def keep_freed_memory() -> None:
    """Let this process, and those that it forks, keep the memory that it frees for its next allocations.

    glibc maps each large allocation anew and gives it back to the kernel when it is freed, so that every training step
    waits for the kernel to clear each page of its activations again, which takes a tenth of the step or more. Where
    the C library is another, nothing is changed.
    """
    with suppress(OSError, AttributeError, TypeError):  # no such library or function: musl, macOS, Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, -1)  # never
