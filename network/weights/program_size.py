"""How much a program computes for one clip: found from the shapes alone, before it is run."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from common.errors import NetworkError
from network.weights.facts import shown

_ATEN = torch.ops.aten
POOLING = {
    _ATEN.max_pool2d_with_indices: 2, _ATEN.avg_pool2d: 2, _ATEN.max_pool3d_with_indices: 3, _ATEN.avg_pool3d: 3,
}  # fmt: skip
"""Operations that look at a window for each number, with its dimensions."""

LARGEST_VALUE = 2**30
"""Most numbers in one value. The deepest networks have some 2**27 for clips of 64 frames."""

MOST_NUMBERS = 2**38
"""In all values that operations take and give, views included. The deepest networks have some 2**35 at 64x224x224."""

MOST_WORK = 2**44
"""Additions and multiplications of products, convolutions and pooling. Networks here have up to 2**41 at 64x224x224."""


MANY_CLIPS = 1024
"""No value may grow faster than the number of clips up to this one."""


class _Counting(TorchDispatchMode):
    """Adds up what operations take, give and compute. NetworkError if it is more than any network's for `clips`."""

    def __init__(self, clips: int) -> None:
        super().__init__()
        self.clips = clips
        self.largest = self.numbers = self.work = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = _sizes(result)
        self.numbers += sum(sizes) + sum(_sizes((args, kwargs)))  # a sum takes far more than it gives
        self.work += _work(func, args, kwargs or {}, result)
        self.largest = max(self.largest, *sizes, 0)
        counts = (self.largest, LARGEST_VALUE), (self.numbers, MOST_NUMBERS), (self.work, MOST_WORK)
        if any(count > self.clips * most for count, most in counts):
            raise NetworkError(f"its program computes far more than any network here, by {shown(str(func))}")
        return result


def _sizes(values: Any) -> list[int]:
    return [value.numel() for value in tree_leaves(values) if isinstance(value, Tensor)]


def _work(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], result: Any) -> int:
    """What an operation computes beyond one step for each number that it takes and gives."""
    packet = func.overloadpacket
    if packet in flop_registry:
        return int(flop_registry[packet](*args, **kwargs, out_val=result))
    if packet in POOLING:
        window = args[1] if len(args[1]) > 1 else [*args[1]] * POOLING[packet]
        return math.prod(window) * sum(_sizes(result))
    return 0


def check_size(program: Callable[[Tensor], object], shape: Sequence[int]) -> None:
    """Run a program whose weights are on the meta device for clips of `shape`, where nothing is computed.

    NetworkError if it would take far more time or memory than any network, or cannot be run. One clip tells the size,
    and many clips whether it is a power of their number.
    """
    counts = []
    try:
        for clips in (1, MANY_CLIPS):
            with torch.no_grad(), _Counting(clips) as counting:
                program(torch.empty((clips, 3, *shape), device="meta"))
            counts.append(counting)
        one, many = counts
        if many.largest > MANY_CLIPS * one.largest or many.numbers > MANY_CLIPS * one.numbers:
            raise NetworkError(f"its program computes more for each of {MANY_CLIPS} clips than for one")
    except NetworkError:
        raise
    except Exception as error:  # of any type: an operation may be given what it does not take
        raise NetworkError(f"its program cannot be computed for a clip ({shown(str(error), 150)})") from error
