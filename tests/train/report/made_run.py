"""The folder of a run made by hand, with all files that a report shows."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.tensorboard import SummaryWriter

from train.report.evaluation_files import PER_CLASS_COLUMNS, WORST_COLUMNS

STEPS = 10  # of an epoch
BLOCKS = ("layer1.0", "layer2.0")


def write_run(
    folder: Path, *, epochs: int = 6, end_epoch: int = 6, dataset: str = "data/small", **options: Any
) -> Path:
    """Options, scores, passport and events of a run, whose top-1 in the validation is 10 times the epoch."""
    folder.mkdir(parents=True)
    values = {
        "network": "srtg_r3d_10", "gates": True, "dataset": dataset, "clip_length": 8, "clip_size": 32, "batch_size": 4,
        "end_epoch": end_epoch, "lr_base": 0.1, "lr_steps": [2, 4], "given": ["batch_size", "dataset"], **options,
    }  # fmt: skip
    facts = {"options": values, "versions": {"torch": "2.13.0"}, "command": ["train_custom.py", "--dataset", dataset]}
    (folder / "options.json").write_text(json.dumps(facts))
    passport = {"train": {"videos": 40, "ids": "4200d82c", "sizes": {"48x40": 1.0}}, "val": {"videos": 20}}
    (folder / "passport.json").write_text(json.dumps(passport))
    numbers = range(1, epochs + 1)
    if epochs:
        rows = [(n, n * STEPS, 0.1, 5 / n, min(100, 12 * n), 90, 40, 20.0) for n in numbers]
        write_csv(
            folder / "scores_train.csv", ("epoch", "step", "lr", "loss", "top1", "top5", "clips", "seconds"), rows
        )
        rows = [(n, n * STEPS, 6 / n, min(100, 10 * n), 80, 20, "v1") for n in numbers]
        write_csv(folder / "scores_val.csv", ("epoch", "step", "loss", "top1", "top5", "videos", "video_list"), rows)
        write_events(folder / "tensorboard", [n * STEPS for n in numbers])
    return folder


def write_events(folder: Path, steps: Sequence[int], share: float = 0.5, purge_step: int | None = None) -> None:
    """A file of TensorBoard with waiting shares and open gates at these steps, and what a report does not read."""
    writer = SummaryWriter(str(folder), purge_step=purge_step)
    for step in steps:
        for name in ("speed/wait_share", "train/loss", *(f"open_gates/{block}" for block in BLOCKS)):
            writer.add_scalar(name, share, step)
    writer.close()


def write_evaluation(
    run: Path,
    classes: Sequence[str],
    *,
    worst: Sequence[tuple[object, ...]] = (),
    name: str = "evaluation_val_5x3",
    date: str = "2026-01-02T03:04:05+00:00",
    top1: float = 61.25,
) -> Path:
    """An evaluation in which class i of the N has a top-1 of 100 i / N."""
    folder = run / name
    folder.mkdir()
    tops = [100 * i / len(classes) for i in range(len(classes))]
    mean = {"value": sum(tops) / len(tops), "low": 50, "high": 64}
    scores = {"top1": {"value": top1, "low": 55.5, "high": 66.5}, "mean_class": mean}
    summary = {
        "scores": scores, "by_clips": {"1": {"top1": 51.5}}, "checkpoint": "x/srtg_r3d_10_best.pth", "date": date,
        "passport": {"test": {"videos": 33}},
    }  # fmt: skip
    (folder / "summary.json").write_text(json.dumps(summary))
    rows = [(each, 10, top, 99, classes[0], 2) for each, top in zip(classes, tops, strict=True)]
    write_csv(folder / "per_class.csv", PER_CLASS_COLUMNS, rows)
    write_csv(folder / "worst.csv", WORST_COLUMNS, worst)
    assert cv2.imwrite(str(folder / "confusion.png"), np.zeros((8, 8, 3), np.uint8))
    return folder


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A CSV file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
