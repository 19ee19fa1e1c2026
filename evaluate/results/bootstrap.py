"""Scores of predictions, and their 95 % intervals over videos."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from evaluate.metrics import is_in_top_k
from evaluate.results.predictions import Predictions

SCORES = ("loss", "top1", "top5", "mean_class")
CONFIDENCE = 95.0  # percent
RESAMPLES = 4000  # the ends of an interval then move by some 0.03 of its width with another seed
SEED = 0  # of the resampling: the same predictions have the same intervals each time
BLOCK = 1_000_000  # counts drawn at a time: 8 MB, and twice this for the sums of each class


@dataclass(frozen=True)
class ScoreInterval:
    """A score and its interval, in percent (accuracies) or nats (loss). The ends are NaN if there is no interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class VideoResults:
    """What the scores are computed from, for each of N videos with a known class."""

    labels: np.ndarray  # int64 (N,)
    loss: np.ndarray  # float64 (N,), -log p of the label
    top1: np.ndarray  # bool (N,)
    top5: np.ndarray  # bool (N,)

    def __len__(self) -> int:
        return len(self.labels)


def video_results(predictions: Predictions) -> VideoResults:
    """Loss and hits of each video, hits by the rule of `is_in_top_k`. Videos of unknown class (-1) are left out."""
    known = predictions.labels >= 0
    labels = predictions.labels[known].astype(np.int64)
    scores = predictions.log_probabilities[known]
    hits = is_in_top_k(torch.from_numpy(scores), torch.from_numpy(labels))
    loss = -scores[np.arange(len(labels)), labels].astype(np.float64)
    return VideoResults(labels, loss, hits[:, 0].numpy(), hits.any(dim=1).numpy())


def score_values(results: VideoResults) -> np.ndarray:
    """The four scores, float64 in the order of SCORES; NaN without videos.

    Mean-class accuracy: the share of a class's videos that are top-1 hits, its mean over the classes that have videos.
    """
    if not len(results):
        return np.full(len(SCORES), np.nan)
    totals = np.bincount(results.labels)
    hits = np.bincount(results.labels, weights=results.top1)
    mean_class = (hits[totals > 0] / totals[totals > 0]).mean()
    return np.array(
        [results.loss.mean(), *(100 * each for each in (results.top1.mean(), results.top5.mean(), mean_class))]
    )


def scores_with_intervals(
    predictions: Predictions, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, ScoreInterval]:
    """Loss, top-1, top-5 and mean-class accuracy by the names of SCORES, with their intervals: `bootstrap_intervals`.

    Accuracies are in percent. Videos of unknown class (-1) do not count; without any other, all values are NaN.
    """
    return bootstrap_intervals(video_results(predictions), resamples, seed)


def bootstrap_intervals(
    results: VideoResults, resamples: int = RESAMPLES, seed: int = SEED
) -> dict[str, ScoreInterval]:
    """The four scores with 95 % intervals of the percentile bootstrap over videos (Efron 1979).

    Videos are resampled: N of the N, with repetitions; `resamples` times. So an interval says how much the score would
    differ on other videos of the same kind. Classes are not resampled, but a resample has more or fewer videos of each;
    the mean over classes is then over those that it has. The network is given: other seeds of training are not covered.
    Of videos that come from one recording the interval is too narrow, as they are taken to be independent.

    If all videos or none are hits, the interval has no width. NaN ends without videos, and for a loss that is infinite.
    """
    values = score_values(results)
    low, high = percentile_interval(resampled_scores([results], resamples, seed)[:, 0])
    return {
        name: ScoreInterval(*map(float, ends))
        for name, ends in zip(SCORES, zip(values, low, high, strict=True), strict=True)
    }


def percentile_interval(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[np.ndarray, np.ndarray]:
    """The ends (...) between which `confidence` percent of the values (R, ...) lie; NaN where one is not finite."""
    finite = np.isfinite(values).all(axis=0)
    tail = (100 - confidence) / 2
    low, high = np.percentile(np.where(finite, values, 0.0), [tail, 100 - tail], axis=0)
    return np.where(finite, low, np.nan), np.where(finite, high, np.nan)


def resampled_scores(networks: Sequence[VideoResults], resamples: int = RESAMPLES, seed: int = SEED) -> np.ndarray:
    """The four scores of K networks on resampled videos, the same videos for all: float64 (resamples, K, 4).

    The networks' results must be of the same N videos with the same labels. A loss that is infinite is NaN throughout.
    """
    labels = networks[0].labels
    count = len(labels)
    if not count:
        return np.full((resamples, len(networks), len(SCORES)), np.nan)
    order = np.argsort(labels, kind="stable")  # by class: then a class is a range of columns
    starts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    hits = [network.top1[order] for network in networks]
    columns = [np.stack([network.loss, network.top1, network.top5])[:, order] for network in networks]
    values = np.stack(columns).astype(np.float64)  # (K, 3, N)
    values[~np.isfinite(values).all(axis=2)] = np.nan
    generator = np.random.default_rng(seed)
    parts = []
    for block in _blocks(resamples, count):
        counts = _draw(generator, block, count)
        means = np.einsum("rn,kmn->rkm", counts, values) / count  # not by BLAS, whose threads wait for busy cores
        totals = np.add.reduceat(counts, starts, axis=1)
        present = (totals > 0).sum(axis=1)
        shares = [np.add.reduceat(counts * hit, starts, axis=1) / np.maximum(totals, 1) for hit in hits]
        mean_class = np.stack([share.sum(axis=1) / present for share in shares], axis=1)
        accuracies = 100 * np.concatenate([means[:, :, 1:], mean_class[:, :, None]], axis=2)
        parts.append(np.concatenate([means[:, :, :1], accuracies], axis=2))
    return np.concatenate(parts)


def _blocks(resamples: int, count: int) -> list[int]:
    """How many resamples to draw at a time, so that memory stays small."""
    largest = max(1, BLOCK // count)
    return [min(largest, resamples - start) for start in range(0, resamples, largest)]


def _draw(generator: np.random.Generator, resamples: int, count: int) -> np.ndarray:
    """How often each of `count` videos is drawn in each resample, float64 (resamples, count)."""
    counts = np.empty((resamples, count))
    for row in counts:
        row[:] = np.bincount(generator.integers(0, count, count), minlength=count)
    return counts
