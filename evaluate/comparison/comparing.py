"""Two sides of an evaluation, A and B, compared on the same videos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.comparison.significance import SeedSpread, holm, mcnemar_p, seed_interval
from evaluate.results.bootstrap import (
    RESAMPLES,
    SCORES,
    ScoreInterval,
    percentile_interval,
    resampled_scores,
    score_values,
    video_results,
)
from evaluate.results.predictions import Predictions

LEVEL = 0.05
FEW_VIDEOS = 100
FEW_WINS = 6  # of fewer discordant videos no split has a p below LEVEL


@dataclass(frozen=True)
class SideScore:
    """A score of a side: its mean over seeds, and their spread; of one seed, its interval over videos."""

    seeds: tuple[float, ...]
    mean: float
    deviation: float  # sample standard deviation over seeds; NaN for one
    interval: ScoreInterval | None  # for one seed


@dataclass(frozen=True)
class Difference:
    """A score of both sides, and B - A with its 95 % interval: points of percent, nats for the loss."""

    a: SideScore
    b: SideScore
    difference: ScoreInterval
    spread: SeedSpread | None  # if a side has several seeds


@dataclass(frozen=True)
class Discordant:
    """A video is won by the side more of whose seeds have it as a top-1 hit; `p` is that of McNemar's exact test.

    With several seeds `p` is of these trained networks only: it does not cover seeds.
    """

    a_wins: int
    b_wins: int
    p: float


@dataclass(frozen=True)
class ClassDifference:
    """A class: top-1 in percent of each side, and who wins its videos."""

    name: str
    videos: int
    a: float
    b: float
    discordant: Discordant
    holm_p: float  # p corrected for the number of classes that have videos


@dataclass(frozen=True)
class Comparison:
    """A and B on `videos` videos."""

    videos: int
    scores: Mapping[str, Difference]  # by the names of SCORES
    discordant: Discordant
    classes: tuple[ClassDifference, ...]  # those that have videos, in class order
    same_predictions: bool  # all seeds of one side are among those of the other

    @property
    def seeds(self) -> tuple[int, int]:
        """How many seeds A and B have."""
        top1 = self.scores["top1"]
        return len(top1.a.seeds), len(top1.b.seeds)


def compare_predictions(a: Sequence[Predictions], b: Sequence[Predictions], resamples: int = RESAMPLES) -> Comparison:
    """Compare the seeds of two sides; all predictions have the same videos, labels and classes.

    With one seed a side the intervals are those of the paired percentile bootstrap over videos: seeds are not covered.
    With several on one side they cover videos and seeds: see `seed_interval`.
    """
    results = [video_results(each) for each in (*a, *b)]
    values = np.stack([score_values(each) for each in results])
    resampled = resampled_scores(results, resamples)
    count = len(a)
    differences = {
        name: _difference((values[:count, i], values[count:, i]), (resampled[:, :count, i], resampled[:, count:, i]))
        for i, name in enumerate(SCORES)
    }
    rates = [np.mean([each.top1 for each in side], axis=0) for side in (results[:count], results[count:])]
    return Comparison(
        len(results[0]),
        differences,
        _discordant(*rates),
        _class_differences(results[0].labels, a[0].classes, *rates),
        _are_same(a, b) or _are_same(b, a),
    )


def _difference(scores: tuple[np.ndarray, np.ndarray], resampled: tuple[np.ndarray, np.ndarray]) -> Difference:
    sides = [_side(own, drawn) for own, drawn in zip(scores, resampled, strict=True)]
    if max(len(own) for own in scores) == 1:
        low, high = percentile_interval(resampled[1][:, 0] - resampled[0][:, 0])
        interval = ScoreInterval(sides[1].mean - sides[0].mean, float(low), float(high))
        return Difference(sides[0], sides[1], interval, None)
    *interval_over_seeds, spread = seed_interval(scores, resampled)
    return Difference(sides[0], sides[1], ScoreInterval(*interval_over_seeds), spread)


def _side(scores: np.ndarray, resampled: np.ndarray) -> SideScore:
    seeds = tuple(map(float, scores))
    if len(seeds) > 1:
        deviation = float(scores.std(ddof=1)) if np.isfinite(scores).all() else math.nan
        return SideScore(seeds, float(scores.mean()), deviation, None)
    low, high = percentile_interval(resampled[:, 0])
    return SideScore(seeds, seeds[0], math.nan, ScoreInterval(seeds[0], float(low), float(high)))


def _discordant(a: np.ndarray, b: np.ndarray) -> Discordant:
    """Who wins how many of the videos; `a` and `b` are the shares of seeds that have each as a hit."""
    # Shares of 3 and of 6 seeds may differ in their last digit.
    wins = int((a - b > 1e-9).sum()), int((b - a > 1e-9).sum())
    return Discordant(*wins, mcnemar_p(*wins))


def _class_differences(
    labels: np.ndarray, names: Sequence[str], a: np.ndarray, b: np.ndarray
) -> tuple[ClassDifference, ...]:
    present = np.unique(labels).tolist()
    rows = [labels == label for label in present]
    discordant = [_discordant(a[own], b[own]) for own in rows]
    corrected = holm([each.p for each in discordant])
    return tuple(
        ClassDifference(names[label], int(own.sum()), float(100 * a[own].mean()), float(100 * b[own].mean()), each, p)
        for label, own, each, p in zip(present, rows, discordant, corrected, strict=True)
    )


def _are_same(some: Sequence[Predictions], others: Sequence[Predictions]) -> bool:
    return all(any(np.array_equal(one.log_probabilities, each.log_probabilities) for each in others) for one in some)


def few_videos(videos: int) -> str | None:
    """A warning if a comparison is on few videos."""
    if not 0 < videos < FEW_VIDEOS:
        return None
    are = "1 video is" if videos == 1 else f"{videos} videos are"
    return f"{are} few: one is {100 / videos:.2f} points of top-1"


def shown_classes(classes: Sequence[ClassDifference], most: int) -> list[ClassDifference]:
    """The classes to show: those that differ significantly, then those of the largest differences, at most `most`."""
    differ = [each for each in classes if each.discordant.a_wins or each.discordant.b_wins]
    return sorted(differ, key=lambda each: (each.holm_p >= LEVEL, each.discordant.p, -abs(each.b - each.a)))[:most]


def conclusion(comparison: Comparison) -> str:
    """What can be said of top-1, in a sentence."""
    difference, p = comparison.scores["top1"].difference, comparison.discordant.p
    on = f"on these {comparison.videos} videos"
    size = f"{difference.low:+.2f} to {difference.high:+.2f} points"
    one_each = comparison.seeds == (1, 1)
    if comparison.same_predictions:
        return f"A and B have the same predictions {on}: there is nothing to compare."
    if one_each and not comparison.discordant.a_wins and not comparison.discordant.b_wins:
        return f"Not distinguishable by top-1 {on}: the same videos are hits of A and of B."
    wins = comparison.discordant.a_wins + comparison.discordant.b_wins
    if not one_each and wins < FEW_WINS:
        return (
            f"Not distinguishable by top-1 {on}: only {wins} of them {'is a hit' if wins == 1 else 'are hits'} of more "
            f"seeds of one side, and fewer than {FEW_WINS} may be chance."
        )
    if difference.low <= 0 <= difference.high:
        return f"Not distinguishable by top-1 {on}: the interval of the difference, {size}, contains 0."
    better, worse = ("B", "A") if difference.value > 0 else ("A", "B")
    if one_each and p >= LEVEL:
        return (
            f"Not clearly distinguishable by top-1 {on}: the interval of the difference, {size}, excludes 0, but "
            f"McNemar's exact test gives p = {p:.3f}."
        )
    covered = "other seeds of training are not covered" if one_each else "the interval covers videos and seeds"
    return f"{better} has a higher top-1 than {worse} {on}: B - A is {size} (95 % interval); {covered}."


def as_json(comparison: Comparison) -> dict[str, Any]:
    """All numbers as plain values, without the classes."""
    scores = {}
    for name, each in comparison.scores.items():
        sides = {
            side: {
                "mean": own.mean,
                "seeds": list(own.seeds),
                "standard_deviation": own.deviation,
                "interval": [own.interval.low, own.interval.high] if own.interval else None,
            }
            for side, own in (("a", each.a), ("b", each.b))
        }
        scores[name] = {
            **sides,
            "difference": each.difference.value,
            "interval": [each.difference.low, each.difference.high],
            "spread": each.spread._asdict() if each.spread else None,
        }
    found = comparison.discordant
    one_each = comparison.seeds == (1, 1)
    return {
        "videos": comparison.videos,
        "seeds": list(comparison.seeds),
        "interval_covers": ["videos"] if one_each else ["videos", "seeds"],
        "scores": scores,
        "a_wins": found.a_wins,
        "b_wins": found.b_wins,
        "mcnemar_p": found.p if one_each else None,
        "conclusion": conclusion(comparison),
    }


def classes_as_json(classes: Sequence[ClassDifference]) -> list[dict[str, Any]]:
    """Classes as plain values."""
    return [
        {
            "class": each.name,
            "videos": each.videos,
            "a_top1": each.a,
            "b_top1": each.b,
            "a_wins": each.discordant.a_wins,
            "b_wins": each.discordant.b_wins,
            "p": each.discordant.p,
            "holm_p": each.holm_p,
        }
        for each in classes
    ]
