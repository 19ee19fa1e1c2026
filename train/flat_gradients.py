"""The gradients of a network in one piece of memory."""

import math
from collections.abc import Iterable, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.ranks import Ranks


class FlatGradients:
    """The gradients of parameters in one piece of memory: one operation clears them, or adds them up over ranks."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        alignment = 64  # elements
        starts = [0]
        for parameter in self.parameters:
            starts.append(starts[-1] + math.ceil(parameter.numel() / alignment) * alignment)
        self.flat = self.parameters[0].new_zeros(starts[-1])
        self.views = [_like(self.flat, start, each) for start, each in zip(starts, self.parameters, strict=False)]

    def attach(self) -> None:
        """Make them the parameters' `grad`."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            if parameter.requires_grad:  # still
                parameter.grad = view

    def detach(self) -> list[Tensor | None]:
        """Take each parameter's `grad` away, and return it."""
        taken = [parameter.grad for parameter in self.parameters]
        for parameter in self.parameters:
            parameter.grad = None
        return taken

    @torch.no_grad()
    def take(self, gradients: Sequence[Tensor | None], adds: bool) -> None:
        """Set or add gradients, one for each parameter, in few operations; None changes nothing."""
        pairs = [pair for pair in zip(self.views, gradients, strict=True) if pair[1] is not None]
        if pairs:
            views, present = map(list, zip(*pairs, strict=True))
            (torch._foreach_add_ if adds else torch._foreach_copy_)(views, present)

    def average(self, ranks: Ranks) -> None:
        """Average them over ranks, in one transfer. The sums are always of the same order."""
        self.flat.div_(ranks.world_size)
        dist.all_reduce(self.flat)


def _like(flat: Tensor, start: int, parameter: Tensor) -> Tensor:
    """A part of `flat` with the parameter's shape, and its layout if that has no gaps."""
    formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
    usual = formats[:1] + ((formats[parameter.dim() - 3],) if parameter.dim() in (4, 5) else ())
    is_dense = any(parameter.is_contiguous(memory_format=each) for each in usual)
    stride = parameter.stride() if is_dense else torch.empty(parameter.shape, device="meta").stride()
    return flat.as_strided(parameter.shape, stride, start)
