"""Writes a run's checkpoints in a thread, while the run goes on."""

import threading
from types import TracebackType

from common.logs import LOG
from train.checkpoint.files import Checkpoint, CheckpointFolder


class CheckpointWriter:
    """Writes one checkpoint at a time to `folder`. As a context, waits at its end for the file that is being written.

    An error of a write is raised once: by the next `check` or `wait`, or at the end of the context. If the context ends
    with an error of its own, that one goes on, and the write's is logged.
    """

    def __init__(self, folder: CheckpointFolder) -> None:
        self.folder = folder
        self._thread: threading.Thread | None = None
        self._error: Exception | None = None

    def start(self, checkpoint: Checkpoint, epoch: int | None = None, is_best: bool = False) -> None:
        """`wait`, then begin `CheckpointFolder.save` of a checkpoint that nobody changes meanwhile."""
        self.wait()
        # Not a daemon: Python waits for it, however the run ends.
        thread = threading.Thread(target=self._write, args=(checkpoint, epoch, is_best), name="checkpoint")
        thread.start()
        self._thread = thread

    def wait(self) -> None:
        """Wait until the last checkpoint is on the disk. TrainingError with the reason if it could not be written."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.check()

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
            self.folder.save(checkpoint, epoch, is_best)
        except Exception as error:
            self._error = error
