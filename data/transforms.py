"""Which part of the frames a clip shows: one choice per clip, the same for all its frames.

The shorter side is resized to 294/256 of the crop and the crop is cut from that. Both are done at once by choosing
the rectangle of the source that becomes the crop, in whole source pixels, so that only the crop is ever resized.
"""

import numpy as np

from data.datasets import ClipShape
from data.frame_store import Region

RESIZED_SIDE_PER_CROP = 294 / 256


def random_crop(size: tuple[int, int], shape: ClipShape, flip: bool, rng: np.random.Generator) -> Region:
    """A crop at a random place of a source of `size` (height, width); flipped with probability 1/2 if `flip`."""
    height, width = _source_extent(size, shape)
    top = int(rng.integers(0, size[0] - height + 1))
    left = int(rng.integers(0, size[1] - width + 1))
    flipped = flip and bool(rng.integers(0, 2))
    return Region(top, left, height, width, shape.height, shape.width, flipped)


def centre_crop(size: tuple[int, int], shape: ClipShape) -> Region:
    """The crop in the middle of a source of `size` (height, width)."""
    height, width = _source_extent(size, shape)
    return Region((size[0] - height) // 2, (size[1] - width) // 2, height, width, shape.height, shape.width, False)


def _source_extent(size: tuple[int, int], shape: ClipShape) -> tuple[int, int]:
    """Height and width, in source pixels, of what becomes the crop."""
    scale = min(size[0] / shape.height, size[1] / shape.width) / RESIZED_SIDE_PER_CROP
    return max(1, round(shape.height * scale)), max(1, round(shape.width * scale))
