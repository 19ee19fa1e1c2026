"""Scores of several runs as a table and as curves.

    python -m train.plot_scores results/HACS/srtg_r3d_34_gates_False results/HACS/r3d_34_gates_False --output curves.png

Each RUN is a folder with scores_train.csv and scores_val.csv. Where a resumed run was validated in another way than
before, its curve is interrupted, and only later epochs count for its best top-1. Runs that were validated on other
videos or clips than the first are named.
"""

import csv
import math
import os
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import matplotlib
from rich import box
from rich.markup import escape
from rich.table import Table

from common.cli import CommandParser, run_command
from common.errors import DataError
from common.files import PICTURES, atomic_file, check_output, write_errors
from common.logs import make_console
from common.text import printable, shortened
from train.monitor.reported import SPLITS, reported_in, rows_of_others
from train.monitor.score_files import AVERAGES, FILES, Row, parse_rows, validation_changes

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Curve = dict[str, list[float]]


class Run(NamedTuple):
    """The scores of a run."""

    train: Curve
    val: Curve
    changes: dict[int, str]
    """The rows of `val` from which on the validation is another, and what is: "videos", "clips", "averages"."""
    last: Row
    """The last row of the validation's file."""
    mixed: list[str]
    """A line for each file with rows that the run's newest state has otherwise."""


def read_run(folder: Path) -> Run:
    """The scores of the run in a folder; DataError if a file is missing or damaged, or lacks a column."""
    train_columns, columns = ("epoch", "loss", "top1", "seconds"), ("epoch", "loss", "top1")
    train = _read_rows(folder / FILES[0], train_columns)
    rows = _read_rows(folder / FILES[1], columns)
    state, reported = reported_in(folder)
    mixed = [
        f"{name} has other scores than {state}, as if edited or of another run: {others}"
        for name, split, those in zip(FILES, SPLITS, (train, rows), strict=True)
        if (others := rows_of_others(those, reported, split))
    ]
    return Run(_curve(train, train_columns), _curve(rows, columns), validation_changes(rows), rows[-1], mixed)


def read_scores(path: Path, columns: Sequence[str]) -> Curve:
    """These columns of a score file, by name; DataError if the file is missing or damaged, or lacks one of them."""
    return _curve(_read_rows(path, columns), columns)


def _read_rows(path: Path, columns: Sequence[str]) -> list[Row]:
    try:
        rows = parse_rows(path, columns)
        if not rows:
            raise ValueError("it has no epochs")
        if missing := [name for name in columns if name not in rows[0]]:
            raise ValueError(f"it has no column {missing[0]}")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give the folder of a run that has finished an epoch") from None
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} is not a score file of a run, or is damaged: {shortened(str(error), 200)}") from None
    return rows


def _curve(rows: Sequence[Row], columns: Sequence[str]) -> Curve:
    return {name: [float(str(row[name]) or "nan") for row in rows] for name in columns}


