"""The training losses, by name. A new one is one entry in LOSSES."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from common.options import option

Loss = Callable[[Tensor, Tensor], Tensor]
"""Takes logits (B, classes), float32, and targets; returns the sum () of the clips' losses.

Targets are labels (B,), int64, or the share of each class (B, classes), float32, which mixed clips have.
"""


def _cross_entropy(options: "LossOptions") -> Loss:
    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(logits, targets, reduction="sum", label_smoothing=options.label_smoothing)

    return loss


def _binary_cross_entropy(options: "LossOptions") -> Loss:
    """Binary cross-entropy of each class, averaged over the classes (Wightman et al. 2021, arXiv 2110.00476)."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        num_classes = logits.shape[1]
        if not targets.is_floating_point():
            targets = F.one_hot(targets, num_classes).to(logits.dtype)
        targets = torch.lerp(targets, torch.full_like(targets, 1 / num_classes), options.label_smoothing)
        return F.binary_cross_entropy_with_logits(logits, targets, reduction="sum") / num_classes

    return loss


LOSSES: dict[str, Callable[["LossOptions"], Loss]] = {
    "cross-entropy": _cross_entropy,
    "bce": _binary_cross_entropy,
}


@dataclass(frozen=True)
class LossOptions:
    """The flags of the loss."""

    loss: str = option(
        "cross-entropy", "training loss; bce: binary cross-entropy of each class", "optimisation", choices=LOSSES,
        is_compared=True,
    )  # fmt: skip
    label_smoothing: float = option(
        0.0, "share of the training target that is spread evenly over all classes", "optimisation",
        minimum=0, below=1, is_compared=True,
    )  # fmt: skip


def make_loss(options: LossOptions) -> Loss:
    """The loss that the options name."""
    return LOSSES[options.loss](options)
