"""Shared memory for batches: workers decode clips into it, the main process makes tensors of it without a copy."""

import errno
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
from common.files import reason
from common.memory import anonymous_file


class BatchMemory:
    """`slots` slots of `slot_bytes` bytes, one batch each, shared with the processes that get this object.

    A slot is reserved for a batch, filled by workers, turned into a tensor, and free again when the last tensor that
    shares its memory is gone; until then nothing is written to it.

    The memory is a file without a name: nothing is left of it however the processes end, and the size of /dev/shm
    (64 MB in a container) does not limit it. DataError if there is not enough memory.
    """

    def __init__(self, slots: int, slot_bytes: int) -> None:
        self.slots = slots
        self.slot_bytes = -(-max(1, slot_bytes) // mmap.PAGESIZE) * mmap.PAGESIZE
        size = self.slots * self.slot_bytes
        try:
            self._map(anonymous_file("clips", size))
        except OSError as error:
            flags = "--batch-size, --clip-size, --clip-length, --val-clips or --workers"
            remedy = f": lower {flags}" if error.errno == errno.ENOMEM else ""
            raise DataError(
                f"cannot get {size / 1e6:.1f} MB of memory for batches ({reason(error)}){remedy}"
            ) from error
        self._reserved: set[int] = set()  # slots that workers may be writing to
        self._arrays: list[weakref.ref[np.ndarray] | None] = [None] * slots  # dead when no tensor of the slot is left
        self._page_locked = False

    def _map(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)
        self._bytes = np.frombuffer(mmap.mmap(descriptor, self.slots * self.slot_bytes), np.uint8)

    def __reduce__(self) -> tuple[Any, ...]:
        """For a spawned process, which gets the file's descriptor. A forked one inherits everything."""
        return _rebuild, (self.slots, self.slot_bytes, reduction.DupFd(self._descriptor))

    def reserve(self) -> int:
        """Reserve a free slot for workers to fill, and return its number.

        RuntimeError if there is none, because the caller holds too many batches.
        """
        for attempt in range(2):
            for slot in range(self.slots):
                array = self._arrays[slot]
                if slot not in self._reserved and (array is None or array() is None):
                    self._reserved.add(slot)
                    return slot
            if attempt == 0:
                collect()  # a batch may be held by a reference cycle, such as that of a caught exception
        raise RuntimeError(
            "too many earlier batches are still in use, but the loader needs their memory: hold at most two when "
            "fetching another, or keep batch.frames.clone()"
        )

    def tensor(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """The content of a reserved slot as uint8 tensor of `shape`; when the tensor is gone, the slot is free."""
        self._reserved.discard(slot)
        array = self.array(slot, shape)
        self._arrays[slot] = weakref.ref(array)  # every tensor that shares the memory refers to this object
        return torch.from_numpy(array)

    def release_reserved(self) -> None:
        """Free the slots that are reserved; call it when no worker writes to them and their batches are not needed."""
        self._reserved.clear()

    def array(self, slot: int, shape: tuple[int, ...]) -> np.ndarray:
        """The slot's memory as uint8 array of `shape`."""
        size = int(np.prod(shape))
        assert size <= self.slot_bytes, (shape, self.slot_bytes)
        return self._bytes[slot * self.slot_bytes :][:size].reshape(shape)

    def page_lock(self) -> None:
        """Page-lock the memory, so that copies to a GPU are asynchronous; a RuntimeWarning if CUDA refuses."""
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
            torch.zeros((), device="cuda")  # clears the CUDA error, which would otherwise surface at the next kernel
        except RuntimeError:
            pass
        warnings.warn(
            f"CUDA cannot page-lock {self._bytes.size / 1e6:.0f} MB of memory for batches (error {failure}), so each "
            "batch is copied once more on its way to the GPU; raise the limit of `ulimit -l`",
            RuntimeWarning,
            stacklevel=2,
        )


def _rebuild(slots: int, slot_bytes: int, descriptor: Any) -> BatchMemory:
    memory = BatchMemory.__new__(BatchMemory)
    memory.slots, memory.slot_bytes = slots, slot_bytes
    memory._map(descriptor.detach())
    return memory
