"""Writes a run's checkpoints in a thread, while the run goes on."""

import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple

from common.distributed.launch import writing
from common.errors import TrainingError
from common.logs import LOG
from train.checkpoint.files import Checkpoint, CheckpointFolder


class _Job(NamedTuple):
    """What `CheckpointFolder.save` takes."""

    checkpoint: Checkpoint
    epoch: int | None
    is_best: bool
    unfinished: Mapping[str, Any] | None

    @property
    def has_more_files(self) -> bool:
        """Whether it is also the file of an epoch, or `best`."""
        return self.epoch is not None or self.is_best


class CheckpointWriter:
    """Writes one checkpoint at a time to `folder`. As a context, waits at its end for the file that is being written.

    An error of a write is raised once: by the next `check` or `wait`, or at the end of the context. If the context ends
    with an error of its own, that one goes on, and the write's is logged.

    The files of an epoch's end that could not be written are written before the next checkpoint, if there is one, as
    after a signal to stop: the disk may have space again. A later state would take the place of `last`, and they would
    never be written.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self.folder = folder
        # Not Thread.join: a Ctrl-C within it makes some versions of Python take the thread for ended.
        self._is_written = threading.Event()
        self._is_written.set()
        self._error: Exception | None = None
        self._unwritten: _Job | None = None

    def start(
        self,
        checkpoint: Checkpoint,
        epoch: int | None = None,
        is_best: bool = False,
        unfinished: Mapping[str, Any] | None = None,
    ) -> None:
        """`wait`, then begin `CheckpointFolder.save` of a checkpoint that nobody changes meanwhile."""
        self.wait()
        # Not a daemon: Python waits for it, however the run ends.
        jobs = [*filter(None, [self._unwritten]), _Job(checkpoint, epoch, is_best, unfinished)]
        self._unwritten = None
        thread = threading.Thread(target=self._write, args=(jobs,), name="checkpoint")
        self._is_written.clear()
        try:
            thread.start()
        except BaseException:
            self._is_written.set()
            raise

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk. TrainingError with the reason if it could not be written."""
        self._is_written.wait()
        self.check()

    def wait_and_log(self) -> None:
        """`wait`, but an error of the last write is logged."""
        try:
            self.wait()
        except TrainingError as problem:
            LOG.error("%s", problem)

    def check(self) -> None:
        """Raise the error of a write that has failed. Does not wait for a write that goes on."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self.wait()
        except Exception as problem:
            if error is None:
                raise
            LOG.error("%s", problem)

    def _write(self, jobs: list[_Job]) -> None:
        try:
            with writing():
                while jobs:
                    self.folder.save(*jobs[0])
                    del jobs[0]
        except Exception as error:
            self._unwritten = next((job for job in jobs if job.has_more_files), None)
            self._error = error
        finally:
            self._is_written.set()
