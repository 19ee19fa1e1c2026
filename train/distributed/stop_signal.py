"""Stopping on a signal: all ranks after the same step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

EXIT_STATUS = 143  # of a run that a signal stopped after saving, as a shell gives it for SIGTERM
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StoppedBySignal(Exception):
    """The run stopped after a signal, with its state saved."""


class StopSignal:
    """Notes SIGTERM and SIGUSR1 (preemption); further ones change nothing, so a checkpoint in writing is completed."""

    def __init__(self, world_size: int) -> None:
        self.received = False
        self.world_size = world_size
        self.flag = torch.zeros(1)
        self.work: dist.Work | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Note signals inside, instead of ending at once."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def share(self) -> None:
        """Tell the other ranks, at the start of a step; the answer travels while the step runs."""
        self.flag.fill_(self.received)
        if self.world_size > 1:
            self.work = dist.all_reduce(self.flag, dist.ReduceOp.MAX, async_op=True)

    def is_set(self) -> bool:
        """Whether any rank had been told to stop when this step began: the same answer on all ranks."""
        if self.work:
            self.work.wait()
            self.work = None
        return bool(self.flag)
