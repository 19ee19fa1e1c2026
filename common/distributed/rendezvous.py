"""Connects ranks at the address that the environment names, also those that torchrun has started again.

torchrun's store of keys outlives a restart, so a rank may find the address of a rank that no longer runs, and fail. So
it is with torch 2.13; TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 prevents that, but not with torchrun's default ("static")
rendezvous.
"""

import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta

import torch.distributed as dist

from common.errors import DataError, TrainingError
from common.ranks import Ranks
from common.text import quoted, shortened

NAME_TIMEOUT = 60.0  # seconds; the name of a machine that has just started may not be known everywhere yet
QUIET = 20.0  # seconds of waiting before a line says for what


@contextmanager
def connecting(ranks: Ranks) -> Iterator[None]:
    """Inside this context, the ranks connect. A line says what is waited for, if it takes long.

    DataError if the name in MASTER_ADDR stays unknown; TrainingError if the ranks do not connect.
    """
    place = f"MASTER_ADDR {shortened(os.environ['MASTER_ADDR'])}, MASTER_PORT {os.environ['MASTER_PORT']}"
    rank = f"rank {ranks.rank} of {ranks.world_size}"

    def tell() -> None:
        with suppress(OSError, ValueError):  # standard output is closed: the run goes on without it
            print(f"{rank} waits for the others to connect at {place}", flush=True)

    timer = threading.Timer(QUIET, tell)
    timer.daemon = True
    if ranks.local_rank == 0:
        timer.start()
    try:
        _await_name(os.environ["MASTER_ADDR"])
        yield
    except RuntimeError as error:
        if not is_lost_peer(error):
            raise
        cause = str(error).partition("\n")[0].split(". ")[0].rstrip(".")
        raise TrainingError(
            f"{rank} did not connect to the others at {place} ({cause}): check that all ranks were started, "
            "with the same address and a free port that the machines let each other use"
        ) from error
    finally:
        timer.cancel()


def _await_name(host: str) -> None:
    """Wait until the name of a host is known; DataError if it is not within NAME_TIMEOUT."""
    deadline = time.monotonic() + NAME_TIMEOUT
    while True:
        try:
            socket.getaddrinfo(host, None)
            return
        except (OSError, UnicodeError) as error:  # UnicodeError: it can be no name
            if isinstance(error, UnicodeError) or not host or time.monotonic() > deadline:
                reason = error.strerror if isinstance(error, OSError) else "it can be no name of a host"
                raise DataError(
                    f"the environment variable MASTER_ADDR is {quoted(host)}, a host that is not known here "
                    f"({reason}): give the name or address of the first rank's machine"
                ) from error
        time.sleep(1)


def is_lost_peer(error: RuntimeError) -> bool:
    """Whether torch raised `error` because another rank has ended. Gloo's errors have no type of their own."""
    return isinstance(error, dist.DistError) or "gloo" in str(error)


def launcher_store(ranks: Ranks, timeout: timedelta) -> dist.Store | None:
    """The launcher's store, with a prefix that only this start of the ranks uses.

    None if the launcher shares no store: then torch opens one in the first rank.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=timeout)
    return dist.PrefixStore(rendezvous(store, ranks.rank, ranks.world_size, timeout.total_seconds()), store)


def rendezvous(store: dist.Store, rank: int, world_size: int, timeout: float = 600.0) -> str:
    """A name that the ranks of this start agree on, whatever earlier starts have left in the store.

    The first rank chooses the name. Each other rank publishes an id, waits for the name under that id, and confirms
    it. The environment has no such name: each machine has its own restart count. DistStoreError after `timeout`
    seconds.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"guest/{rank}", own)
        name = store.get(f"name/for/{own}").decode()  # waits until it is set
        store.set(f"{name}/has/{rank}", "")
        return name
    missing = set(range(1, world_size))
    deadline = time.monotonic() + timeout
    while missing:
        if time.monotonic() > deadline:
            raise dist.DistStoreError(f"rank {min(missing)} did not come within {timeout:.0f} s")
        for guest in [f"guest/{other}" for other in missing]:
            if store.check([guest]):  # may be the id of an earlier start; the rank that runs now will overwrite it
                store.set(f"name/for/{store.get(guest).decode()}", own)
        missing = {other for other in missing if not store.check([f"{own}/has/{other}"])}
        time.sleep(0.02)
    return own
