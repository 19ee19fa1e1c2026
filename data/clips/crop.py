"""Which part of the frames a clip shows: one choice per clip, the same for all its frames.

The shorter side is resized to 294/256 of the crop and the crop is cut from that. Both are done at once by choosing
the rectangle of the source that becomes the crop, in whole source pixels, so that only the crop is ever resized.

Where that rectangle is two or four times the crop or more, it is cut on a grid of so many pixels, for which the reader
decodes reduced frames in a part of the time; within half a percent of one, two or four times, it is made just that.
"""

import numpy as np

from data.clips.types import ClipShape
from data.store.frame_store import CropBox

RESIZED_SIDE_PER_CROP = 294 / 256
WHOLE_SCALE_TOLERANCE = 0.005


def random_crop(size: tuple[int, int], shape: ClipShape, flip: bool, rng: np.random.Generator) -> CropBox:
    """A crop at a random place of a source of `size` (height, width); flipped with probability 1/2 if `flip`."""
    height, width, grid = _source_extent(size, shape)
    top = grid * int(rng.integers(0, (size[0] - height) // grid + 1))
    left = grid * int(rng.integers(0, (size[1] - width) // grid + 1))
    flipped = flip and bool(rng.integers(0, 2))
    return CropBox(top, left, height, width, shape.height, shape.width, flipped)


def centre_crop(size: tuple[int, int], shape: ClipShape) -> CropBox:
    """The crop in the middle of a source of `size` (height, width)."""
    height, width, grid = _source_extent(size, shape)
    top, left = ((side - extent) // 2 // grid * grid for side, extent in zip(size, (height, width), strict=True))
    return CropBox(top, left, height, width, shape.height, shape.width, False)


def _source_extent(size: tuple[int, int], shape: ClipShape) -> tuple[int, int, int]:
    """Height and width, in source pixels, of what becomes the crop; the grid, 1, 2 or 4 pixels, to cut it on."""
    scale = min(size[0] / shape.height, size[1] / shape.width) / RESIZED_SIDE_PER_CROP
    grid = next((factor for factor in (4, 2) if scale >= factor * (1 - WHOLE_SCALE_TOLERANCE)), 1)
    if abs(scale / grid - 1) <= WHOLE_SCALE_TOLERANCE:
        scale = grid
    height, width = (max(1, round(side * scale / grid)) * grid for side in (shape.height, shape.width))
    return height, width, grid
