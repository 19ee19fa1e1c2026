"""The scalars of a run for TensorBoard."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from train.monitor.reports import EpochReport, LogReport


class TensorBoardLog:
    """Writes scalars to `<run>/tensorboard`. A resumed run drops the points after its checkpoint."""

    def __init__(self, folder: Path, steps_done: int) -> None:
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)

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
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, report.global_step)

    def on_epoch(self, report: EpochReport) -> None:
        """Validation scores."""
        if report.val:
            for name, value in report.val.values().items():
                self.writer.add_scalar(f"val/{name}", value, report.global_step)
        self.writer.flush()

    def close(self) -> None:
        """Write buffered points and close the file."""
        self.writer.close()
