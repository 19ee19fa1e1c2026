"""Stops a run after a signal, on all ranks after the same step."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch
import torch.distributed as dist

EXIT_STATUS = 143  # of a run that saved and stopped after a signal: 128 + SIGTERM, as in a shell
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StoppedBySignal(Exception):
    """A rank received a signal. `Trainer.fit` saves the state and raises this again."""


class StopSignal:
    """Records SIGTERM and SIGUSR1 (preemption). Further signals do not interrupt the checkpoint that is then saved."""

    def __init__(self, world_size: int) -> None:
        self.received = False
        self.world_size = world_size
        self.flag = torch.zeros(1)
        self.work: dist.Work | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside this context, record the signals instead of ending the process."""
        before = {number: signal.signal(number, self._note) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True

    def share(self) -> None:
        """Start telling the other ranks; call it when a step begins. The exchange runs beside the step."""
        self.flag.fill_(self.received)
        if self.world_size > 1:
            self.work = dist.all_reduce(self.flag, dist.ReduceOp.MAX, async_op=True)

    def is_set(self) -> bool:
        """Whether any rank had received a signal when this step began; the same answer on all ranks."""
        if self.work:
            self.work.wait()
            self.work = None
        return bool(self.flag)
