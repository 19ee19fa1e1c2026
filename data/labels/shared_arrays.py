"""Arrays that all processes of a machine share, whether they are forked or spawned.

multiprocessing.shared_memory is not used: it is limited by the size of /dev/shm, and a killed process leaves it behind.
"""

import mmap
import weakref
from collections.abc import Iterator, Mapping
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np

from common.errors import DataError
from common.files import reason
from common.memory import anonymous_file

ALIGNMENT = 64


class SharedArrays(Mapping[str, np.ndarray]):
    """Named read-only arrays of one dimension, in memory that child processes share.

    The memory is a file without a name, which the system frees when the last process ends or is killed. A forked child
    inherits it; a spawned child gets its descriptor. Pickling for any other purpose copies the arrays. DataError if
    there is not enough memory.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray]) -> None:
        layout: dict[str, tuple[str, int, int]] = {}  # dtype, offset in bytes, number of elements
        size = 0
        for name, array in arrays.items():
            assert array.ndim == 1, (name, array.shape)
            layout[name] = (array.dtype.str, size, array.size)
            size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
        try:
            file = anonymous_file("arrays", max(size, 1))  # an empty file cannot be mapped
            with mmap.mmap(file, 0) as memory:
                for name, (dtype, offset, number) in layout.items():
                    np.frombuffer(memory, dtype, number, offset)[:] = arrays[name]
            self._map(file, layout)
        except OSError as error:
            raise DataError(
                f"cannot get {size / 1e6:.1f} MB of memory for the videos' names ({reason(error)})"
            ) from error

    def _map(self, file: int, layout: dict[str, tuple[str, int, int]]) -> None:
        self._file = open(file, "rb", buffering=0)  # noqa: SIM115 - stays open as long as the arrays exist
        weakref.finalize(self, self._file.close)  # else Python warns wherever it collects the file
        self._layout = layout
        # Map all pages at once: a page that no other process has mapped yet counts as this process's own memory.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)  # only Linux has MAP_POPULATE
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
