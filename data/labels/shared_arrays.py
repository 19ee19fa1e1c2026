"""Arrays that all processes of a machine share, however the processes are started."""

import mmap
from collections.abc import Iterator, Mapping
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from common.memory import anonymous_file

ALIGNMENT = 64


class SharedArrays(Mapping[str, np.ndarray]):
    """Named arrays, read-only, in memory that a child process sees instead of having a copy.

    The memory is a file without a name: nothing is left of it when the last process ends, whatever kills it,
    and neither the size of /dev/shm nor a change of another file matters. A forked child inherits it, a spawned one is
    handed its descriptor. Pickled for anything but a child process, the arrays go as bytes.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        layout: dict[str, tuple[str, int, int]] = {}  # dtype, offset in bytes, number of elements
        size = 0
        for name, array in arrays.items():
            assert array.ndim == 1, (name, array.shape)
            layout[name] = (array.dtype.str, size, array.size)
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        file = anonymous_file("arrays", max(size, 1))  # an empty one cannot be mapped
        with mmap.mmap(file, 0) as memory:
            for name, (dtype, offset, number) in layout.items():
                np.frombuffer(memory, dtype, number, offset)[:] = arrays[name]
        self._map(file, layout)

    def _map(self, file: int, layout: dict[str, tuple[str, int, int]]) -> None:
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115 - open as long as the arrays are
        self._layout = layout
        # All pages at once: one that no other process had touched yet would count as this one's own.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # there is none outside of Linux
        memory = mmap.mmap(file, 0, flags=flags, prot=mmap.PROT_READ)
        self._arrays = {name: np.frombuffer(memory, dtype, n, offset) for name, (dtype, offset, n) in layout.items()}

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:
            return SharedArrays, (dict(self._arrays),)
        return _attach, (DupFd(self._file.fileno()), self._layout)


def _attach(file: Any, layout: dict[str, tuple[str, int, int]]) -> SharedArrays:
    arrays = SharedArrays.__new__(SharedArrays)
    arrays._map(file.detach(), layout)
    return arrays
