"""Memory that worker processes decode clips into and that the main process hands out as batches, without a copy."""

import mmap
import os
import warnings
import weakref
from gc import collect
from multiprocessing import reduction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.errors import DataError
from common.memory import anonymous_file


class BatchMemory:
    """`slots` places of `slot_bytes` bytes, each for one batch, shared with the processes that get this object.

    It is an anonymous file: it has no name, so that nothing is left of it however the processes end, and the size of
    /dev/shm, which is 64 MB in a container, does not limit it. What `lend` gives out is never written to again before
    the last tensor that shares its memory is gone.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = -(-max(1, slot_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        size = self.slots * self.slot_bytes
        try:
            self._map(anonymous_file("clips", size))
        except OSError as error:
            raise DataError(
                f"{size / 1e6:.0f} MB for the batches that are being read cannot be had ({error.strerror}); give a "
                "smaller --batch-size or fewer --workers"
            ) from error
        self._filling: set[int] = set()  # slots that workers may be writing to
        self._lent: list[weakref.ref[np.ndarray] | None] = [None] * slots  # dead once no tensor of the slot is left
        self._page_locked = False

    def _map(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._bytes = np.frombuffer(mmap.mmap(descriptor, self.slots * self.slot_bytes), np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        """For a process that is started by spawning: it gets the file's descriptor. One that is forked has all."""
        return _rebuild, (self.slots, self.slot_bytes, reduction.DupFd(self._descriptor))

    def take(self) -> int:
        """A slot for workers to fill, whose last batch nobody holds any longer.

        RuntimeError if there is none: more batches are held than the loader allows for.
        """
        for attempt in range(2):
            for slot in range(self.slots):
                lent = self._lent[slot]
                if slot not in self._filling and (lent is None or lent() is None):
                    self._filling.add(slot)
                    return slot
            if attempt == 0:
                collect()  # a batch may be held by garbage that refers to itself, as a caught exception does
        raise RuntimeError(
            "the frames of too many earlier batches are still in use, and the loader needs their memory for the next: "
            "hold two at most while asking for another, or keep batch.frames.clone()"
        )

    def lend(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """The uint8 tensor of `shape` that workers have filled the slot with; it is free again when that is gone."""
        self._filling.discard(slot)
        array = self.array(slot, shape)
        self._lent[slot] = weakref.ref(array)  # every tensor that shares the memory holds this very object
        return torch.from_numpy(array)

    def take_back_unlent(self) -> None:
        """Slots that were taken but not lent are free: their batches were not wanted in the end."""
        self._filling.clear()

    def array(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        """The slot's memory as uint8 array of `shape`."""
        size = int(np.prod(shape))
        assert size <= self.slot_bytes, (shape, self.slot_bytes)
        return self._bytes[slot * self.slot_bytes :][:size].reshape(shape)

    def page_lock(self) -> None:
        """Keep the memory in place, so that copies to a GPU run beside everything else. A warning where that fails."""
        if self._page_locked:
            return
        self._page_locked = True
        cudart = torch.cuda.cudart()
        address = self._bytes.ctypes.data
        failure = int(cudart.cudaHostRegister(address, self._bytes.size, 0))
        if not failure:
            weakref.finalize(self, cudart.cudaHostUnregister, address)
            return
        try:
            torch.zeros((), device="cuda")  # else CUDA would tell of the failure at the next kernel, whatever it is
        except RuntimeError:
            pass
        warnings.warn(
            f"CUDA cannot page-lock the {self._bytes.size / 1e6:.0f} MB that clips are read into (error {failure}): "
            "each batch is copied once more before it goes to the GPU. The limit may be that of `ulimit -l`",
            RuntimeWarning,
            stacklevel=2,
        )


def _rebuild(slots: int, slot_bytes: int, descriptor: Any) -> BatchMemory:
    memory = BatchMemory.__new__(BatchMemory)
    memory.slots, memory.slot_bytes = slots, slot_bytes
    memory._map(descriptor.detach())
    return memory
