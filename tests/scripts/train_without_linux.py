"""train_tiny.py on a system without Linux's calls, such as macOS, where worker processes are spawned."""

import ctypes
import multiprocessing
import os
from typing import Any

MISSING = ("sched_getaffinity", "memfd_create", "prctl", "mallopt")


class Library(ctypes.CDLL):
    """A C library without the missing functions."""

    def __getattr__(self, name: str) -> Any:
        if name in MISSING:
            raise AttributeError(name)
        return super().__getattr__(name)


# Before any import of the project. Spawned workers import this file too, so the functions are missing there as well.
ctypes.CDLL = Library  # type: ignore[misc]
for function in MISSING:
    if hasattr(os, function):
        delattr(os, function)
os.environ.pop("OMP_NUM_THREADS", None)  # the run then asks for the number of CPUs

from tests.scripts import train_tiny  # noqa: E402
from tests.tiny_network import register_tiny_networks  # noqa: E402
from train.main import main  # noqa: E402

if __name__ == "__main__":
    multiprocessing.set_start_method("spawn")
    register_tiny_networks()
    main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
