"""Whether Triton kernels are wanted in this process, and whether Triton is there."""

from functools import cache
from importlib.util import find_spec


class _Switch:
    is_on = True


@cache
def has_triton() -> bool:
    """Whether Triton is installed; it comes with PyTorch for CUDA on Linux."""
    return find_spec("triton") is not None


def use_kernels(is_on: bool) -> bool:
    """Turn the kernels of this process on or off. Returns whether they were on."""
    before, _Switch.is_on = _Switch.is_on, is_on
    return before


def are_wanted() -> bool:
    """Whether the kernels of this process are on."""
    return _Switch.is_on
