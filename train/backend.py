"""Settings of a device that make training faster."""

import torch

from common.memory import keep_freed_memory


def tune_device(kind: str) -> None:
    """Set this process up for training on `kind`, "cuda" or "cpu". Call it before any large allocation.

    On a GPU, cuDNN measures its algorithms once for each shape, and single-precision operations use TF32. On a CPU,
    the process keeps freed memory.
    """
    if kind == "cpu":
        keep_freed_memory()
        return
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
