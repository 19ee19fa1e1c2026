"""Activation checkpointing: the inside of each residual block is computed again in the backward pass, not kept."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from torch import nn

from common.errors import NetworkError
from network.resnet3d import ResidualBlock
from network.srtg import SqueezeAndRecursion


def checkpoint_activations(network: nn.Module) -> None:
    """Let every residual block below `network` keep its input alone; results and statistics stay the same.

    NetworkError if there is no block.
    """
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    if not blocks:
        raise NetworkError(f"{type(network).__name__} has no residual blocks whose activations could be checkpointed")
    for block in blocks:
        block.contexts = _RecomputationContexts(block)


class _RecomputationContexts:
    """What a block's forward pass runs in, and what its repetition does: there, nothing is counted a second time."""

    def __init__(self, block: ResidualBlock) -> None:
        self.block = block

    def __call__(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), self._repeating()

    @contextmanager
    def _repeating(self) -> Iterator[None]:
        """Batch norm's running statistics and the counts of gates have these clips already."""
        modules = list(self.block.modules())
        norms = [module for module in modules if isinstance(module, nn.BatchNorm3d)]
        before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
        recursions = [module for module in modules if isinstance(module, SqueezeAndRecursion)]
        for norm in norms:
            # The same operations on the same tensors, as checkpointing demands, but without an effect.
            norm.momentum, norm.num_batches_tracked = 0.0, None
        for recursion in recursions:
            recursion.counts_gates = False
        try:
            yield
        finally:
            for norm, momentum, tracked in before:
                norm.momentum, norm.num_batches_tracked = momentum, tracked
            for recursion in recursions:
                recursion.counts_gates = recursion.gates
