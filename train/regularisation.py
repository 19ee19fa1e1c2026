"""The flags of what regularises a network in training, and the keys of its random draws."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import nn

from common.options import option
from network.regularisation import set_drop_path, set_dropout


@dataclass(frozen=True)
class RegularisationOptions:
    """The flags of the network's regularisation."""

    dropout: float = option(
        0.0, "drop the features before the classifier with probability P", "optimisation", metavar="P", minimum=0,
        below=1, is_compared=True,
    )  # fmt: skip
    drop_path: float = option(
        0.0, "stochastic depth: drop a clip's residual branches with a probability that grows evenly from 0 in the "
        "first block to P in the last", "optimisation", metavar="P", minimum=0, below=1, is_compared=True,
    )  # fmt: skip
    zero_init_residual: bool = option(
        False, "a new network starts with residual branches of zero: the weight of the last batch norm of each block",
        "optimisation",
    )  # fmt: skip


def regularise(network: nn.Module, options: RegularisationOptions) -> None:
    """Apply dropout and stochastic depth to a network, in place; NetworkError if it has no place for them."""
    if options.dropout:
        set_dropout(network, options.dropout)
    if options.drop_path:
        set_drop_path(network, options.drop_path)


class Draws(Protocol):
    """What the random layers of a network draw in a pass."""

    def begin(self, global_step: int, part: int) -> None:
        """The next pass is of a part of a step's batch."""


class NoDraws:
    """For a network without random layers."""

    def begin(self, global_step: int, part: int) -> None:
        """The state of the generators stays as it is."""


class KeyedDraws:
    """Draws that depend on seed, step, rank and part of the batch alone, not on what was drawn before.

    Each pass begins with another seed of the device's default generator. CUDA graphs read it when they are replayed;
    nothing waits for the device.
    """

    def __init__(self, seed: int, rank: int, device: torch.device) -> None:
        self.seed, self.rank = seed, rank
        if device.type == "cuda":
            index = torch.cuda.current_device() if device.index is None else device.index
            self.generator = torch.cuda.default_generators[index]
        else:
            self.generator = torch.default_generator

    def begin(self, global_step: int, part: int) -> None:
        """See Draws."""
        sequence = np.random.SeedSequence((self.seed, global_step, self.rank, part))
        self.generator.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))


def make_draws(options: RegularisationOptions, seed: int, rank: int, device: torch.device) -> Draws:
    """The draws of a run."""
    return KeyedDraws(seed, rank, device) if options.dropout or options.drop_path else NoDraws()
