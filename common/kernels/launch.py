"""Launching Triton's kernels without what Triton does at each call: for a small kernel the host would be the limit.

Importing this file needs Triton.
"""

import copy
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeAlias

import torch
import triton
from torch import Tensor

Grid: TypeAlias = tuple[int, int, int]
Launch: TypeAlias = Callable[[Grid, int, list[int], tuple[Any, ...]], object]  # grid, device, addresses, the rest
_HOOKS: Any = getattr(getattr(triton, "knobs", None), "runtime", None)  # not in old versions of Triton
_address_of, _dtype_of = Tensor.data_ptr, attrgetter("dtype")


class Launcher:
    """A kernel that Triton has compiled is launched by a call of Triton's C function.

    A call goes through Triton where it may have to compile: for new types, constants and sizes other than those of the
    kernel's `do_not_specialize`, and for unusual arguments. All arguments are given by position: first `tensors`
    tensors on the current device, then sizes and other numbers, last the kernel's constants. `options` are Triton's:
    num_warps, num_stages.
    """

    def __init__(self, kernel: Any, tensors: int, **options: int) -> None:
        self._kernel, self._tensors, self._options = kernel, tensors, options
        self._compiled: dict[tuple[Any, ...], Launch] = {}
        self._may_call = isinstance(kernel, triton.JITFunction) and _HOOKS is not None  # not in its interpreter
        if self._may_call:
            numbers = [param for param in kernel.params[tensors:] if not param.is_constexpr]
            self._constants = tensors + len(numbers)
            self._specialised = [param.num for param in numbers if not param.do_not_specialize]
            assert [param.num for param in kernel.params if param.is_constexpr][:1] in ([], [self._constants]), "order"

    def __call__(self, grid: Grid, *args: Any) -> None:
        """Launch `grid` programs on the current stream."""
        if not self._may_call:
            self._kernel[grid](*args, **self._options)
            return
        count, constants = self._tensors, self._constants
        tensors = args[:count]
        addresses = list(map(_address_of, tensors))
        odd = 0
        for address in addresses:
            odd |= address
        # 16 divides the addresses of whole tensors, and Triton compiles for that.
        if odd & 15 or max(args[count:constants], default=0) >= 2**31 or _is_watched():
            self._kernel[grid](*args, **self._options)
            return
        device = tensors[0].get_device()
        key = (device, *map(_dtype_of, tensors), *[args[index] for index in self._specialised], *args[constants:])
        launch = self._compiled.get(key)
        if launch is None:
            launch = _direct(self._kernel[grid](*args, **self._options), len(args))
            if launch is None:
                self._may_call = False
            else:
                self._compiled[key] = launch
            return
        try:
            launch(grid, device, addresses, args[count:])
        except TypeError:  # of a version of Triton that takes no such arguments: nothing was launched
            self._may_call = False
            self(grid, *args)


def _is_watched() -> bool:
    """Whether a profiler of Triton wants to hear of each launch."""
    enter, leave = _HOOKS.launch_enter_hook, _HOOKS.launch_exit_hook
    return bool(getattr(enter, "calls", enter) or getattr(leave, "calls", leave))


def _direct(compiled: Any, arguments: int) -> Launch | None:
    """How a compiled kernel of so many arguments is launched; None if it is not clear."""
    try:
        fixed, is_tuple = _layout(compiled, arguments)
        function, stream_of = compiled.run.launch, torch._C._cuda_getCurrentRawStream
    except Exception:  # whatever another version of Triton raises: it is called as it always can be
        return None
    if is_tuple:
        return lambda grid, device, addresses, others: function(
            *grid, stream_of(device), *fixed, (*addresses, *others)
        )  # fmt: skip
    return lambda grid, device, addresses, others: function(*grid, stream_of(device), *fixed, *addresses, *others)


def _layout(compiled: Any, arguments: int) -> tuple[list[Any], bool]:
    """What Triton's C function takes between the stream and a kernel's arguments, and whether these are one tuple.

    Triton's launcher passes the grid, the stream, what stays the same for a kernel, and the kernel's arguments to a C
    function. How exactly differs between versions, so that a call with a stand-in for the C function tells. Its grid
    are no numbers: a launcher that computes with it, as for memory that a kernel needs, raises TypeError.
    """
    passed: list[Any] = []
    run = copy.copy(compiled.run)
    run.launch = lambda *args: passed.extend(args)
    marks = [object() for _ in range(4 + arguments)]
    run(*marks[:4], compiled.function, compiled.packed_metadata, None, None, None, *marks[4:])
    is_tuple = isinstance(passed[-1], (tuple, list))
    flat = [*passed[:-1], *passed[-1]] if is_tuple else passed
    fixed = flat[4 : len(flat) - arguments]
    if [*flat[:4], *flat[4 + len(fixed) :]] != marks or compiled.function not in fixed:
        raise ValueError("unknown order")
    return fixed, is_tuple
