"""The scalars of a run for TensorBoard."""

import threading
from contextlib import suppress
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from common.logs import LOG
from train.monitor.reports import EpochReport, LogReport
from train.monitor.scalars import epoch_scalars, step_scalars


class TensorBoardLog:
    """Writes scalars to `<run>/tensorboard`. A resumed run drops the points after its checkpoint.

    After an error the next report begins a new file.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self.folder = folder / "tensorboard"
        self.purge_step: int | None = steps_done + 1
        self.writer: SummaryWriter | None = None

    def keep_only(self, own_steps: int) -> None:
        """Drop the points after a step: those are of another run, or of an attempt before. A line says so, if any are.

        TensorBoard, and the report of a run, then show none of them; the files stay.
        """
        self.purge_step = own_steps + 1
        with suppress(OSError):
            if any(self.folder.glob("events.out.tfevents.*")):
                LOG.warning(
                    "%s holds points that are not of this run%s: TensorBoard no longer shows them",
                    self.folder, f", after step {own_steps}" if own_steps else "",
                )  # fmt: skip

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Scores, learning rate, batch shape, speeds, gradient norm, memory, open gates."""
        self._write(step_scalars(report), report.global_step)

    def on_epoch(self, report: EpochReport) -> None:
        """Validation scores."""
        self._write(epoch_scalars(report), report.global_step, flush=True)

    def close(self) -> None:
        """Write buffered points and close the file."""
        writer, self.writer = self.writer, None
        if writer is not None:
            writer.close()

    def _write(self, scalars: dict[str, float], step: int, flush: bool = False) -> None:
        try:
            if self.writer is None:
                _quiet_writer_threads()
                self.writer = SummaryWriter(str(self.folder), purge_step=self.purge_step)
                self.purge_step = None
            for name, value in scalars.items():
                self.writer.add_scalar(name, value, step)
            if flush:
                self.writer.flush()
        except Exception:
            self.writer = None  # it raises the same error for ever
            raise


def _quiet_writer_threads() -> None:
    """Print no traceback when a thread that writes scalars fails: its error is raised at the next scalar."""
    before = threading.excepthook

    def hook(arguments: threading.ExceptHookArgs) -> None:
        if type(arguments.thread).__name__ != "_AsyncWriterThread":
            before(arguments)

    if getattr(before, "__module__", "") != __name__:
        threading.excepthook = hook
