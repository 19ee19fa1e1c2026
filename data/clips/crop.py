"""Where a crop is: random_crop, resized_crop (training) and centre_crop (validation), one for all frames of a clip.

The shorter side is resized to `scale` times the crop's size (294/256 by default), and the crop is cut from that. Both
are done in one step: the functions choose the rectangle of the source, in whole pixels, that becomes the crop, so that
only the crop is resized.

If the rectangle is at least two (four) times as large as the crop, its edges are multiples of 2 (4) pixels: the reader
can then decode frames reduced by that factor, which takes less time. If its scale is within half a percent of 1, 2 or
4, it is made exactly that.
"""

from math import log

import numpy as np

from data.clips.types import ClipShape
from data.store.crop_box import CropBox

Range = tuple[float, float]
"""Lowest and highest."""

RESIZED_SIDE_PER_CROP = 294 / 256
WHOLE_SCALE_TOLERANCE = 0.005
RESIZED_TRIES = 10  # rectangles that are drawn until one fits into the frame


def random_crop(
    size: tuple[int, int],
    shape: ClipShape,
    flip: bool,
    rng: np.random.Generator,
    scale: float = RESIZED_SIDE_PER_CROP,
) -> CropBox:
    """A crop at a random place of a source of `size` (height, width); with `flip`, mirrored with probability 1/2.

    `scale` is the resized shorter side for a crop of 1.
    """
    return _placed(size, shape, _source_extent(size, shape, scale), flip, rng)


def resized_crop(
    size: tuple[int, int], shape: ClipShape, area: Range, aspect: Range, flip: bool, rng: np.random.Generator
) -> CropBox:
    """A rectangle of random area, proportions and place, which becomes the crop: Inception's (arXiv 1409.4842).

    `area` is its share of the frame; `aspect` its width over its height, as a multiple of the crop's, whose logarithm
    is uniform. It is the first of ten draws that fits into the frame, else the largest rectangle with the proportions
    of the frame, or those nearest to them in `aspect`.
    """
    proportions = shape.width / shape.height
    areas = rng.uniform(*area, RESIZED_TRIES) * size[0] * size[1]
    aspects = np.exp(rng.uniform(log(aspect[0]), log(aspect[1]), RESIZED_TRIES)) * proportions
    for height, width in zip(np.sqrt(areas / aspects), np.sqrt(areas * aspects), strict=True):
        if height <= size[0] and width <= size[1]:
            break
    else:
        nearest = min(max(size[1] / size[0], aspect[0] * proportions), aspect[1] * proportions)
        height = min(size[0], size[1] / nearest)
        width = height * nearest
    least = min(height / shape.height, width / shape.width)
    grid = next((factor for factor in (4, 2) if least >= factor), 1)
    extent = (_on_grid(height, grid, size[0]), _on_grid(width, grid, size[1]), grid)
    return _placed(size, shape, extent, flip, rng)


def centre_crop(size: tuple[int, int], shape: ClipShape, scale: float = RESIZED_SIDE_PER_CROP) -> CropBox:
    """The crop in the middle of a source of `size` (height, width)."""
    height, width, grid = _source_extent(size, shape, scale)
    top, left = ((side - extent) // 2 // grid * grid for side, extent in zip(size, (height, width), strict=True))
    return CropBox(top, left, height, width, shape.height, shape.width, False)


def spread_crops(
    size: tuple[int, int], shape: ClipShape, crops: int, scale: float = RESIZED_SIDE_PER_CROP
) -> list[CropBox]:
    """`crops` crops evenly spread over the longer side, from its one end to the other; a single one is centred.

    Three are the left, centre and right of a wide or square source, and the top, middle and bottom of a high one, as in
    published tests with three crops. `scale` is the resized shorter side for a crop of 1.
    """
    centre = centre_crop(size, shape, scale)
    if crops == 1:
        return [centre]
    height, width, grid = _source_extent(size, shape, scale)
    room = (size[0] - height if size[0] > size[1] else size[1] - width) // grid
    places = [grid * (room * number // (crops - 1)) for number in range(crops)]
    return [centre._replace(top=place) if size[0] > size[1] else centre._replace(left=place) for place in places]


def is_enlarged(size: tuple[int, int], shape: ClipShape, scale: float = RESIZED_SIDE_PER_CROP) -> bool:
    """Whether the crop of a source of `size` (height, width) is smaller than the clip."""
    height, width, _ = _source_extent(size, shape, scale)
    return height < shape.height or width < shape.width


def _placed(
    size: tuple[int, int], shape: ClipShape, extent: tuple[int, int, int], flip: bool, rng: np.random.Generator
) -> CropBox:
    height, width, grid = extent
    top = grid * int(rng.integers(0, (size[0] - height) // grid + 1))
    left = grid * int(rng.integers(0, (size[1] - width) // grid + 1))
    flipped = flip and bool(rng.integers(0, 2))
    return CropBox(top, left, height, width, shape.height, shape.width, flipped)


def _source_extent(size: tuple[int, int], shape: ClipShape, side_per_crop: float) -> tuple[int, int, int]:
    """Height and width of the rectangle that becomes the crop, and the grid of its edges (1, 2, 4); source pixels."""
    scale = min(size[0] / shape.height, size[1] / shape.width) / side_per_crop
    grid = next((factor for factor in (4, 2) if scale >= factor * (1 - WHOLE_SCALE_TOLERANCE)), 1)
    if abs(scale / grid - 1) <= WHOLE_SCALE_TOLERANCE:
        scale = grid
    height, width = (_on_grid(side * scale, grid, most) for side, most in zip(shape[1:], size, strict=True))
    return height, width, grid


def _on_grid(extent: float, grid: int, most: int) -> int:
    """The multiple of the grid next to an extent, at least one and at most the frame's."""
    return min(max(1, round(extent / grid)), most // grid) * grid
