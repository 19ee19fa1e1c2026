"""Whether two sets of results differ: tests on paired videos, and intervals over videos and seeds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

NORMAL = 1.959963984540054  # 97.5 % of a normal distribution lie below
LARGE = 1e4  # degrees of freedom from which on Student's t is taken as normal


def mcnemar_p(wins: int, losses: int) -> float:
    """The two-sided p of McNemar's exact test (binomial): of `wins` + `losses` videos that one network alone got right.

    The probability of so uneven a split, or one more uneven, if either network were as likely to be the right one.
    """
    count, least = wins + losses, min(wins, losses)
    if count == 0 or wins == losses:
        return 1.0
    steps = np.log(np.arange(count, count - least, -1)) - np.log(np.arange(1, least + 1))
    terms = np.concatenate([[0.0], np.cumsum(steps)]) - count * math.log(2)  # log of C(count, i) / 2^count
    largest = terms.max()
    return min(1.0, 2 * math.exp(largest + math.log(np.exp(terms - largest).sum())))


def holm(values: Sequence[float]) -> list[float]:
    """The p values corrected for their number by Holm's step-down method (1979), in the order given.

    If those below 0.05 are called differences, the chance that one or more of them is none is at most 5 %.
    """
    corrected = [1.0] * len(values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(values)), key=lambda each: values[each])):
        largest = max(largest, (len(values) - rank) * values[index])
        corrected[index] = min(1.0, largest)
    return corrected


def student_quantile(freedom: float) -> float:
    """The t below which 97.5 % of Student's distribution lie, for at least 1 degree of freedom (also fractions)."""
    if freedom >= LARGE:
        return NORMAL
    angles = np.linspace(-math.pi / 2, math.pi / 2, 100_001)  # t = sqrt(freedom) tan(angle)
    density = np.cos(angles).clip(min=0) ** (freedom - 1)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    return math.sqrt(freedom) * math.tan(np.interp(0.975, below / below[-1], angles))


class SeedSpread(NamedTuple):
    """What the interval of a difference over seeds is made of: standard deviations of the difference, for one score."""

    videos: float  # as these videos are a sample
    seeds: float  # as these seeds are a sample; beyond what the sample of videos explains
    freedom: float  # degrees of freedom (Welch, Satterthwaite)


def seed_interval(
    scores: tuple[np.ndarray, np.ndarray], resampled: tuple[np.ndarray, np.ndarray]
) -> tuple[float, float, float, SeedSpread]:
    """The difference of two sides' means over seeds, the ends of its 95 % interval, and what this is made of.

    `scores`: a score of the seeds of each side, (K,). `resampled`: the same on resampled videos, (R, K), one set of
    resamples for all. One side at least must have two seeds; a side with one is taken to have the spread of the other.

    The variance is that of the difference over resampled videos, and for each side that over seeds, divided by their
    number. The part of the latter that comes from the sample of videos is in the former already, and is taken off.
    The interval is that of Student's t with Welch's degrees of freedom, not a percentile bootstrap over seeds: of three
    seeds a side this has 72 to 90 % in place of 95 % if seeds differ more than videos (simulated: docs/compare.md).
    """
    difference = float(scores[1].mean()) - float(scores[0].mean())
    if not all(np.isfinite(each).all() for each in (*scores, *resampled)):
        return difference, math.nan, math.nan, SeedSpread(math.nan, math.nan, math.nan)
    draws = resampled[1].mean(axis=1) - resampled[0].mean(axis=1)
    over_videos = float(draws.var(ddof=1))
    single = [_seed_variance(own, drawn) for own, drawn in zip(scores, resampled, strict=True)]  # of one seed
    sizes = [len(own) for own in scores]
    if min(sizes) == 1:
        known = 0 if sizes[0] > 1 else 1
        parts = [(single[known] * (1 / sizes[0] + 1 / sizes[1]), sizes[known] - 1)]
    else:
        parts = [(variance / size, size - 1) for variance, size in zip(single, sizes, strict=True)]
    over_seeds = sum(part for part, _ in parts)
    total = over_videos + over_seeds
    # The number of videos is large beside that of seeds: the bootstrap's part has no bound to its degrees of freedom.
    uncertain = sum(part**2 / freedom for part, freedom in parts)
    freedom = max(1.0, total**2 / uncertain) if uncertain else math.inf
    half = student_quantile(freedom) * math.sqrt(total)
    return difference, difference - half, difference + half, SeedSpread(over_videos**0.5, over_seeds**0.5, freedom)


def _seed_variance(scores: np.ndarray, resampled: np.ndarray) -> float:
    """The variance of the score over seeds, without what the sample of videos adds to it; 0 for one seed."""
    if len(scores) < 2:
        return 0.0
    own = resampled - resampled.mean(axis=1, keepdims=True)
    return max(0.0, float(scores.var(ddof=1) - own.var(axis=0, ddof=1).sum() / (len(scores) - 1)))
