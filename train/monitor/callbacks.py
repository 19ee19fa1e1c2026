"""What watches a run: console, progress bar, score files, TensorBoard."""

import csv
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch.utils.tensorboard import SummaryWriter

from common.files import atomic_file
from train.monitor.logs import LOG
from train.monitor.reports import EpochReport, LogReport, Speeds

# Clips per second below which a speed is red, and from which it is green; yellow between.
READ_LIMITS = (100, 3000)
FORWARD_LIMITS = (50, 300)
BACKWARD_LIMITS = (20, 200)


def speed_text(speeds: Speeds) -> Text:
    """`Speed (r=1.53e+5 f=9.84e+1 b=1.78e+1)`, each in clips per second and in the colour of its class."""
    text = Text("Speed (")
    parts = (
        ("r", speeds.read, READ_LIMITS),
        ("f", speeds.forward, FORWARD_LIMITS),
        ("b", speeds.backward, BACKWARD_LIMITS),
    )
    for number, (letter, speed, (slow, fast)) in enumerate(parts):
        mantissa, exponent = f"{speed:.2e}".split("e")
        colour = "red" if speed < slow else "green" if speed >= fast else "yellow"
        text.append(f"{' ' if number else ''}{letter}={mantissa}e{int(exponent):+d}", style=colour)
    return text.append(")")


class ConsoleLog:
    """A line for each report."""

    def on_step(self, step: int, steps: int) -> None:
        """Nothing: a line for each step would be noise."""

    def on_log(self, report: LogReport) -> None:
        """Loss, scores, speeds, batch shape and rate."""
        scores = report.scores
        text = Text(f"Epoch [{report.epoch:03d}/{report.num_epochs:03d}] Batch [{report.step:04d}/{report.steps:04d}] ")
        text.append(speed_text(report.speeds))
        text.append(f" wait {100 * report.speeds.wait_share:.0f}% | ")
        text.append(f"loss {scores.loss:.4f} top-1 {scores.top1:.2f}% top-5 {scores.top5:.2f}% | ")
        text.append(f"{report.batch_shape} lr {report.lr:.2e}")
        if report.memory_bytes:
            text.append(f" mem {report.memory_bytes / 2**30:.1f} GiB")
        if report.skipped_updates:
            text.append(f" skipped updates {report.skipped_updates}")
        if report.open_gates:
            shares = list(report.open_gates.values())
            text.append(f" open gates {100 * sum(shares) / len(shares):.0f}%")
        LOG.info(text.plain, extra={"rich": text})
        if report.open_gates:
            LOG.debug("open gates: %s", " ".join(f"{name} {share:.2f}" for name, share in report.open_gates.items()))

    def on_epoch(self, report: EpochReport) -> None:
        """The epoch's scores, and everything that was replaced in it."""
        train, val = report.train, report.val
        text = Text(f"Epoch [{report.epoch:03d}/{report.num_epochs:03d}] done in {report.seconds:.1f} s | ", "bold")
        text.append(f"train loss {train.loss:.4f} top-1 {train.top1:.2f}% top-5 {train.top5:.2f}%")
        if val:
            text.append(
                f" | val loss {val.loss:.4f} top-1 {val.top1:.2f}% top-5 {val.top5:.2f}% ({val.examples:.0f} videos)"
            )
            text.append(" best" if report.is_best else "", "green")
        LOG.info(text.plain, extra={"rich": text})
        if report.repeated_frames:
            LOG.info("  %d frames were repeated in clips longer than their videos", report.repeated_frames)
        if report.bad_videos:
            LOG.warning("  %d videos could not be read and were replaced:", len(report.bad_videos))
        for bad in report.bad_videos:
            LOG.warning("    video %d by video %s: %s", bad.video, bad.replacement, bad.reason)

    def close(self) -> None:
        """Nothing to close."""


class ProgressBar:
    """A bar for the epoch in progress, on a terminal only."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self.task: TaskID | None = None
        self.epoch = 1

    def on_step(self, step: int, steps: int) -> None:
        """Move the bar."""
        if self.progress.disable:
            return
        if self.task is None:
            self.progress.start()
            self.task = self.progress.add_task("", total=steps, epoch="")
        self.progress.update(self.task, completed=step, total=steps)

    def on_log(self, report: LogReport) -> None:
        """Name the epoch."""
        if self.task is not None:
            self.progress.update(self.task, epoch=f"{report.epoch}/{report.num_epochs}")

    def on_epoch(self, report: EpochReport) -> None:
        """Take the bar away until the next epoch."""
        if self.task is not None:
            self.progress.stop()
            self.progress.remove_task(self.task)
            self.task = None

    def close(self) -> None:
        """Leave the terminal clean."""
        self.progress.stop()


class ScoreFiles:
    """`scores_train.csv` and `scores_val.csv`: one row an epoch, however often the run was interrupted."""

    def __init__(self, folder: Path) -> None:
        self.train_file = folder / "scores_train.csv"
        self.val_file = folder / "scores_val.csv"

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Write the epoch's rows in place of those that an interrupted attempt may have left."""
        row: dict[str, object] = {
            "epoch": report.epoch,
            "step": report.global_step,
            "lr": f"{report.lr:.6g}",
            "loss": f"{report.train.loss:.6f}",
            "top1": f"{report.train.top1:.4f}",
            "top5": f"{report.train.top5:.4f}",
            "clips": report.clips,
            "seconds": f"{report.seconds:.2f}",
            "repeated_frames": report.repeated_frames,
            "bad_videos": len(report.bad_videos),
        }
        _replace_rows_from(self.train_file, report.epoch, row)
        if report.val:
            row = {
                "epoch": report.epoch,
                "step": report.global_step,
                "loss": f"{report.val.loss:.6f}",
                "top1": f"{report.val.top1:.4f}",
                "top5": f"{report.val.top5:.4f}",
                "videos": f"{report.val.examples:.0f}",
            }
            _replace_rows_from(self.val_file, report.epoch, row)

    def close(self) -> None:
        """Nothing to close."""


def _replace_rows_from(path: Path, epoch: int, row: dict[str, object]) -> None:
    """Drop the rows of `epoch` and later, append `row`."""
    rows: list[dict[str, object]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [dict(old) for old in csv.DictReader(file) if int(old["epoch"]) < epoch]
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerows([*rows, row])


class TensorBoardLog:
    """Scalars for TensorBoard, in `<run>/tensorboard`; a resumed run takes back what was written after its state."""

    def __init__(self, folder: Path, steps_done: int) -> None:
        self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=steps_done + 1)

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Scores, rate, shape, speeds, gradient norm, memory, open gates."""
        batch, _, frames, _, size = report.batch_shape
        scalars = {
            "train/loss": report.scores.loss,
            "train/top1": report.scores.top1,
            "train/top5": report.scores.top5,
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
        } | {f"open_gates/{name}": share for name, share in report.open_gates.items()}
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, report.global_step)

    def on_epoch(self, report: EpochReport) -> None:
        """Validation scores."""
        if report.val:
            for name, value in (("loss", report.val.loss), ("top1", report.val.top1), ("top5", report.val.top5)):
                self.writer.add_scalar(f"val/{name}", value, report.global_step)
        self.writer.flush()

    def close(self) -> None:
        """Write what is buffered."""
        self.writer.close()
