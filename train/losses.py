"""The training losses, by name. A new one is one entry in LOSSES."""

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from common.options import option

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (B, classes) float32 and labels (B,) to the sum () of the clips' losses."""


def _cross_entropy(options: "LossOptions") -> Loss:
    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, labels, reduction="sum")

    return loss


LOSSES: dict[str, Callable[["LossOptions"], Loss]] = {"cross-entropy": _cross_entropy}


@dataclass(frozen=True)
class LossOptions:
    """The flags of the loss."""

    loss: str = option("cross-entropy", "what training minimises", "optimisation", choices=LOSSES, is_compared=True)


def make_loss(options: LossOptions) -> Loss:
    """The loss that the options name."""
    return LOSSES[options.loss](options)
