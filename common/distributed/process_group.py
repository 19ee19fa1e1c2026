"""The process group: how the ranks of a run connect, start together and share their gradients."""

import gc
import inspect
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist

# Import this before there is a process group. Its functions have the group as default argument, so a later import, as
# that of DistributedDataParallel, would keep the group alive until Python exits: see the end of `process_group`.
import torch.distributed.nn
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from common.cli import USAGE_ERROR
from common.distributed.patience import together
from common.distributed.rendezvous import connecting, launcher_store
from common.errors import DataError, UserError
from common.interrupt import ending_at_once
from common.processes import environment_number, signal_at_parent_death
from common.ranks import Ranks
from common.text import shortened

Made = TypeVar("Made")
COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # more than the slowest first batch takes; what may take longer: `together`


def is_launched() -> bool:
    """Whether torchrun or `launch` started this process as a rank."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "LOCAL_WORLD_SIZE" in os.environ


def unused_world() -> str:
    """A warning if the environment is of several ranks, but not of torchrun; empty otherwise.

    Some clusters' operators set RANK and WORLD_SIZE, and the script alone would train one network on each machine.
    """
    world = os.environ.get("WORLD_SIZE", "")
    if is_launched() or not (world.isdecimal() and len(world) < 10 and int(world) > 1):
        return ""
    return (
        f"WORLD_SIZE={world} is set, but not LOCAL_WORLD_SIZE: this process does not join others and works alone; to "
        "work together, start the script with torchrun on each machine"
    )


def on_all_ranks(ranks: Ranks, make: Callable[[], Made]) -> Made:
    """The result of `make`, if it succeeds on all ranks. They wait for each other as long as they live, see `together`.

    If it raises a UserError on some ranks, only the first of them raises a DataError with its message. The others exit
    silently with the same status, so the message appears once.
    """
    made, problem = None, ""
    with together(ranks):
        try:
            made = make()
        except UserError as error:
            if ranks.world_size == 1:
                raise
            problem = str(error)
    problems = _gather_before_exit(ranks, problem, any)
    if problem and not any(problems[: ranks.rank]):
        raise DataError(problem)
    if any(problems):
        sys.exit(USAGE_ERROR)
    assert made is not None
    return made


def check_agreement(ranks: Ranks, facts: Mapping[str, object]) -> None:
    """DataError, on all ranks, if one of the named facts is not the same everywhere: they would train different things.

    A value is shown if its name is that of a flag.
    """
    values = {name: str(value) for name, value in facts.items()}
    every = _gather_before_exit(ranks, values, lambda every: any(each != every[0] for each in every))
    for rank, theirs in enumerate(every):
        differing = [
            f"{name} {shortened(theirs[name])} instead of {shortened(value)}" if name.startswith("--") else name
            for name, value in every[0].items()
            if theirs[name] != value
        ]
        if differing:
            raise DataError(
                f"rank {rank} differs from rank 0 in {', '.join(differing)}: give all machines the same command, code, "
                "dataset and checkpoints",
                on_all_ranks=True,
            )


def _gather_before_exit(ranks: Ranks, value: Made, is_end: Callable[[list[Made]], bool]) -> list[Made]:
    """The `value` of every rank, after which the ranks end if `is_end`.

    They wait then: exiting at once would break the connection of ranks that are still in `gather`.
    """
    every = ranks.gather(value)
    if is_end(every):
        time.sleep(1)
    return every


@contextmanager
def process_group(device_type: str) -> Iterator[Ranks]:
    """Join the process group that the environment describes, and leave it at the end unless an error is raised.

    Without a launcher this process is a world of size 1.
    """
    if not is_launched():
        yield Ranks(0, 0, 1)
        return
    # If the launcher is killed, save and end. Otherwise this rank would train on and occupy its GPU. Ranks of `launch`
    # know that already since their start, see `end_with_launcher`; here it is for those of torchrun.
    signal_at_parent_death(signal.SIGTERM)
    ranks = _ranks()
    if device_type == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    with ending_at_once(), connecting(ranks):
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo",
            timeout=COLLECTIVE_TIMEOUT,
            store=launcher_store(ranks, COLLECTIVE_TIMEOUT),
            rank=ranks.rank,
            world_size=ranks.world_size,
        )
    yield ranks
    # Destroy the group only after success: otherwise this would wait for a failed rank. If nothing refers to the group
    # any more, destroying it joins gloo's threads. If one is still running when Python 3.13 or older exits, the process
    # aborts, and a finished run looks failed.
    gc.collect()
    dist.destroy_process_group()


def _ranks() -> Ranks:
    """The ranks that the launcher's environment describes; DataError if it is incomplete or contradicts itself."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")
    rank, local_rank, world_size, local_size = (environment_number(name) for name in names)
    if rank >= world_size or local_rank >= local_size or local_size > world_size:
        values = ", ".join(f"{name}={os.environ[name]}" for name in names)
        raise DataError(f"the environment variables {values} contradict each other: start the run with torchrun")
    if "MASTER_ADDR" not in os.environ:
        raise DataError("the environment variable MASTER_ADDR is missing: start the run with torchrun")
    environment_number("MASTER_PORT", minimum=1)
    return Ranks(rank, local_rank, world_size)


def wrap_in_ddp(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with gradients that are averaged over ranks.

    Each rank keeps its own buffers, such as batch statistics; Ranks.broadcast makes them equal.
    """
    devices = [device.index] if device.type == "cuda" else None
    make = partial(DistributedDataParallel, network, device_ids=devices, gradient_as_bucket_view=True)
    # torch 2.13 renamed the argument that says whether buffers are shared.
    is_renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    return make(forward_sync_buffers=False) if is_renamed else make(broadcast_buffers=False)
