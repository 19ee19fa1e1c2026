"""The scores of a run as CSV files, one row per epoch."""

import csv
from pathlib import Path

from common.files import atomic_file
from evaluate.metrics import Scores
from train.monitor.reports import EpochReport, LogReport


class ScoreFiles:
    """`scores_train.csv` and `scores_val.csv`: one row per epoch, also if the run was interrupted and resumed."""

    def __init__(self, folder: Path) -> None:
        self.train_file = folder / "scores_train.csv"
        self.val_file = folder / "scores_val.csv"

    def on_step(self, step: int, steps: int) -> None:
        """Nothing."""

    def on_log(self, report: LogReport) -> None:
        """Nothing."""

    def on_epoch(self, report: EpochReport) -> None:
        """Write the epoch's rows in place of rows of this and later epochs, which an interrupted run may have left."""
        row: dict[str, object] = {"epoch": report.epoch, "step": report.global_step, "lr": f"{report.lr:.6g}"}
        row |= _columns(report.train) | {
            "clips": report.clips,
            "seconds": f"{report.seconds:.2f}",
            "repeated_frames": report.repeated_frames,
            "bad_videos": len(report.bad_videos),
        }
        _replace_rows_from(self.train_file, report.epoch, row)
        if report.val:
            row = {"epoch": report.epoch, "step": report.global_step}
            row |= _columns(report.val) | {"videos": f"{report.val.examples:.0f}"}
            _replace_rows_from(self.val_file, report.epoch, row)

    def close(self) -> None:
        """Nothing to close."""


def _columns(scores: Scores) -> dict[str, object]:
    return {name: f"{value:.6f}" if name == "loss" else f"{value:.4f}" for name, value in scores.values().items()}


def _replace_rows_from(path: Path, epoch: int, row: dict[str, object]) -> None:
    """Drop the rows of `epoch` and later, and append `row`. Columns that only older versions wrote are kept."""
    rows: list[dict[str, object]] = []
    if path.exists():
        with path.open(newline="", encoding="utf-8") as file:
            rows = [dict(old) for old in csv.DictReader(file) if int(old["epoch"]) < epoch]
    columns = dict.fromkeys([*row, *(name for old in rows for name in old)])
    with atomic_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns))
        writer.writeheader()
        writer.writerows([*rows, row])
