"""Waiting for ranks that work for long, as at the first scan of a large dataset: as long as they live.

A collective gives up after some minutes, since nothing tells it whether the other ranks still run. Here each rank gives
signs of life while it works.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch.distributed as dist
from torch.distributed.distributed_c10d import _get_default_store

from common.errors import TrainingError
from common.ranks import Ranks

BEAT = 5.0  # seconds between two signs of life
SILENCE = 120.0  # seconds without one, after which a rank is given up
LATE = 600.0  # seconds after which one is given up that does not come at all: as long as a collective waits
POLL = 0.5  # seconds between two looks, at most


@contextmanager
def together(ranks: Ranks) -> Iterator[None]:
    """Leave this context when all ranks have reached its end. An error is raised at once, without waiting.

    All ranks must call it, in the same order. TrainingError if a rank has failed, does not come within `LATE` seconds,
    or gives no sign of life for `SILENCE` seconds, but not if it works for hours. A signal interrupts the wait.
    """
    if ranks.world_size == 1:
        yield
        return
    store = _get_default_store()
    work = f"work/{store.add(f'works/{ranks.rank}', 1)}"
    with _signs_of_life(store, f"{work}/signs/{ranks.rank}"):
        try:
            yield
        except Exception:
            with suppress(RuntimeError):  # the error that led here is the one to report
                store.set(f"{work}/failed", str(ranks.rank))
            raise
        store.set(f"{work}/done/{ranks.rank}", "")
        _wait(store, work, ranks)


@contextmanager
def _signs_of_life(store: dist.Store, key: str) -> Iterator[None]:
    """Count `key` up every `BEAT` seconds."""
    is_over = threading.Event()

    def beat() -> None:
        with suppress(RuntimeError):  # the store is gone: the main thread finds that, too
            while True:
                store.add(key, 1)
                if is_over.wait(BEAT):
                    return

    thread = threading.Thread(target=beat, name="signs of life", daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(BEAT)


def _wait(store: dist.Store, work: str, ranks: Ranks) -> None:
    """Wait until all ranks are done. Most waits are short, so the first looks come soon after each other."""
    done = [f"{work}/done/{rank}" for rank in range(ranks.world_size)]
    signs, pause = dict.fromkeys(range(ranks.world_size), 0), 0.01
    last_sign = dict.fromkeys(signs, time.monotonic())
    looked = time.monotonic()
    while not store.check(done):
        time.sleep(pause)
        pause = min(1.2 * pause, POLL)
        now = time.monotonic()
        if now - looked < BEAT:
            continue
        looked = now
        if store.check([f"{work}/failed"]):
            failed = store.get(f"{work}/failed").decode()
            raise TrainingError(f"rank {failed} has failed; its own log gives the reason")
        for rank in (rank for rank in signs if not store.check([done[rank]])):
            number = store.add(f"{work}/signs/{rank}", 0)
            if number != signs[rank]:
                signs[rank], last_sign[rank] = number, now
            elif now - last_sign[rank] > (limit := SILENCE if number else LATE):
                raise TrainingError(f"rank {rank} has given no sign of life for {limit:.0f} s: check its machine")
