"""How the processes of one run exchange values. A single process is a world of size 1."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those of the run.

    All methods are collective: every rank must call them, in the same order.
    """

    rank: int  # among all processes of the run
    local_rank: int  # among those of this machine
    world_size: int

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes files and logs."""
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
        """Overwrite each tensor with the first rank's, and return them. One transfer for each type and device."""
        tensors = list(tensors)
        if self.world_size > 1:
            kinds: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
            for tensor in tensors:
                kinds.setdefault((tensor.dtype, tensor.device), []).append(tensor)
            for some in kinds.values():
                self._broadcast_at_once(some)
        return tensors

    @torch.no_grad()
    def _broadcast_at_once(self, tensors: list[Tensor]) -> None:
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.broadcast(flat, 0)
        if not self.is_first:
            for tensor, values in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
                tensor.copy_(values.view_as(tensor))

    def gather(self, value: Any) -> list[Any]:
        """The `value` of every rank, in the order of ranks, on all ranks. Values must be picklable."""
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
