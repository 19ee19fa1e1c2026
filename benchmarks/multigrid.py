"""Multigrid compared with a fixed shape: wall-clock time and clips to the same validation top-1.

    python -m benchmarks.multigrid [--target 90] [--epochs 8] [--folder FOLDER] [--figure FILE]

Makes synthetic motion videos (data/prepare/synthetic.py) and trains the same network on them twice with
train_custom.py, one run after the other: with the fixed shape, and with long and short cycles. Base shape, learning
rate and nominal epochs are the same. Prints what each run took in total and until its validation first reached the
target; --figure draws it. The multigrid run has 1.5 times the nominal epochs, as in the paper, each with a fraction of
the work. The base shape is as small as multigrid allows: for the smallest clips, 4 frames of 40 pixels, the last stage
has 2x2 pixels.

Processor time covers the run and its reading processes. Unlike wall-clock time it hardly depends on other programs.
"""

import resource
import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import matplotlib
from rich import box
from rich.table import Table

from common.cli import CommandParser, run_command
from common.files import atomic_file, check_output
from common.logs import make_console
from train.monitor.curves import Curve, read_scores

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SCHEDULES = {
    "fixed": [],
    "multigrid": ["--long-cycles", "--short-cycles"],
}


def make_dataset(folder: Path, videos: int) -> None:
    """Write synthetic videos as frame databases; keep those that exist."""
    size = ["--videos", str(videos), "--val-videos", "96", "--size", "92x92"]
    _run("-m", "data.prepare.synthetic", str(folder), *size)
    _run("-m", "data.prepare.convert", str(folder / "videos"), str(folder))


class Run(NamedTuple):
    """A finished run: its score files and its processor time in seconds."""

    train: Curve
    val: Curve
    processor_seconds: float


class Costs(NamedTuple):
    """What a run took in total, and until its validation first reached the target (NaN if it never did)."""

    seconds: float
    processor_seconds: float
    clips: float
    seconds_to_target: float
    clips_to_target: float


def train(folder: Path, name: str, epochs: int, seed: int) -> Run:
    """Train with one of SCHEDULES."""
    task = f"{name}_{seed}"
    before = _processor_seconds()
    _run(
        "train_custom.py", "--dataset", str(folder), "--model-dir", str(folder / "runs"), "--task-name", task,
        "--network", "srtg_r3d_10", "--clip-length", "16", "--clip-size", "80", "--train-frame-interval", "2",
        "--val-frame-interval", "2", "--batch-size", "4", "--lr-base", "0.02", "--lr-steps", str(round(0.75 * epochs)),
        "--end-epoch", str(epochs), "--random-seed", str(seed), "--keep", "1", *SCHEDULES[name],
    )  # fmt: skip
    run = folder / "runs" / f"srtg_r3d_10_gates_False_{task}"
    train = read_scores(run / "scores_train.csv", ("seconds", "clips"))
    val = read_scores(run / "scores_val.csv", ("top1",))
    return Run(train, val, processor_seconds=_processor_seconds() - before)


def costs(run: Run, target: float) -> Costs:
    """Sum up the epochs of a run."""
    seconds, clips = list(accumulate(run.train["seconds"])), list(accumulate(run.train["clips"]))
    reached = next((epoch for epoch, top1 in enumerate(run.val["top1"]) if top1 >= target), None)
    to_target = (float("nan"), float("nan")) if reached is None else (seconds[reached], clips[reached])
    return Costs(seconds[-1], run.processor_seconds, clips[-1], *to_target)


def draw(runs: dict[str, Run], target: float, output: Path) -> None:
    """Draw validation top-1 over wall-clock time and over clips."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, column, unit, label in (
        (axes[0], "seconds", 60, "wall-clock minutes"),
        (axes[1], "clips", 1000, "thousand clips seen"),
    ):
        for number, (name, run) in enumerate(runs.items()):
            x = [value / unit for value in accumulate(run.train[column])]
            axis.plot(x, run.val["top1"], f"C{number}o-", markersize=3, label=name)
        axis.axhline(target, color="grey", linestyle=":", linewidth=1)
        axis.set(xlabel=label, ylim=(0, 102))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("validation top-1 (%)")
    axes[1].legend(frameon=False, loc="center")
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def main() -> int:
    """Measure, print, draw."""
    parser = CommandParser(prog="python -m benchmarks.multigrid", description="Multigrid against the fixed shape.")
    parser.add_argument("--target", type=float, default=90.0, help="validation top-1 to reach, in percent")
    parser.add_argument("--epochs", type=int, default=8, help="nominal epochs")
    parser.add_argument("--videos", type=int, default=1056, help="synthetic videos, 96 of them for validation")
    parser.add_argument("--seed", type=int, default=1, help="random seed of both runs")
    parser.add_argument("--folder", type=Path, help="keep videos and runs here (default: a temporary folder)")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the curves into this PNG")
    arguments = parser.parse_args()
    if arguments.figure:
        check_output(arguments.figure, [".png"], "--figure")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        make_dataset(folder, arguments.videos)
        runs = {name: train(folder, name, arguments.epochs, arguments.seed) for name in SCHEDULES}
    rows = {name: costs(run, arguments.target) for name, run in runs.items()}
    table = Table(title="Multigrid against the fixed shape", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("schedule")
    for heading in ("last top-1", "minutes", "processor minutes", "clips"):
        table.add_column(heading, justify="right")
    for unit in ("minutes", "clips"):
        table.add_column(f"{unit} to {arguments.target:g} %", justify="right")
    for name, cost in rows.items():
        minutes = [f"{seconds / 60:.1f}" for seconds in (cost.seconds, cost.processor_seconds, cost.seconds_to_target)]
        last = f"{runs[name].val['top1'][-1]:.1f} %"
        table.add_row(name, last, *minutes[:2], f"{cost.clips:.0f}", minutes[2], f"{cost.clips_to_target:.0f}")
    ratios = [fixed / other for fixed, other in zip(rows["fixed"], rows["multigrid"], strict=True)]
    table.add_row("fixed / multigrid", "", *(f"{ratio:.2f}" for ratio in ratios))
    make_console().print(table)
    if arguments.figure:
        draw(runs, arguments.target, arguments.figure)
        print(f"curves in {arguments.figure}")
    return 0


def _processor_seconds() -> float:
    """User and system time of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _run(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True)


if __name__ == "__main__":
    run_command(main)
