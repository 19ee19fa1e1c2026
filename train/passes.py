"""The forward and backward pass of a part of a batch."""

import gc
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from common.distributed.process_group import wrap_in_ddp
from common.precision import autocast
from common.ranks import Ranks
from train.flat_gradients import FlatGradients
from train.losses import Loss
from train.optimizer_step import OptimizerStep


class Outputs(NamedTuple):
    """What a forward pass of B clips gives, without a graph of autograd. The next pass may overwrite it."""

    loss_sum: Tensor  # ()
    logits: Tensor  # (B, classes), float32


class Passes(Protocol):
    """Makes forward and backward passes, and adds up the gradients of a batch that comes in parts.

    `labels` are what the loss takes: labels (B,), or shares of the classes (B, classes), see Loss.
    """

    def __call__(
        self, clips: Tensor, labels: Tensor, batch_size: int, is_last: bool, between: Callable[[], None]
    ) -> Outputs:
        """Add the gradients of normalised clips (B, 3, T, h, w), divided by `batch_size`; `is_last`: of the batch.

        `between` is called after the forward pass.
        """

    def finish(self) -> None:
        """Give every parameter's `grad` the batch's gradient, averaged over ranks. To be called after the last part."""

    def forget(self) -> None:
        """Begin anew: the network has other buffers, or other parameters learn."""

    def begin_epoch(self) -> None:
        """Record anew if the network has other parameters or buffers than before."""


class Computation:
    """A network's loss, in a precision."""

    def __init__(
        self, network: nn.Module, loss: Loss, optimizer_step: OptimizerStep, device: torch.device, precision: str
    ) -> None:
        self.network, self.loss, self.optimizer_step = network, loss, optimizer_step
        self.device, self.precision = device, precision

    def forward(self, network: nn.Module, clips: Tensor, labels: Tensor, caches: bool = True) -> tuple[Tensor, Tensor]:
        """The sum () of the clips' losses, and the logits. `caches`: whether autocast keeps converted weights."""
        with autocast(self.device, self.precision, caches):
            logits = network(clips).float()
        return self.loss(logits, labels), logits


class EagerPasses:
    """Passes whose operations the host launches one by one.

    On a GPU, DistributedDataParallel averages the gradients over ranks while the backward pass still runs. After its
    first backward pass it adds them up in another order, so that a resumed run differs from an undisturbed one by
    rounding. On the CPU, where it is to be the same, they are averaged after the last pass, always in one order.
    """

    def __init__(self, computation: Computation, ranks: Ranks) -> None:
        self.computation, self.ranks = computation, ranks
        self.is_first = True  # whether the next pass is the first of a batch
        self._wrap()

    def __call__(
        self, clips: Tensor, labels: Tensor, batch_size: int, is_last: bool, between: Callable[[], None]
    ) -> Outputs:
        """See Passes."""
        if self.gradients and self.is_first:
            self.gradients.flat.zero_()
            self.gradients.attach()  # the backward passes add to them
        self.is_first = False
        with nullcontext() if is_last else self._no_gradient_sync():
            loss_sum, logits = self.computation.forward(self.network, clips, labels)
            between()
            self.computation.optimizer_step.backward(loss_sum / batch_size)
        return Outputs(loss_sum.detach(), logits.detach())

    def finish(self) -> None:
        """See Passes."""
        if self.gradients:
            self.gradients.average(self.ranks)
        self.is_first = True

    def forget(self) -> None:
        """Only the gradients of the parameters that learned when the network was wrapped are averaged."""
        if self.learning != _learning(self.computation.network):
            self._wrap()

    def begin_epoch(self) -> None:
        """Nothing is recorded."""

    def _wrap(self) -> None:
        network = self.computation.network
        self.learning = _learning(network)
        self.network = network  # without the wrapper before, whose hooks go with it
        self.gradients: FlatGradients | None = None
        if self.ranks.world_size > 1 and self.computation.device.type == "cuda":
            gc.collect()
            self.network = wrap_in_ddp(network, self.computation.device)
        elif self.ranks.world_size > 1:
            self.ranks.broadcast([*network.parameters(), *network.buffers()])
            self.gradients = FlatGradients(network.parameters())

    def _no_gradient_sync(self) -> AbstractContextManager[None]:
        return self.network.no_sync() if isinstance(self.network, DistributedDataParallel) else nullcontext()


def _learning(network: nn.Module) -> list[bool]:
    """Which parameters learn."""
    return [parameter.requires_grad for parameter in network.parameters()]
