"""What regularises a network in training: dropout before its classifier, stochastic depth, residual branches from zero.

Parameters and buffers keep their names and objects. In evaluation mode nothing changes.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import NetworkError
from network.resnet3d import ResidualBlock


class DropoutLinear(nn.Linear):
    """A linear layer whose input features (B, C) are dropped in training with probability `dropout`."""

    def __init__(self, linear: nn.Linear, dropout: float) -> None:
        """It has the parameters of `linear`, the same objects."""
        super().__init__(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        self.dropout = dropout
        self.train(linear.training)

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, C) to logits (B, classes)."""
        return super().forward(F.dropout(x, self.dropout) if self.training else x)

    def extra_repr(self) -> str:
        """The text in the printed network."""
        return f"{super().extra_repr()}, dropout={self.dropout:g}"


def set_dropout(network: nn.Module, dropout: float) -> None:
    """Drop features before the classifier `fc` of `network`, in place; NetworkError if it has no linear one."""
    classifier = getattr(network, "fc", None)
    if not isinstance(classifier, nn.Linear):
        raise NetworkError(f"{type(network).__name__} has no linear classifier `fc` that dropout could be before")
    network.fc = DropoutLinear(classifier, dropout)


def set_drop_path(network: nn.Module, most: float) -> None:
    """Drop residual branches in training, in place (stochastic depth, Huang et al. 2016, arXiv 1603.09382).

    The probability grows evenly from 0 in the first block to `most` in the last. NetworkError if there is no block.
    """
    blocks = _blocks(network, "be dropped")
    for number, block in enumerate(blocks):
        block.drop_path = most * number / (len(blocks) - 1) if len(blocks) > 1 else most


def zero_init_residual(network: nn.Module) -> None:
    """Let each residual branch start as zero (Goyal et al. 2017, arXiv 1706.02677): the weight of its last batch norm.

    NetworkError if there is no block.
    """
    for weight in _last_weights(network):
        nn.init.zeros_(weight)


def is_branch_zero(network: nn.Module) -> bool:
    """Whether any residual branch is zero, as `zero_init_residual` leaves them."""
    return any(not weight.any() for weight in _last_weights(network))


def _last_weights(network: nn.Module) -> list[nn.Parameter]:
    """The weights of the last batch norm of each block."""
    norms = [(block.conv2 if block.conv3 is None else block.conv3)[1] for block in _blocks(network, "start as zero")]
    return [norm.weight for norm in norms if isinstance(norm, nn.BatchNorm3d)]


def _blocks(network: nn.Module, what: str) -> list[ResidualBlock]:
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        raise NetworkError(f"{type(network).__name__} has no residual blocks whose branches could {what}")
    return blocks
