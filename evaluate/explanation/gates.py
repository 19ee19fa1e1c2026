"""What the SRTG blocks of a network do with a clip: how much they scale each frame, and whether gates are open.

Shapes: t frames of a block, C channels.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from network import VideoNetwork
from network.srtg import SqueezeAndRecursion, temporal_gate


class Cycles(NamedTuple):
    """The cycle consistency of frame vectors a and b, both (t, C)."""

    weights: Tensor
    """(t, t): frame i's soft nearest neighbour is the mean of b with the weights of row i."""
    returns: Tensor
    """int64 (t,): the frame of a that is nearest to frame i's soft nearest neighbour; i if it is consistent."""

    @property
    def consistent(self) -> int:
        """How many frames return to themselves."""
        return int((self.returns == torch.arange(len(self.returns))).sum())


class Recursion(NamedTuple):
    """One block and one clip."""

    block: str
    strength: Tensor
    """(t,): the mean over channels of a*, the LSTM's output, with which each frame's features are multiplied."""
    has_gate: bool
    is_open: bool
    """Whether all frames are cycle-consistent, from a to a* and from a* to a. Without a gate, features are scaled all
    the same."""
    there: Cycles
    """From a to a*."""
    back: Cycles
    """From a* to a."""

    @property
    def scales(self) -> bool:
        """Whether the clip's features are multiplied by a*."""
        return self.is_open or not self.has_gate

    @property
    def state(self) -> str:
        """`open`, `closed`, or `no gate`."""
        return ("open" if self.is_open else "closed") if self.has_gate else "no gate"


def cycles(a: Tensor, b: Tensor) -> Cycles:
    """From each frame of a to its soft nearest neighbour in b and back, as `network.srtg.temporal_gate` has it.

    The weights are a softmax over frames of minus the squared distances.
    """
    a, b = a.float(), b.float()
    weights = torch.softmax(-_squared_distances(a, b), dim=-1)
    return Cycles(weights, _squared_distances(weights @ b, a).argmin(dim=-1))


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    return (a[:, None] - b[None]).square().sum(dim=-1)


@contextmanager
def recorded(network: VideoNetwork) -> Iterator[list[Recursion]]:
    """A list to which each forward pass of one clip in the block adds a Recursion for each SRTG block, in order."""
    found: list[Recursion] = []
    handles = []

    def note(name: str, module: SqueezeAndRecursion, _: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        a, recursed = inputs[0].detach(), output.detach()
        is_open = bool(temporal_gate(a, recursed)[0])
        one, other = a[:, 0].cpu(), recursed[:, 0].cpu()
        strength = other.float().mean(dim=1)
        found.append(Recursion(name, strength, module.gates, is_open, cycles(one, other), cycles(other, one)))

    for name, module in network.named_modules():
        if isinstance(module, SqueezeAndRecursion):
            hook = partial(note, name.removesuffix(".sar"), module)
            handles.append(module.lstm.register_forward_hook(hook))
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
