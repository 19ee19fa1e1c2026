"""Loss and top-k as sums and counts, kept on the device until somebody asks."""

from typing import NamedTuple

import torch
from torch import Tensor

TOP_K = 5


class Scores(NamedTuple):
    """Sums over `examples`; add two and the result is that of all of them."""

    loss_sum: float = 0.0
    top1_sum: float = 0.0
    top5_sum: float = 0.0
    examples: float = 0.0

    def plus(self, other: "Scores") -> "Scores":
        """The scores of both sets of examples together."""
        return Scores(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def loss(self) -> float:
        """Mean cross-entropy."""
        return self.loss_sum / self.examples if self.examples else float("nan")

    @property
    def top1(self) -> float:
        """Share of examples whose best-scored class is right, in percent."""
        return 100 * self.top1_sum / self.examples if self.examples else float("nan")

    @property
    def top5(self) -> float:
        """Share of examples with the right class among the five best-scored, in percent."""
        return 100 * self.top5_sum / self.examples if self.examples else float("nan")


class ScoreSums:
    """Running sums on a device: adding waits for nothing, `take` fetches and clears them."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(len(Scores._fields), dtype=torch.float64, device=device)

    def add(self, loss_sum: Tensor, scores: Tensor, labels: Tensor) -> None:
        """Add a batch: its summed loss (), its class scores (B, classes) and labels (B,)."""
        hits = is_in_top_k(scores.detach(), labels)
        count = torch.full((), len(labels), device=labels.device)
        batch = (loss_sum.detach(), hits[:, 0].sum(), hits.any(dim=1).sum(), count)
        self.sums += torch.stack([value.double() for value in batch])

    def take(self) -> Tensor:
        """The sums so far (4,), which start anew."""
        sums, self.sums = self.sums, torch.zeros_like(self.sums)
        return sums


def is_in_top_k(scores: Tensor, labels: Tensor) -> Tensor:
    """Whether the k-th best class of each example is its label: bool (B, min(5, classes))."""
    best = scores.topk(min(TOP_K, scores.shape[1]), dim=1).indices
    return best == labels[:, None]
