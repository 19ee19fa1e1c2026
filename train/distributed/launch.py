"""Ranks: how several processes train one network. One process alone is a world of size 1."""

import gc
import inspect
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import TypeVar

import torch
import torch.distributed as dist

# DistributedDataParallel imports it too, but after the process group is there, which its functions' default arguments
# would then hold for good: see `process_group`.
import torch.distributed.nn
from torch import nn
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from torch.nn.parallel import DistributedDataParallel

from common.cli import USAGE_ERROR
from common.errors import DataError, UserError
from common.processes import signal_at_parent_death
from common.ranks import Ranks

Made = TypeVar("Made")
COLLECTIVE_TIMEOUT = timedelta(minutes=10)  # longer than the slowest first batch or checkpoint, shorter than a night


def is_launched() -> bool:
    """Whether torchrun, or `launch`, started this process as a rank."""
    return "TORCHELASTIC_RUN_ID" in os.environ or "LOCAL_WORLD_SIZE" in os.environ


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether torch raised it because another rank is gone. (Gloo has no type of its own for that.)"""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def on_all_ranks(ranks: Ranks, make: Callable[[], Made]) -> Made:
    """What `make` gives, if it succeeds on all ranks.

    A user's mistake is raised by the first rank that finds one; the others leave without a word, so that it is said
    once.
    """
    made, problem = None, ""
    try:
        made = make()
    except UserError as error:
        if ranks.world_size == 1:
            raise
        problem = str(error)
    problems = ranks.gather(problem)
    if any(problems):
        time.sleep(1)  # who leaves at once breaks the connection of those that are not out of `gather` yet
    if problem and not any(problems[: ranks.rank]):
        raise DataError(problem)
    if any(problems):
        sys.exit(USAGE_ERROR)
    assert made is not None
    return made


@contextmanager
def process_group(device_type: str) -> Iterator[Ranks]:
    """The process group that the environment describes; a world of one where it describes none."""
    if not is_launched():
        yield Ranks(0, 0, 1)
        return
    # At SIGTERM it saves. After its launcher's death it would train on as an orphan and hold its GPU.
    signal_at_parent_death(signal.SIGTERM)
    ranks = Ranks(*(int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE")))
    if device_type == "cuda":
        torch.cuda.set_device(ranks.local_rank)
    backend = "cpu:gloo,cuda:nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(
        backend, timeout=COLLECTIVE_TIMEOUT, store=_store(ranks), rank=ranks.rank, world_size=ranks.world_size
    )
    yield ranks
    # Only if nothing was raised: with a rank in trouble, the orderly end would wait for it. It joins gloo's threads, if
    # nothing refers to the group any more. One that gives a tensor back while Python 3.13 or older is leaving aborts
    # the process: a run that is done would count as failed.
    gc.collect()
    dist.destroy_process_group()


def _store(ranks: Ranks) -> dist.Store | None:
    """The launcher's store, under a name of this start's own; None where the first rank has to open one.

    The store outlives a restart, and by torch 2.13 ranks that are started again would find the addresses of those
    before them in it, and connect to nobody.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=COLLECTIVE_TIMEOUT)
    return dist.PrefixStore(rendezvous(store, ranks.rank, ranks.world_size), store)


def rendezvous(store: dist.Store, rank: int, world_size: int) -> str:
    """A name that these processes alone agree on, whatever those of earlier starts have left in the store.

    Nothing in the environment is such a name: the restart count is each machine's own.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"guest/{rank}", own)
        name = store.get(f"name/for/{own}").decode()  # waits
        store.set(f"{name}/has/{rank}", "")
        return name
    missing = set(range(1, world_size))
    while missing:
        for guest in [f"guest/{other}" for other in missing]:
            if store.check([guest]):  # of a dead one, perhaps; the living one will overwrite it
                store.set(f"name/for/{store.get(guest).decode()}", own)
        missing = {other for other in missing if not store.check([f"{own}/has/{other}"])}
        time.sleep(0.02)
    return own


def parallel(network: nn.Module, device: torch.device) -> nn.Module:
    """The network with its gradients averaged over ranks. Buffers stay each rank's own: see Ranks.broadcast."""
    devices = [device.index] if device.type == "cuda" else None
    make = partial(DistributedDataParallel, network, device_ids=devices, gradient_as_bucket_view=True)
    # torch 2.13 renamed the argument that says so.
    is_renamed = "forward_sync_buffers" in inspect.signature(DistributedDataParallel).parameters
    return make(forward_sync_buffers=False) if is_renamed else make(broadcast_buffers=False)


def launch(ranks: int, argv: Sequence[str]) -> int:
    """Run this very command line as `ranks` processes of this machine; return the exit status of the run.

    By torch's own elastic launcher: a rank that dies takes the others down, and its reason is on the console.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=uuid.uuid4().hex,
        max_restarts=0,
        monitor_interval=1.0,
    )
    # The launcher passes SIGTERM on to the ranks and waits for them to save, but knows nothing of SIGUSR1.
    signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    logging.disable(logging.ERROR)  # of the launcher itself, which says less and at length
    try:
        elastic_launch(config, sys.executable)("-u", *argv)
    except ChildFailedError as error:
        # Of those that ended in the same second, the one that was killed came first: the others lost it. But SIGTERM
        # is the launcher's own way to stop them.
        rank, failure = min(
            error.failures.items(),
            key=lambda item: (item[1].timestamp, item[1].exitcode == -signal.SIGTERM, item[1].exitcode),
        )
        if failure.exitcode > 0:  # it has said why
            return failure.exitcode
        name = signal.Signals(-failure.exitcode).name
        print(f"error: rank {rank} was killed by {name}; the other ranks were stopped", file=sys.stderr)
        return 1
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0
