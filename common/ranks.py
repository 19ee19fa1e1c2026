"""What the processes of one run tell each other. One process alone is a world of size 1."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """A process among those of the run."""

    rank: int
    local_rank: int
    world_size: int

    @property
    def is_first(self) -> bool:
        """Whether this rank is the one that writes files and talks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """The element-wise sum over all ranks, on all ranks."""
        return self._reduce(tensor, dist.ReduceOp.SUM)

    def maximum(self, tensor: Tensor) -> Tensor:
        """The element-wise maximum over all ranks, on all ranks."""
        return self._reduce(tensor, dist.ReduceOp.MAX)

    def decide(self, answer: bool) -> bool:
        """The first rank's answer, on all ranks."""
        return bool(self.broadcast([torch.tensor(float(answer))])[0])

    def broadcast(self, tensors: Iterable[Tensor]) -> list[Tensor]:
        """Overwrite each tensor by the first rank's."""
        tensors = list(tensors)
        if self.world_size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)
        return tensors

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, in the order of ranks, on all ranks; plain picklable types."""
        values = [value]
        if self.world_size > 1:
            values = [None] * self.world_size
            dist.all_gather_object(values, value)
        return values

    def _reduce(self, tensor: Tensor, operation: dist.ReduceOp.RedOpType) -> Tensor:
        if self.world_size > 1:
            tensor = tensor.clone()
            dist.all_reduce(tensor, operation)
        return tensor
