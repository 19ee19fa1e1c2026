"""Settings of a device that make training faster."""

import os

import torch

from common.logs import LOG
from common.memory import keep_freed_memory
from common.processes import available_cpus
from common.ranks import Ranks


def prepare_device(kind: str, precision: str, ranks: Ranks, task: str = "training") -> torch.device:
    """The device of this rank, "cuda" or "cpu", set up for `task` in `precision`; logs what it is."""
    if torch.__version__.startswith("2.9.") and precision != "fp32":
        LOG.warning(
            "torch %s: mixed-precision Conv3d is several times slower in this version; install another one",
            torch.__version__,
        )
    tune_device(kind)
    if kind == "cpu":
        if "OMP_NUM_THREADS" not in os.environ:
            local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
            torch.set_num_threads(max(1, available_cpus() // local_ranks))
        LOG.info("%s on the CPU: %d processes, %d threads each", task, ranks.world_size, torch.get_num_threads())
        return torch.device("cpu")
    device = torch.device("cuda", ranks.local_rank)
    LOG.info("%s on %d x %s in %s", task, ranks.world_size, torch.cuda.get_device_name(device), precision)
    return device


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
