"""The scalars of a run for TensorBoard."""

import threading
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from train.monitor.reports import EpochReport, LogReport


class TensorBoardLog:
    """Writes scalars to `<run>/tensorboard`. A resumed run drops the points after its checkpoint.

    After an error the next report begins a new file.
    """

    def __init__(self, folder: Path, steps_done: int) -> None:
        self.folder = folder / "tensorboard"
        self.purge_step: int | None = steps_done + 1
        self.writer: SummaryWriter | None = None

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Scores, learning rate, batch shape, speeds, gradient norm, memory, open gates."""
        batch, _, frames, _, size = report.batch_shape
        scalars = {f"train/{name}": value for name, value in report.scores.values().items()}
        scalars |= {
            "train/grad_norm": report.grad_norm,
            "train/skipped_updates": report.skipped_updates,
            "schedule/lr": report.lr,
            "schedule/epoch": report.epoch,
            "schedule/batch": batch,
            "schedule/frames": frames,
            "schedule/size": size,
            "speed/read": report.speeds.read,
            "speed/forward": report.speeds.forward,
            "speed/backward": report.speeds.backward,
            "speed/clips": report.speeds.clips,
            "speed/wait_share": report.speeds.wait_share,
            "memory/peak_gib": report.memory_bytes / 2**30,
        }
        scalars |= {f"open_gates/{name}": share for name, share in report.open_gates.items()}
        self._write(scalars, report.global_step)

    def on_epoch(self, report: EpochReport) -> None:
        """Validation scores."""
        scores = report.val.values() if report.val else {}
        self._write({f"val/{name}": value for name, value in scores.items()}, report.global_step, flush=True)

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
