"""The flags of the machine that a command runs on: device, processes, workers."""

from dataclasses import dataclass, replace
from typing import TypeVar

import torch

from common.distributed.process_group import is_launched
from common.errors import DataError
from common.options import option
from common.processes import available_cpus, environment_number

Options = TypeVar("Options", bound="MachineOptions")
MOST_WORKERS = 16


@dataclass(frozen=True)
class MachineOptions:
    """The flags of the machine."""

    workers: int = option(
        -1, "processes that read clips, for each GPU; 0: read in the main process; -1: by the number of CPU cores",
        "data", minimum=-1,
    )  # fmt: skip
    device: str = option(
        "auto", "auto: the GPUs if torch sees any, else the CPU", "machine", choices=("auto", "cuda", "cpu")
    )
    gpus: int = option(
        0, "GPUs of this machine to use, 0: all; on the CPU, processes to start, 0: one", "machine", minimum=0
    )


def with_machine(options: Options) -> Options:
    """The options with `auto`, --gpus 0 and --workers -1 replaced by values for this machine.

    DataError if it has too few GPUs.
    """
    device = _device(options)
    gpus = options.gpus or (torch.cuda.device_count() if device == "cuda" else 1)
    workers = options.workers
    if workers < 0:
        cores = available_cpus() // (environment_number("LOCAL_WORLD_SIZE", minimum=1) if is_launched() else gpus)
        workers = max(1, min(MOST_WORKERS, cores if device == "cuda" else cores // 2))
    return replace(options, device=device, gpus=gpus, workers=workers)


def with_precision(precision: str, device: str) -> str:
    """The precision that `auto` stands for on a device."""
    if precision != "auto":
        return precision
    return "fp32" if device == "cpu" else "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"


def _device(options: MachineOptions) -> str:
    present = torch.cuda.device_count()
    device = options.device if options.device != "auto" else "cuda" if present else "cpu"
    if device == "cuda":
        local_ranks = environment_number("LOCAL_WORLD_SIZE", minimum=1) if is_launched() else options.gpus
        if local_ranks > present or not present:
            asked = f"--gpus {local_ranks}" if local_ranks else "--device cuda"
            raise DataError(f"{asked}: this machine has {present} GPUs that torch can use")
    elif options.device == "auto" and options.gpus > 1:
        raise DataError(
            f"--gpus {options.gpus}: this machine has no GPU that torch can use; for {options.gpus} processes on the "
            "CPU add --device cpu"
        )
    return device
