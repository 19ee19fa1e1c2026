"""Activation checkpointing: residual blocks keep only their input and are recomputed in the backward pass."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial

from torch import nn

from common.errors import NetworkError
from network.resnet3d import ResidualBlock
from network.srtg import SqueezeAndRecursion


def checkpoint_activations(network: nn.Module) -> None:
    """Checkpoint every residual block of `network`, in place; results and batch-norm statistics do not change.

    NetworkError if there is no block.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        raise NetworkError(f"{type(network).__name__} has no residual blocks whose activations could be checkpointed")
    for block in blocks:
        block.checkpoint_contexts = partial(_contexts, block)


def _contexts(block: ResidualBlock) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """The contexts of a block's forward pass and of its recomputation."""
    return nullcontext(), _WithoutCounting(block)


class _WithoutCounting(AbstractContextManager[None]):
    """Freezes batch norm's running statistics and the gate counts: the forward pass has counted these clips already.

    It is entered once for each backward pass through the block.
    """

    def __init__(self, block: ResidualBlock) -> None:
        modules = list(block.modules())
        self.norms = [module for module in modules if isinstance(module, nn.BatchNorm3d)]
        self.recursions = [module for module in modules if isinstance(module, SqueezeAndRecursion)]

    def __enter__(self) -> None:
        self.before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in self.norms]
        for norm in self.norms:
            # Checkpointing requires the same operations on the same tensors; with a momentum of zero nothing changes.
            norm.momentum, norm.num_batches_tracked = 0.0, None
        for recursion in self.recursions:
            recursion.counts_gates = False

    def __exit__(self, *_: object) -> None:
        for norm, momentum, tracked in self.before:
            norm.momentum, norm.num_batches_tracked = momentum, tracked
        for recursion in self.recursions:
            recursion.counts_gates = recursion.gates
