"""Callbacks whose failure neither ends a run nor keeps its state from being saved."""

import os
from collections.abc import Callable, Sequence

from common.files import reason
from common.logs import LOG
from train.monitor.reports import Callback, EpochReport, LogReport


class Guarded:
    """A callback that calls several others. An exception of one becomes a warning, and it is tried again next time.

    Each kind of error is reported once for each callback.
    """

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = callbacks
        self.reported: set[tuple[str, str]] = set()

    def on_step(self, step: int, steps: int) -> None:
        """Pass a step on."""
        self._each(lambda callback: callback.on_step(step, steps))

    def on_log(self, report: LogReport) -> None:
        """Pass a report on."""
        self._each(lambda callback: callback.on_log(report))

    def on_epoch(self, report: EpochReport) -> None:
        """Pass a report on."""
        self._each(lambda callback: callback.on_epoch(report))

    def close(self) -> None:
        """Close all."""
        self._each(lambda callback: callback.close())

    def _each(self, call: Callable[[Callback], None]) -> None:
        for callback in self.callbacks:
            try:
                call(callback)
            except Exception as error:
                self._report(type(callback).__name__, error)

    def _report(self, name: str, error: Exception) -> None:
        why = (
            f"{reason(error)} ({os.fsdecode(error.filename or type(error).__name__)})"
            if isinstance(error, OSError)
            else f"{type(error).__name__}: {error}"
        )
        kind = (name, type(error).__name__)
        if kind not in self.reported:
            self.reported.add(kind)
            LOG.warning("%s failed: %s. The run goes on, and tries it again at the next report", name, why)
