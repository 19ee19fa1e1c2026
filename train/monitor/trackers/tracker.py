"""A callback that hands the reports of a run to a tracker, in a thread of its own: it never ends or slows the run."""

import threading
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Protocol

from common.logs import LOG
from common.text import shortened
from train.monitor.reports import EpochReport, LogReport
from train.monitor.scalars import epoch_scalars, step_scalars

MOST_HELD = 10_000
"""Reports that are held for a tracker that does not take them."""
FIRST_PAUSE, LONGEST_PAUSE = 30.0, 1800.0  # seconds after a failure, doubled by each further one
END_SECONDS, STOP_SECONDS = 60.0, 15.0
"""How long a run waits for its tracker at its end, and if it is stopped before: after a signal it has little time."""


@dataclass(frozen=True)
class RunInfo:
    """What a tracker is told of a run at its beginning."""

    name: str
    folder: Path
    run_key: str
    is_resumed: bool
    options: Mapping[str, Any] = field(default_factory=dict)  # plain types


@dataclass(frozen=True)
class Record:
    """Numbers at a step of the run; those of `best` also belong to the run's summary."""

    step: int
    seconds: float  # since 1970
    scalars: Mapping[str, float]
    best: Mapping[str, float] = field(default_factory=dict)


class TrackedRun(Protocol):
    """A run in a tracker. Any method may raise any exception and take any time."""

    name: str  # of the tracker

    def start(self) -> str:
        """Begin the run, or continue it. Returns where it is, for the log."""

    def send(self, record: Record) -> None:
        """Take a record."""

    def finish(self, is_complete: bool) -> None:
        """End the run; `is_complete` if its last epoch is done."""


class Tracker:
    """Hands the reports to a `TrackedRun`. What it does not take is held and tried again, and said once a kind."""

    def __init__(self, run: TrackedRun) -> None:
        self.run = run
        self.queue: SimpleQueue[Record | None] = SimpleQueue()
        self.held: deque[Record] = deque(maxlen=MOST_HELD)
        self.thread: threading.Thread | None = None
        self.is_started = False
        self.is_complete = False
        self.said: set[str] = set()
        self.failures = 0
        self.next_try = 0.0

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Scores, learning rate, speeds, memory, open gates."""
        self._put(Record(report.global_step, time.time(), step_scalars(report)))

    def on_epoch(self, report: EpochReport) -> None:
        """Validation scores, and those of the best state."""
        scalars, best = epoch_scalars(report), {}
        if report.is_best and report.val:
            best = {f"best/{name}": value for name, value in report.val.values().items()}
            best["best/epoch"] = report.epoch
        self.is_complete = report.epoch == report.num_epochs
        if scalars:
            self._put(Record(report.global_step, time.time(), scalars, best))

    def close(self) -> None:
        """Send what is left and end the tracked run, within `END_SECONDS` or `STOP_SECONDS`."""
        thread, self.thread = self.thread, None
        if thread is None:
            return
        self.queue.put(None)
        seconds = END_SECONDS if self.is_complete else STOP_SECONDS
        thread.join(seconds)
        if thread.is_alive():
            LOG.warning("%s did not answer within %g s: it may lack the last reports", self.run.name, seconds)

    def _put(self, record: Record) -> None:
        self.queue.put(record)
        if self.thread is None:
            self.thread = threading.Thread(target=self._work, name=f"track-{self.run.name}", daemon=True)
            self.thread.start()

    def _work(self) -> None:
        while (record := self.queue.get()) is not None:
            self.held.append(record)
            if time.monotonic() >= self.next_try:
                self._send()
        if self.held:
            self._send()
        if self.is_started:
            with suppress(Exception):
                self.run.finish(self.is_complete)
        if self.held:
            LOG.warning("%s did not take %d reports", self.run.name, len(self.held))

    def _send(self) -> None:
        """Send what is held; after a failure, wait for a while before the next try."""
        try:
            if not self.is_started:
                place = self.run.start()
                self.is_started = True
                LOG.info("%s tracks the run: %s", self.run.name, place)
            while self.held:
                self.run.send(self.held[0])
                self.held.popleft()
            self.failures = 0
        except Exception as error:
            self.next_try = time.monotonic() + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(self.failures, 20))
            self.failures += 1
            kind = type(error).__name__
            if kind not in self.said:
                self.said.add(kind)
                why = shortened(" ".join(str(error).split()), 200)
                LOG.warning("%s failed (%s: %s): the run goes on and tries it again later", self.run.name, kind, why)
