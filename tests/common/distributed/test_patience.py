"""Ranks wait for one that works for long, and only as long as it lives."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch.distributed.distributed_c10d import _set_pg_timeout

from common.distributed import patience
from common.distributed.process_group import on_all_ranks
from common.errors import TrainingError
from common.ranks import Ranks

COLLECTIVE, SILENCE, LATE = 2.0, 3.0, 8.0  # seconds


def rank_that_waits(rank: int, folder: Path, case: str) -> None:
    """One of two ranks, whose collectives give up after COLLECTIVE seconds. Write what became of it into a file."""
    torch.set_num_threads(1)
    patience.BEAT, patience.SILENCE, patience.LATE = 0.2, SILENCE, LATE
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    _set_pg_timeout(timedelta(seconds=COLLECTIVE))
    ranks = Ranks(rank, rank, 2)

    def make() -> int:
        if rank == 0 and case == "works":
            time.sleep(2 * SILENCE)
        if rank == 0 and case == "fails":
            raise ZeroDivisionError
        if rank == 0 and case == "hangs":
            os.kill(os.getpid(), signal.SIGSTOP)
        return rank

    if rank == 0 and case in ("is late", "never comes"):
        time.sleep(SILENCE + 1 if case == "is late" else 2 * LATE)
    try:
        result = f"made {on_all_ranks(ranks, make)} {ranks.gather(rank)}"
    except (TrainingError, ZeroDivisionError) as error:
        result = f"{type(error).__name__}: {error}"
    (folder / f"{rank}").write_text(result)
    if case in ("works", "is late"):
        dist.destroy_process_group()
    os._exit(0)  # without waiting for the other rank


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("works", "made 1 [0, 1]"),
        ("is late", "made 1 [0, 1]"),
        ("fails", "TrainingError: rank 0 "),
        ("hangs", "TrainingError: rank 0 "),
        ("never comes", "TrainingError: rank 0 "),
    ],
)
def test_ranks_wait_for_one_that_works_as_long_as_it_lives(tmp_path, case, expected):
    """The first scan of millions of videos takes longer than a collective waits; a lost rank must not be waited for."""
    context = mp.spawn(rank_that_waits, (tmp_path, case), nprocs=2, join=False)
    first, second = context.processes
    second.join(120)
    try:
        assert (tmp_path / "1").read_text().startswith(expected)
        if case in ("works", "is late"):
            first.join(60)
            assert (tmp_path / "0").read_text() == "made 0 [0, 1]"
    finally:
        first.kill()
        first.join()
