"""Writes a run's checkpoints in a thread, while the run goes on."""

import threading
from types import TracebackType

from common.distributed.launch import writing
from common.errors import TrainingError
from common.logs import LOG
from train.checkpoint.files import Checkpoint, CheckpointFolder


class CheckpointWriter:
    """Writes one checkpoint at a time to `folder`. As a context, waits at its end for the file that is being written.

    An error of a write is raised once: by the next `check` or `wait`, or at the end of the context. If the context ends
    with an error of its own, that one goes on, and the write's is logged.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self.folder = folder
        # Not Thread.join: a Ctrl-C within it makes some versions of Python take the thread for ended.
        self._is_written = threading.Event()
        self._is_written.set()
        self._error: Exception | None = None

    def start(self, checkpoint: Checkpoint, epoch: int | None = None, is_best: bool = False) -> None:
        """`wait`, then begin `CheckpointFolder.save` of a checkpoint that nobody changes meanwhile."""
        self.wait()
        # Not a daemon: Python waits for it, however the run ends.
        thread = threading.Thread(target=self._write, args=(checkpoint, epoch, is_best), name="checkpoint")
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

    def _write(self, checkpoint: Checkpoint, epoch: int | None, is_best: bool) -> None:
        try:
            with writing():
                self.folder.save(checkpoint, epoch, is_best)
        except Exception as error:
            self._error = error
        finally:
            self._is_written.set()
