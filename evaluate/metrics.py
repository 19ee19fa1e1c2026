"""Metrics: a count for each batch, and a value computed from the sums of the counts over many batches.

METRICS lists the metrics of training and validation, VIDEO_METRICS those that only validations and evaluations have. A
new metric is one entry there: training, validation, the score files, TensorBoard, the trackers and the log use the
lists. Sums stay on the device until a report is due.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

TOP_K = 5


def is_in_top_k(scores: Tensor, labels: Tensor) -> Tensor:
    """Column k tells whether the label is ranked k (0: the best) of all classes: bool (B, min(5, classes)).

    Of classes with the same score the label is ranked last: a network that gives two classes the same score has not
    told them apart. Any other order would depend on how classes are numbered, or on the device. Scores (B, classes)
    with a NaN rank nothing: such an example has no hit.
    """
    others = ~(scores < scores.gather(1, labels[:, None]))  # as good or better; also the label itself
    ranks = torch.arange(1, min(TOP_K, scores.shape[1]) + 1, device=scores.device)
    return (others.sum(dim=1, keepdim=True) == ranks) & ~scores.isnan().any(dim=1, keepdim=True)


@dataclass(frozen=True)
class BatchOutputs:
    """Loss, scores and labels of a batch of B examples."""

    loss_sum: Tensor  # (), the sum of the losses
    scores: Tensor  # (B, classes), logits or log-probabilities, float32: half precision makes different scores equal
    labels: Tensor  # (B,), int64

    @cached_property
    def hits(self) -> Tensor:
        """See `is_in_top_k`; for all metrics that need it."""
        return is_in_top_k(self.scores, self.labels)


def _mean(sums: Sequence[float], examples: float) -> float:
    return sums[0] / examples


def _percent(sums: Sequence[float], examples: float) -> float:
    return 100 * sums[0] / examples


def _one(num_classes: int) -> int:
    return 1


def _count_classes(outputs: BatchOutputs) -> Tensor:
    """The hits of each class, then the examples of each: int64 (2, classes). Exact in any order of addition."""
    classes = torch.arange(outputs.scores.shape[1], device=outputs.labels.device)
    is_of_class = outputs.labels[:, None] == classes  # (B, classes); F.one_hot would wait for the device
    return torch.stack([(is_of_class & outputs.hits[:, :1]).sum(dim=0), is_of_class.sum(dim=0)])


def _mean_over_classes(sums: Sequence[float], examples: float) -> float:
    hits, totals = sums[: len(sums) // 2], sums[len(sums) // 2 :]
    shares = [100 * hit / total for hit, total in zip(hits, totals, strict=True) if total]
    return sum(shares) / len(shares)


@dataclass(frozen=True)
class Metric:
    """A value over many examples, computed from sums over them.

    `count` returns the counts of a batch: n numbers on its device. It must not wait for the device, so no `.item()` and
    no `torch.bincount`. `size` returns n for a number of classes, by default 1. `value` computes the metric from the n
    sums and the number of examples, which is above 0.
    """

    name: str  # column in the score files, tag in TensorBoard, key in the JSON line
    text: str  # in the log, such as "top-1 {}%"
    count: Callable[[BatchOutputs], Tensor]
    value: Callable[[Sequence[float], float], float] = _mean
    size: Callable[[int], int] = _one
    digits: int = 2  # after the point, in the log; a diverged loss is shown by its exponent
    is_lower_better: bool = False

    def show(self, value: float) -> str:
        """The value as text for the log, such as `top-1 73.40%`."""
        return self.text.format(f"{value:.{self.digits}f}" if abs(value) < 1e5 else f"{value:.2e}")


METRICS: list[Metric] = [
    Metric("loss", "loss {}", lambda outputs: outputs.loss_sum, digits=4, is_lower_better=True),
    Metric("top1", "top-1 {}%", lambda outputs: outputs.hits[:, 0].sum(), _percent),
    Metric("top5", "top-5 {}%", lambda outputs: outputs.hits.any(dim=1).sum(), _percent),
]
VIDEO_METRICS: list[Metric] = [
    # Balanced accuracy: the mean, over the classes that have videos, of the share of their videos that are hits.
    Metric("mean_class", "mean-class {}%", _count_classes, _mean_over_classes, lambda classes: 2 * classes),
]
"""Further metrics of videos alone. In training, where a clip is drawn at random, they would say little."""


def all_metrics() -> list[Metric]:
    """The metrics of videos: METRICS, then VIDEO_METRICS."""
    return [*METRICS, *VIDEO_METRICS]


@dataclass(frozen=True)
class Scores:
    """The sums of each metric over `examples`."""

    examples: float = 0.0
    sums: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def plus(self, other: "Scores") -> "Scores":
        """The scores of both sets of examples together."""
        if not self.sums or not other.sums:
            return self if self.sums else other
        # A resumed run may have other metrics than before: those of one side alone have no value for the whole.
        sums = {
            name: tuple(mine + theirs for mine, theirs in zip(values, other.sums[name], strict=True))
            for name, values in self.sums.items()
            if name in other.sums
        }
        return Scores(self.examples + other.examples, sums)

    def values(self) -> dict[str, float]:
        """The value of each metric by name, of VIDEO_METRICS those that were counted; NaN without examples."""
        return {metric.name: self._value(metric) for metric in self._metrics()}

    def show(self, names: Collection[str] = ()) -> str:
        """All metrics, or those of these names, as text for the log: `loss 1.2714 top-1 25.00% top-5 100.00%`."""
        shown = (metric for metric in self._metrics() if not names or metric.name in names)
        return " ".join(metric.show(self._value(metric)) for metric in shown)

    def _metrics(self) -> Iterator[Metric]:
        """METRICS, and those of VIDEO_METRICS that were counted."""
        yield from METRICS
        yield from (metric for metric in VIDEO_METRICS if metric.name in self.sums)

    def _value(self, metric: Metric) -> float:
        if not self.examples or metric.name not in self.sums:
            return float("nan")
        return metric.value(self.sums[metric.name], self.examples)

    @property
    def loss(self) -> float:
        """Mean loss."""
        return self.values()["loss"]

    @property
    def top1(self) -> float:
        """Share of examples whose best-scored class is right, in percent."""
        return self.values()["top1"]

    @property
    def top5(self) -> float:
        """Share of examples with the right class among the five best-scored, in percent."""
        return self.values()["top5"]


class ScoreSums:
    """Running sums of all metrics on a device, or without `of_videos` of METRICS; `add` and `take` do not wait."""

    def __init__(self, device: torch.device, num_classes: int, of_videos: bool = True) -> None:
        self.metrics = all_metrics() if of_videos else list(METRICS)
        self.sizes = {metric.name: metric.size(num_classes) for metric in self.metrics}
        self.sums = torch.zeros(sum(self.sizes.values()) + 1, dtype=torch.float64, device=device)

    def add(self, loss_sum: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Add a batch: its summed loss (), its class scores (B, classes) and labels (B,)."""
        outputs = BatchOutputs(loss_sum.detach(), scores.detach(), labels)
        counts = [metric.count(outputs).double().reshape(-1) for metric in self.metrics]
        examples = torch.full((1,), len(labels), dtype=torch.float64, device=labels.device)
        self.sums += torch.cat([*counts, examples])

    def take(self) -> Tensor:
        """Return the sums so far, float64 (n,), for `scores_of`, and start from zero."""
        sums, self.sums = self.sums, torch.zeros_like(self.sums)
        return sums

    def scores_of(self, sums: Tensor) -> Scores:
        """The scores of sums from `take`, which may be summed over ranks. Waits for the device."""
        *values, examples = sums.tolist()
        by_name = {}
        for name, size in self.sizes.items():
            by_name[name], values = tuple(values[:size]), values[size:]
        return Scores(examples, by_name)
