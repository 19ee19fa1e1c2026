"""What a prediction gives: the best classes of each window of a video, and segments of windows that agree."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor


class Best(NamedTuple):
    """The best classes of a window, the best first; without --window, of a whole video."""

    start: float
    end: float
    """Seconds."""
    classes: tuple[int, ...]
    scores: tuple[float, ...]
    """Probabilities: those of the network's float32, in the fewest digits that tell them apart."""


class Segment(NamedTuple):
    """Consecutive windows with the same best class."""

    start: float
    end: float
    """Seconds."""
    label: int
    score: float
    """The mean of the windows' scores."""
    windows: int


@dataclass
class VideoResult:
    """A video, and its windows or the reason why it has none."""

    name: str
    path: Path
    windows: list[Best] = field(default_factory=list)
    problem: str = ""
    warnings: tuple[str, ...] = ()


def best_of(log_probabilities: Tensor, count: int, start: float, end: float) -> Best:
    """The `count` best of the log-probabilities (C,). Of equal ones, the first in the order of classes comes first."""
    values, classes = log_probabilities.sort(descending=True, stable=True)
    scores = values[:count].exp().cpu().numpy().astype(np.float32)
    return Best(start, end, tuple(classes[:count].tolist()), tuple(float(str(score)) for score in scores))


def shares(windows: Sequence[Best], stride: float) -> list[tuple[float, float]]:
    """The part of the video that each window stands for: they do not overlap, and leave out nothing between windows.

    The border of two windows lies in the middle between their centres; the first one begins, and the last one ends,
    with its window. Windows that are further apart than their length stand for themselves.
    """
    if not windows:
        return []
    if stride > windows[0].end - windows[0].start:
        return [(each.start, each.end) for each in windows]
    centres = [(each.start + each.end) / 2 for each in windows]
    borders = [(before + after) / 2 for before, after in pairwise(centres)]
    edges = [windows[0].start, *borders, windows[-1].end]
    return list(pairwise(edges))


def segments_of(windows: Sequence[Best], stride: float, threshold: float) -> list[Segment]:
    """Runs of windows that have the same best class, with a score of `threshold` or more each."""
    runs: list[list[int]] = []
    for number, window in enumerate(windows):
        if window.scores[0] < threshold:
            continue
        follows = runs and runs[-1][-1] == number - 1
        if follows and windows[number - 1].classes[0] == window.classes[0]:
            runs[-1].append(number)
        else:
            runs.append([number])
    parts = shares(windows, stride)
    return [
        Segment(
            parts[run[0]][0],
            parts[run[-1]][1],
            windows[run[0]].classes[0],
            float(np.mean([windows[number].scores[0] for number in run])),
            len(run),
        )
        for run in runs
    ]
