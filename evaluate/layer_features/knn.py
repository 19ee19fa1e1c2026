"""Nearest neighbours: how well features tell classes apart without any training.

The similarity of two videos is the cosine of their features. Published figures of self-supervised video networks have
both kinds of scores: retrieval (is a right video among the nearest?) and the weighted vote of Wu et al. 2018 (arXiv
1805.01978).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

TEMPERATURE = 0.07  # of the votes' weights, exp(similarity / TEMPERATURE), as in Wu et al.
VOTERS = (5, 20)
BLOCK = 1024  # val videos at a time


@dataclass(frozen=True)
class Vectors:
    """N videos: features float32 (N, C), classes int64 (N,), and what tells videos apart, int64 (N,)."""

    features: np.ndarray
    classes: np.ndarray
    videos: np.ndarray
    """Two rows with the same number are of one video, perhaps of two clips of it."""


@dataclass(frozen=True)
class KnnScores:
    """Percentages over the val videos."""

    top1: float
    """The nearest training video is of the right class."""
    top5: float
    """One of the five nearest is."""
    votes: dict[int, float]
    """By the number of voters: the right class alone has the largest sum of weights."""
    videos: int
    left_out: int
    """Val videos without any neighbour: all training videos are of the same video."""

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        votes = {f"top1_{voters}_votes": share for voters, share in self.votes.items()}
        return {"top1": self.top1, "top5": self.top5, **votes, "videos": self.videos, "left_out": self.left_out}

    def show(self) -> str:
        """`top-1 81.40 %, top-5 95.35 %; vote of 5: 82.56 %, of 20: 79.07 %`."""
        votes = ", ".join(f"of {voters}: {share:.2f} %" for voters, share in self.votes.items())
        return f"top-1 {self.top1:.2f} %, top-5 {self.top5:.2f} %; top-1 by vote {votes}"


def nearest_neighbours(train: Vectors, val: Vectors) -> KnnScores:
    """Score each val video by its nearest training videos; a video is never its own neighbour.

    Of equally similar training videos, the first counts. A tie of votes is no hit.
    """
    train_features, val_features = _unit(train.features), _unit(val.features)
    most = min(max(5, *VOTERS), len(train.classes))
    hits1 = hits5 = left_out = 0
    vote_hits = dict.fromkeys(VOTERS, 0)
    for start in range(0, len(val.classes), BLOCK):
        part = slice(start, start + BLOCK)
        similarities = val_features[part] @ train_features.T
        similarities[val.videos[part, None] == train.videos[None]] = -np.inf
        for row, right in zip(similarities, val.classes[part], strict=True):
            order = np.argsort(-row, kind="stable")[:most]
            order = order[np.isfinite(row[order])]
            left_out += not len(order)
            is_right = train.classes[order] == right
            hits1 += bool(is_right[:1].any())
            hits5 += bool(is_right[:5].any())
            for voters in VOTERS:
                vote_hits[voters] += _wins(train.classes[order[:voters]], row[order[:voters]], int(right))
    number = len(val.classes)
    share = 100 / max(1, number)
    votes = {voters: share * hits for voters, hits in vote_hits.items()}
    return KnnScores(share * hits1, share * hits5, votes, number, left_out)


def _wins(classes: np.ndarray, similarities: np.ndarray, right: int) -> bool:
    if right not in classes:
        return False
    weights = np.exp((similarities.astype(np.float64) - 1) / TEMPERATURE)
    sums = np.bincount(classes, weights)
    return bool(sums[right] > np.delete(sums, right).max(initial=0.0))


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return (features / np.where(lengths > 0, lengths, 1)).astype(np.float32)
