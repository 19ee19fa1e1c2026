"""Stops a run after a signal or a problem of one rank, on all ranks before the same step."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple

import torch

from common import interrupt
from common.ranks import Ranks

SIGNALS = interrupt.STOPPING  # the signals that stop a run, and its exit status then


class StoppedBySignal(BaseException):
    """A rank received a signal. No `except Exception` may swallow it. `is_saved`: the state was saved since."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.name = signal.Signals(number).name
        self.exit_status = SIGNALS[signal.Signals(number)]
        self.is_saved = False


class Agreement(NamedTuple):
    """What the ranks know together before a step; the same on all ranks."""

    signal: int | None  # that any of them has received
    has_problem: bool  # whether any of them has one
    total: int  # the sum of their counts


@contextmanager
def stopping_at_once() -> Iterator[None]:
    """Inside this context, a signal raises StoppedBySignal where the program is: there is nothing to save yet.

    At its end what the process does is decided, see `keep_outcome`: so it stays in a command of the project and in a
    rank, which end then. Other programs get their handlers back.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(number)

    before = {number: signal.getsignal(number) for number in SIGNALS}
    is_own = interrupt.is_own() or "LOCAL_WORLD_SIZE" in os.environ
    try:
        with _handling(stop):
            try:
                yield
            finally:
                keep_outcome()
    finally:
        for number, old in before.items():
            if not is_own and old is not None:
                signal.signal(number, old)


def keep_outcome() -> None:
    """From here on, signals change nothing: the run has finished, failed or saved, and only has to end.

    A second signal, or that of a launcher whose other ranks have failed, too, would replace the reason or the status.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class StopSignal:
    """Records the first signal. Further ones do not interrupt the checkpoint that is then saved."""

    def __init__(self, ranks: Ranks) -> None:
        self.received: int | None = None
        self.received_at = 0.0  # by time.monotonic
        self.ranks = ranks

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside this context, record the signals instead of ending the process."""
        with _handling(self._note):
            yield

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received, self.received_at = number, time.monotonic()
        # The signal may end processes that read clips, too. torch would then raise an error wherever this process is,
        # in the middle of a step or of the checkpoint that is still to be saved; now only where a batch is missing.
        # It stays so: such a process may be dead for long before it is missed, and the run ends now.
        signal.signal(signal.SIGCHLD, do_nothing)

    def agree(self, has_problem: bool = False, count: int = 0) -> Agreement:
        """What the ranks know together; every rank must call it. It waits for the other ranks, not for the device."""
        if self.ranks.world_size == 1:
            return Agreement(self.received, has_problem, count)
        own = [self.received == number for number in SIGNALS]
        *received, problems, total = self.ranks.sum(torch.tensor([*own, has_problem, count])).tolist()
        found = [number for number, ranks in zip(SIGNALS, received, strict=True) if ranks]
        return Agreement(found[0] if found else None, problems > 0, total)


@contextmanager
def _handling(handler: "signal._HANDLER") -> Iterator[None]:
    """Inside this context, `handler` gets the signals. An ignored SIGHUP stays ignored: `nohup` asks for that.

    At its end the old handler is back, unless the signals are ignored by then, see `keep_outcome`.
    """
    numbers = [number for number in SIGNALS if not is_ignored_hangup(number)]
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            if signal.getsignal(number) is handler:
                signal.signal(number, old)


def do_nothing(number: int, frame: FrameType | None) -> None:
    """A handler for SIGCHLD. With SIG_DFL, Python prints an error if the signal has just come."""


def is_ignored_hangup(number: int) -> bool:
    """Whether this is SIGHUP, and `nohup` or the shell has this process ignore it."""
    return number == signal.SIGHUP and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
