"""Multigrid against the fixed shape: wall-clock time and clips to the same validation top-1.

    python -m benchmarks.multigrid [--target 90] [--epochs 10] [--folder FOLDER] [--figure FILE]

Makes synthetic motion videos (data/prepare/synthetic.py), trains the same network on them by train_custom.py with the
fixed shape and with long and short cycles from the same base shape, rate and nominal epochs, one run after the other,
and prints what each took in all and until its validation first reached the target. Epochs of the multigrid run are
scaled as the paper has it (1.5 times the nominal ones, at a fraction of the work each).
"""

import subprocess
import sys
import tempfile
from itertools import accumulate
from pathlib import Path

import matplotlib
from rich import box
from rich.table import Table

from data.atomic_file import atomic_file
from data.commandline import CommandParser, run_command
from train.logs import make_console
from train.plot_scores import Curve, read_scores

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SCHEDULES = {
    "fixed": [],
    "multigrid": ["--long-cycles", "--short-cycles"],
}


def make_dataset(folder: Path, videos: int) -> None:
    """Synthetic videos as frame databases; goes on where it was if some are there."""
    size = ["--videos", str(videos), "--val-videos", "96", "--size", "56x56"]
    _run("-m", "data.prepare.synthetic", str(folder), *size)
    _run("-m", "data.prepare.convert", str(folder / "videos"), str(folder))


def train(folder: Path, name: str, epochs: int, seed: int) -> tuple[Curve, Curve]:
    """Train one schedule; its training and validation scores."""
    steps = (str(round(0.6 * epochs)), str(round(0.9 * epochs)))
    task = f"{name}_{seed}"
    _run(
        "train_custom.py", "--dataset", str(folder), "--model-dir", str(folder / "runs"), "--task-name", task,
        "--network", "srtg_r3d_10", "--clip-length", "16", "--clip-size", "48", "--train-frame-interval", "2",
        "--val-frame-interval", "2", "--batch-size", "8", "--lr-base", "0.02", "--warmup-epochs", "2",
        "--warmup-lr", "0.005", "--lr-steps", *steps, "--end-epoch", str(epochs), "--random-seed", str(seed),
        "--keep", "1", *SCHEDULES[name],
    )  # fmt: skip
    run = folder / "runs" / f"srtg_r3d_10_gates_False_{task}"
    return read_scores(run / "scores_train.csv"), read_scores(run / "scores_val.csv")


def costs(train_scores: Curve, val_scores: Curve, target: float) -> tuple[float, float, float, float]:
    """Seconds and clips in all, and until validation first reached the target (NaN if it never did)."""
    seconds, clips = list(accumulate(train_scores["seconds"])), list(accumulate(train_scores["clips"]))
    reached = next((epoch for epoch, top1 in enumerate(val_scores["top1"]) if top1 >= target), None)
    if reached is None:
        return seconds[-1], clips[-1], float("nan"), float("nan")
    return seconds[-1], clips[-1], seconds[reached], clips[reached]


def draw(curves: dict[str, tuple[Curve, Curve]], target: float, output: Path) -> None:
    """Validation top-1 over wall-clock time and over clips."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.6), sharey=True, layout="constrained")
    for axis, column, unit, label in (
        (axes[0], "seconds", 60, "wall-clock minutes"),
        (axes[1], "clips", 1000, "thousand clips seen"),
    ):
        for number, (name, (train_scores, val_scores)) in enumerate(curves.items()):
            x = [value / unit for value in accumulate(train_scores[column])]
            axis.plot(x, val_scores["top1"], f"C{number}o-", markersize=3, label=name)
        axis.axhline(target, color="grey", linestyle=":", linewidth=1)
        axis.set(xlabel=label, ylim=(0, 100))
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("validation top-1 (%)")
    axes[1].legend(frameon=False, loc="lower right")
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def main() -> int:
    """Measure, print, draw."""
    parser = CommandParser(prog="python -m benchmarks.multigrid", description="Multigrid against the fixed shape.")
    parser.add_argument("--target", type=float, default=90.0, help="validation top-1 to reach, in percent")
    parser.add_argument("--epochs", type=int, default=10, help="nominal epochs")
    parser.add_argument("--videos", type=int, default=576, help="synthetic videos, 96 of them for validation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep videos and runs here; else in a temporary folder")
    parser.add_argument("--figure", type=Path, default=Path("figures/multigrid_benchmark.png"))
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        make_dataset(folder, arguments.videos)
        curves = {name: train(folder, name, arguments.epochs, arguments.seed) for name in SCHEDULES}
    rows = {name: costs(*scores, arguments.target) for name, scores in curves.items()}
    table = Table(title="Multigrid against the fixed shape", title_justify="left", box=box.SIMPLE_HEAD)
    columns = (
        "last top-1",
        "minutes",
        "clips",
        f"minutes to {arguments.target:g} %",
        f"clips to {arguments.target:g} %",
    )
    table.add_column("schedule")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, (seconds, clips, seconds_to, clips_to) in rows.items():
        last = curves[name][1]["top1"][-1]
        table.add_row(
            name, f"{last:.1f} %", f"{seconds / 60:.1f}", f"{clips:.0f}", f"{seconds_to / 60:.1f}", f"{clips_to:.0f}"
        )
    ratios = [fixed / other for fixed, other in zip(rows["fixed"], rows["multigrid"], strict=True)]
    table.add_row("fixed / multigrid", "", *(f"{ratio:.2f}" for ratio in ratios))
    make_console().print(table)
    draw(curves, arguments.target, arguments.figure)
    print(f"curves in {arguments.figure}")
    return 0


def _run(*command: str) -> None:
    subprocess.run([sys.executable, *command], check=True)


if __name__ == "__main__":
    run_command(main)
