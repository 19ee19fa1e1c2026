"""How much a program computes for one clip: found from the shapes alone, before it is run."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from common.errors import NetworkError
from network.weights.facts import shown

LARGEST_VALUE = 2**30
"""Most numbers in one value. The deepest networks have some 2**27 for clips of 64 frames."""

MOST_NUMBERS = 2**36
"""In all values that are computed, views included."""


class _Counting(TorchDispatchMode):
    """Adds up the numbers in what operations give. NetworkError if they are more than any network's."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [value.numel() for value in tree_leaves(result) if isinstance(value, Tensor)]
        self.numbers += sum(sizes)
        if max(sizes, default=0) > LARGEST_VALUE or self.numbers > MOST_NUMBERS:
            raise NetworkError(f"its program computes far more than any network here, by {shown(str(func))}")
        return result


def check_size(program: Callable[[Tensor], object], shape: Sequence[int]) -> None:
    """Run a program whose weights are on the meta device for a clip of `shape`, where nothing is computed.

    NetworkError if it would take far more time or memory than any network, or cannot be run.
    """
    try:
        with torch.no_grad(), _Counting():
            program(torch.empty((1, 3, *shape), device="meta"))
    except NetworkError:
        raise
    except Exception as error:  # of any type: an operation may be given what it does not take
        raise NetworkError(f"its program cannot be computed for a clip ({shown(str(error), 150)})") from error