def scores_table(runs: dict[str, Run]) -> Table:
    """A row for each run: epochs, minutes, last and best scores."""
    table = Table(title="Scores", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("run", no_wrap=True)
    for heading in ("epochs", "minutes", "train top-1", "val top-1", "best val top-1"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, (train, val, changes, *_) in runs.items():
        comparable = range(max(changes, default=0), len(val["top1"]))
        best = max(comparable, key=lambda row: (not math.isnan(val["top1"][row]), val["top1"][row]))
        table.add_row(
            escape(printable(name)),
            f"{train['epoch'][-1]:.0f}",
            f"{sum(train['seconds']) / 60:.1f}",
            f"{train['top1'][-1]:.2f} %",
            f"{val['top1'][-1]:.2f} %",
            f"{val['top1'][best]:.2f} % in epoch {val['epoch'][best]:.0f}",
        )
    return table


def change_notes(runs: dict[str, Run]) -> list[str]:
    """A line for each change of a run's validation."""
    return [
        f"{name}: validated on other {what} from epoch {run.val['epoch'][row]:.0f} on; scores before cannot be compared"
        for name, run in runs.items()
        for row, what in run.changes.items()
    ]


def gap_notes(runs: dict[str, Run]) -> list[str]:
    """A line for each run of which epochs have no score: their cells are empty, or not a number."""
    found = []
    for name, run in runs.items():
        for split, curve in (("training", run.train), ("validation", run.val)):
            gaps = [
                epoch
                for epoch, *scores in zip(curve["epoch"], curve["loss"], curve["top1"], strict=True)
                if not all(map(math.isfinite, scores))
            ]
            if gaps:
                of = f"{len(gaps)} of {len(curve['epoch'])} epochs, the first of them {gaps[0]:.0f}"
                found.append(f"{name}: the {split} has no loss or top-1 in {of}: left out of the curve and of the best")
    return found


def differences_of(runs: dict[str, Run]) -> dict[str, str]:
    """The runs that were validated in another way than the first one at their ends, and on what: "videos", "clips".

    Averages of weights belong to what is compared.
    """
    _, first = next(iter(runs.items()))
    changes = {name: validation_changes([first.last, run.last], AVERAGES) for name, run in runs.items()}
    return {name: what for name, change in changes.items() for what in change.values()}


def plot_scores(runs: dict[str, Run], output: Path) -> None:
    """Draw loss and top-1 over epochs: validation as solid lines, training as dashed lines.

    A dotted line marks where a run's validation has changed. The legend names the runs that were validated in another
    way than the first.
    """
    others = differences_of(runs)
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for axis, score, label in zip(axes, ("loss", "top1"), ("loss", "top-1 (%)"), strict=True):
        for number, (run, (train, val, changes, *_)) in enumerate(runs.items()):
            name = run.replace("$", r"\$")  # matplotlib reads formulas between dollars
            of_others = f" (other {others[run]})" if run in others else ""
            for start, end in pairwise([0, *changes, len(val["epoch"])]):
                in_legend = "" if start else f"{name}, validation{of_others}"
                part = slice(start, end)
                axis.plot(val["epoch"][part], val[score][part], f"C{number}o-", markersize=3, label=in_legend)
            for row, what in changes.items():
                at = (val["epoch"][row - 1] + val["epoch"][row]) / 2
                axis.axvline(at, color=f"C{number}", linestyle=":", linewidth=1)
                place = {"transform": axis.get_xaxis_transform(), "rotation": 90, "va": "top", "ha": "right"}
                axis.text(at, 0.98, f"other {what}", color=f"C{number}", fontsize="x-small", **place)
            axis.plot(train["epoch"], train[score], f"C{number}--", alpha=0.7, label=f"{name}, training")
        axis.set(xlabel="epoch", ylabel=label)
        axis.grid(alpha=0.3)
    axes[1].set_ylim(0, 100)
    axes[1].legend(frameon=False, fontsize="small")
    with write_errors(output, "give another --output"):
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(output) as temporary:
            figure.savefig(temporary, dpi=150, format=output.suffix[1:].lower() or "png")
    plt.close(figure)


def main() -> int:
    """Print the table and, with --output, draw the curves; DataError names a wrong file or suffix.

    Exit status 1 if some of the runs had no scores and were left out.
    """
    parser = CommandParser(prog="python -m train.plot_scores", description="Scores of runs as a table and as curves.")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a run, with its score files")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="draw the curves to this .png, .pdf or .svg",
    )  # fmt: skip
    arguments = parser.parse_args()
    if arguments.output is not None:
        check_output(arguments.output, PICTURES, "--output")
    runs, problems = {}, []
    for name, run in _names(arguments.runs).items():
        try:
            runs[name] = read_run(run)
        except DataError as error:
            problems.append(str(error))
    if not runs:
        raise DataError("; ".join(problems))
    for problem in problems:
        print(printable(f"warning: {problem}; this run is left out"), file=sys.stderr)
    console = make_console()
    console.print(scores_table(runs))
    first = next(iter(runs))
    notes = [
        f"{name}: validated on other {what} than {first}; their scores cannot be compared"
        for name, what in differences_of(runs).items()
    ]
    mixed = [f"{name}: {line}" for name, run in runs.items() for line in run.mixed]
    for note in [*mixed, *change_notes(runs), *gap_notes(runs), *notes]:
        console.print(note, soft_wrap=True, highlight=False, markup=False)
    if arguments.output is not None:
        plot_scores(runs, arguments.output)
        console.print(f"curves in {arguments.output}", soft_wrap=True, highlight=False, markup=False)
    return 1 if problems else 0


def _names(folders: Sequence[Path]) -> dict[str, Path]:
    """A name for each run: its folder's, or more of the path where several folders have this name."""
    found = list({folder.resolve(): folder for folder in folders})
    above = Path(os.path.commonpath([path.parent for path in found]))
    short = [path.name for path in found]
    names = [path.name if short.count(path.name) == 1 else str(path.relative_to(above)) for path in found]
    return dict(zip(names, found, strict=True))


if __name__ == "__main__":
    run_command(main)
