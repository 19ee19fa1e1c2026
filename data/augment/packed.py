"""Where the parameters of a batch go to the device: packed, so that many small arrays are one copy."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

ALIGNMENT = 64  # bytes: each array begins at a multiple, as kernels may read several numbers at once

Layout = list[tuple[int, tuple[int, ...], torch.dtype]]  # of each array: its first byte, shape and dtype


def to_device(arrays: Sequence[np.ndarray], device: torch.device) -> list[Tensor]:
    """The arrays as tensors on the device, float64 as float32; does not wait for the device.

    On a GPU they lie in one buffer. Each copy would cost the host a call of the driver and page-locked memory.
    """
    arrays = [array.astype(np.float32) if array.dtype == np.float64 else array for array in arrays]
    if device.type == "cpu" or not arrays:
        return [torch.from_numpy(array) for array in arrays]
    buffer, layout = pack(arrays, pin_memory=device.type == "cuda")
    return unpack(buffer.to(device, non_blocking=True), layout)


def pack(arrays: Sequence[np.ndarray], pin_memory: bool) -> tuple[Tensor, Layout]:
    """The arrays one after the other in a uint8 tensor (bytes,) on the host, and where each of them is."""
    layout: Layout = []
    size = 0
    for array in arrays:
        layout.append((size, array.shape, torch.from_numpy(array[:0]).dtype))
        size += -(-array.nbytes // ALIGNMENT) * ALIGNMENT
    buffer = torch.empty(size, dtype=torch.uint8, pin_memory=pin_memory)
    content = buffer.numpy()
    for array, (first, shape, _) in zip(arrays, layout, strict=True):
        np.frombuffer(content, array.dtype, array.size, first).reshape(shape)[...] = array
    return buffer, layout


def unpack(buffer: Tensor, layout: Layout) -> list[Tensor]:
    """The arrays of a packed buffer, on its device; they share its memory."""
    found = []
    for first, shape, dtype in layout:
        size = int(np.prod(shape)) * dtype.itemsize
        found.append(buffer[first : first + size].view(dtype).view(shape))
    return found
