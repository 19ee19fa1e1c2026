"""Launching Triton's kernels without what Triton does at each call: for a small kernel the host would be the limit.

Importing this file needs Triton.
"""

from typing import Any

import triton


class Launcher:
    """A kernel that Triton has compiled is called directly, in a third of the host's time.

    A call goes through Triton where it may have to compile: for new types, constants and sizes other than those of the
    kernel's `do_not_specialize`, and for unusual arguments. All arguments are given by position: first `tensors`
    tensors on the current device, then sizes and other numbers, last the kernel's constants. `options` are Triton's:
    num_warps, num_stages.
    """

    def __init__(self, kernel: Any, tensors: int, **options: int) -> None:
        self._kernel, self._tensors, self._options = kernel, tensors, options
        self._compiled: dict[tuple[Any, ...], Any] = {}
        self._passed: int | None = None  # of the arguments, those that a compiled kernel takes; None: all
        self._may_call = isinstance(kernel, triton.JITFunction)  # not so in Triton's interpreter
        if self._may_call:
            numbers = [param for param in kernel.params[tensors:] if not param.is_constexpr]
            self._constants = tensors + len(numbers)
            self._specialised = [param.num for param in numbers if not param.do_not_specialize]
            assert [param.num for param in kernel.params if param.is_constexpr][:1] in ([], [self._constants]), "order"

    def __call__(self, grid: tuple[int, int, int], *args: Any) -> None:
        """Launch `grid` programs on the current stream."""
        if not self._may_call:
            self._kernel[grid](*args, **self._options)
            return
        types, odd = [], 0
        for tensor in args[: self._tensors]:
            types.append(tensor.dtype)
            odd |= tensor.data_ptr()
        # 16 divides the addresses of whole tensors, and Triton compiles for that.
        if odd % 16 or max(args[self._tensors : self._constants], default=0) >= 2**31:
            self._kernel[grid](*args, **self._options)
            return
        sizes = [args[index] for index in self._specialised]
        key = (args[0].get_device(), *types, *sizes, *args[self._constants :])
        compiled = self._compiled.get(key)
        if compiled is None:
            self._compiled[key] = self._kernel[grid](*args, **self._options)
            return
        try:
            compiled[grid](*args[: self._passed])
        except TypeError:  # of a version of Triton whose compiled kernels take other arguments: nothing was launched
            if self._passed is None:
                self._passed = self._constants  # Triton 3.2 takes no constants
            else:
                self._may_call = False
            self(grid, *args)
