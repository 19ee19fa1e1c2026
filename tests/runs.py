"""Comparing runs of the tiny script."""

import csv
from pathlib import Path
from typing import Any

import torch

from data.clips.types import BadVideo
from evaluate.evaluation import Evaluation
from evaluate.metrics import Scores
from network.weights.reading import read_checkpoint
from tests.processes import ROOT

TINY = ROOT / "tests" / "scripts" / "train_tiny.py"
TINY_FLAGS = ("--network", "srtg_tiny", "--device", "cpu", "--log-every", 1)
RUN = "srtg_tiny_gates_False"
LAST = "srtg_tiny_last.pth"
SCHEDULES = {
    "none": (),
    "short": ("--short-cycles",),
    "long": ("--long-cycles",),
    "both": ("--short-cycles", "--long-cycles"),
}


def make_scores(loss_sum: float, top1: int, top5: int, examples: int) -> Scores:
    """Scores with these counts."""
    return Scores(examples, {"loss": (loss_sum,), "top1": (top1,), "top5": (top5,)})


def evaluation(loss_sum: float, top1: int, top5: int, examples: int, bad: tuple[BadVideo, ...] = ()) -> Evaluation:
    """A validation with these counts."""
    scores = make_scores(loss_sum, top1, top5, examples)
    return Evaluation(scores.examples, scores.sums, bad)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def scores(run: Path) -> list[dict[str, str]]:
    """The rows of both score files without the times."""
    found = rows(run / "scores_train.csv") + rows(run / "scores_val.csv")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def state(run: Path) -> dict[str, Any]:
    """The last checkpoint without what differs between commands: times, options and the run's keys."""
    checkpoint = read_checkpoint(run / LAST)
    checkpoint["progress"].pop("seconds")
    for name in ("options", "run_key", "run_id"):
        checkpoint.pop(name)
    return checkpoint


def assert_same_run(run: Path, other: Path) -> None:
    """Weights, optimiser, random state, counts and scores, bit for bit."""
    assert_same(state(run), state(other))
    assert scores(run) == scores(other)


def assert_same(one: Any, other: Any, place: str = "checkpoint") -> None:
    """Bit for bit, tensors included."""
    assert type(one) is type(other), place
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), place
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), place
        for key in one:
            assert_same(one[key], other[key], f"{place}[{key!r}]")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), place
        for index, pair in enumerate(zip(one, other, strict=True)):
            assert_same(*pair, f"{place}[{index}]")
    else:
        assert one == other, place


def assert_all_whole(run: Path) -> None:
    """Every checkpoint file is whole."""
    for path in run.glob("[!.]*.pth"):
        assert {"weights", "optimizer", "position"} <= read_checkpoint(path).keys()
