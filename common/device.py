"""Settings of a device that make training faster."""

import os

import torch

from common.logs import LOG
from common.memory import keep_freed_memory
from common.processes import available_cpus
from common.ranks import Ranks

EXPANDABLE = "expandable_segments:True"
ALLOCATOR_VARIABLES = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_HIP_ALLOC_CONF")


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

    On a GPU, cuDNN measures its algorithms once for each shape, single-precision operations use TF32, and segments of
    memory can grow (see `let_segments_grow`). On a CPU, the process keeps freed memory.
    """
    if kind == "cpu":
        keep_freed_memory()
        return
    let_segments_grow()
    torch.backends.cudnn.benchmark = True
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True


def let_segments_grow() -> None:
    """Let the GPU's memory be taken in segments that grow, unless the user has set how; logs which. Before allocations.

    By default a segment keeps the size that was first asked for. When the shapes of the batches change, freed segments
    do not fit the next shape, and others are taken until the memory is full of gaps.
    """
    if chosen := [f"{name}={os.environ[name]}" for name in ALLOCATOR_VARIABLES if name in os.environ]:
        LOG.info("GPU memory: %s", ", ".join(chosen))
        return
    # By a call: torch reads the variables when it is imported, and 2.9 ignores this setting in PYTORCH_ALLOC_CONF.
    setter = getattr(torch._C, "_accelerator_setAllocatorSettings", None) or torch.cuda.memory._set_allocator_settings
    try:
        setter(EXPANDABLE)
    except (AttributeError, RuntimeError, ValueError) as error:
        LOG.warning("GPU memory: this torch refuses %s (%s)", EXPANDABLE, str(error).splitlines()[0])
    else:
        LOG.info("GPU memory: %s", EXPANDABLE)
