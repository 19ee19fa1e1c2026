"""Console output of a run: log lines and a progress bar."""

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from common.duration import duration_text
from common.logs import LOG
from train.monitor.reports import EpochReport, LogReport, Speeds

# Clips per second: red below the first limit, green from the second on, yellow between.
READ_LIMITS = (100, 3000)
FORWARD_LIMITS = (50, 300)
BACKWARD_LIMITS = (20, 200)


def speed_text(speeds: Speeds) -> Text:
    """`Speed (r=1.53e+5 f=9.84e+1 b=1.78e+1)`: clips per second, each coloured by its limits."""
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
    """Writes the reports to the log."""

    def on_step(self, step: int, steps: int) -> None:
        """Nothing: one line per step would be too many."""

    def on_log(self, report: LogReport) -> None:
        """Two lines of at most 120 columns: speeds, scores; then batch, rate, waiting, memory, remaining time."""
        text = Text(f"Epoch [{report.epoch:03d}/{report.num_epochs:03d}] Batch [{report.step:04d}/{report.steps:04d}] ")
        text.append(speed_text(report.speeds))
        text.append(f" {report.scores.show()}")
        LOG.info(text.plain, extra={"rich": text})
        LOG.info("  %s", _describe_steps(report))
        if report.open_gates:
            LOG.debug("open gates: %s", " ".join(f"{name} {share:.2f}" for name, share in report.open_gates.items()))

    def on_epoch(self, report: EpochReport) -> None:
        """The epoch's scores, its repeated frames, and the videos that could not be read."""
        text = Text(f"Epoch [{report.epoch:03d}/{report.num_epochs:03d}] done in {report.seconds:.1f} s | ", "bold")
        text.append(f"train {report.train.show()}")
        text.append(f" | {_left(report)}" if report.remaining is not None else "")
        LOG.info(text.plain, extra={"rich": text})
        if report.val:
            text = Text(f"Epoch [{report.epoch:03d}/{report.num_epochs:03d}] validation ", "bold")
            text.append(f"{report.val.show()} ({report.val.show_videos()})")
            text.append(" best" if report.is_best else "", "green")
            LOG.info(text.plain, extra={"rich": text})
            for bad in report.val.bad_videos:
                LOG.warning("    video %d left out of the scores: %s", bad.video, bad.reason)
        if report.repeated_frames:
            LOG.info("  %d frames were repeated in clips longer than their videos", report.repeated_frames)
        if report.bad_videos:
            LOG.warning("  %d videos could not be read and were replaced:", len(report.bad_videos))
        for bad in report.bad_videos:
            LOG.warning("    video %d replaced by video %s: %s", bad.video, bad.replacement, bad.reason)

    def close(self) -> None:
        """Nothing to close."""


def _describe_steps(report: LogReport) -> str:
    parts = [f"{report.batch_shape} lr {report.lr:.2e} wait {100 * report.speeds.wait_share:.0f}%"]
    if report.memory_bytes:
        parts.append(f"mem {report.memory_bytes / 2**30:.1f} GiB")
    if report.skipped_updates:
        parts.append(f"skipped updates {report.skipped_updates}")
    if report.open_gates:
        shares = list(report.open_gates.values())
        parts.append(f"open gates {100 * sum(shares) / len(shares):.0f}%")
    if report.remaining is not None:
        parts.append(_left(report))
    return " ".join(parts)


def _left(report: LogReport | EpochReport) -> str:
    """`3 h 05 min left`: of the whole run."""
    return "" if report.remaining is None else f"{duration_text(report.remaining)} left"


class ProgressBar:
    """A progress bar of the current epoch, only on a terminal."""

    def __init__(self, console: Console) -> None:
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        run = TextColumn("{task.fields[run]}")
        self.progress = Progress(*columns, run, console=console, transient=True, disable=not console.is_terminal)
        self.task: TaskID | None = None
        self.epoch = 1

    def on_step(self, step: int, steps: int) -> None:
        """Move the bar; remove it after the last step: the validation has its own, and a terminal shows one."""
        if self.progress.disable:
            return
        if step == steps:
            self._remove()
            return
        if self.task is None:
            self.progress.start()
            self.task = self.progress.add_task("", total=steps, epoch="", run="")
        self.progress.update(self.task, completed=step, total=steps)

    def on_log(self, report: LogReport) -> None:
        """Show the epoch's number, and the remaining time of the run."""
        if self.task is not None:
            run = f"run: {_left(report)}" if report.remaining is not None else ""
            self.progress.update(self.task, epoch=f"{report.epoch}/{report.num_epochs}", run=run)

    def on_epoch(self, report: EpochReport) -> None:
        """Nothing: the bar is gone since the last step."""

    def _remove(self) -> None:
        """Remove the bar until the next epoch."""
        if self.task is not None:
            self.progress.stop()
            self.progress.remove_task(self.task)
            self.task = None

    def close(self) -> None:
        """Remove the bar."""
        self.progress.stop()
