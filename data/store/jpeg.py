"""From the JPEGs of one clip to its pixels: each is decoded as far as its box needs, cropped, scaled and mirrored.

Decoding takes most of a loader's time. What it leaves out where the box is scaled in any case:

- Detail that scaling would remove: JPEG can be decoded to a half or a quarter of its size by a shorter transform.
- Exactness: the fast transform is one grey level off on average.

And in any case, where the system has libjpeg-turbo 3 (data/turbojpeg.py): the pixels around the box.

Every JPEG is read to its end all the same, so that damage shows wherever it is.
"""

import numpy as np
import simplejpeg

from data.store.crop_box import CropBox, copy_crop, scratch_frame
from data.store.turbojpeg import ALIGNMENT, MARGIN, Part, thread_decoder

MAX_PIXELS = 2**25  # an 8K frame; more comes from a damaged header, and decoding it would take minutes


def jpeg_size(blob: bytes) -> tuple[int, int]:
    """Height and width in pixels that the JPEG's header states; ValueError if it has none or an absurd one."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(blob)
    except ValueError as error:
        raise ValueError(f"holds no readable JPEG: its {len(blob)} bytes begin with {blob[:8]!r}") from error
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"holds a damaged JPEG, whose header says {width}x{height} pixels")
    return height, width


class CropDecoder:
    """Decodes frames of one size (height, width) to the same box of each, on the thread that made it."""

    def __init__(self, size: tuple[int, int], box: CropBox) -> None:
        box.check_inside(*size)
        self._size = size
        self._fast = box.scales
        self._factor = box.reduction
        self._box = box.reduced(self._factor)
        # Both in the thread's one buffer, of which only one is in use at a time.
        self._frame = scratch_frame(-(-size[0] // self._factor), -(-size[1] // self._factor))
        self._decoder = thread_decoder()
        if self._decoder is not None:
            self._part = self._part_around_box()
            self._part_frame = scratch_frame(self._part.height, self._part.width)
            top, left = self._box.top - self._part.top, self._box.left - self._part.left
            self._box_in_part = self._box._replace(top=top, left=left)

    def decode(self, blob: bytes, out: np.ndarray) -> None:
        """Write the box of the JPEG to `out`, uint8 (out_height, out_width, 3).

        ValueError, worded to follow the frame's name, if the JPEG has another size, ends early or is damaged. Damage
        that leaves a valid JPEG of another content cannot be seen.
        """
        if self._decoder is not None and self._decoder.decode(
            blob, self._size, self._part, self._factor, self._fast, self._part_frame
        ):
            copy_crop(self._part_frame, self._box_in_part, out)
            return
        # Also for what the other decoder does not take: this one says what is wrong, if anything is.
        _decode(blob, self._frame, self._size, self._factor, self._fast)
        copy_crop(self._frame, self._box, out)

    def _part_around_box(self) -> Part:
        """What must be decoded, of the reduced frame."""
        box, alignment = self._box, ALIGNMENT // self._factor
        top = max(0, box.top - MARGIN)
        left = max(0, box.left - MARGIN) // alignment * alignment
        bottom = min(self._frame.shape[0], box.top + box.height + MARGIN)
        right = min(self._frame.shape[1], box.left + box.width + MARGIN)
        return Part(top, left, bottom - top, right - left)


def decode_whole(blob: bytes, out: np.ndarray) -> None:
    """Decode the JPEG exactly into `out`, uint8 (height, width, 3); errors as CropDecoder.decode."""
    _decode(blob, out, (out.shape[0], out.shape[1]), 1, fast=False)


def _decode(blob: bytes, frame: np.ndarray, size: tuple[int, int], factor: int, fast: bool) -> None:
    height, width, _ = frame.shape
    # Without least sizes, simplejpeg ignores the factor; with them it takes the smallest scale that satisfies all.
    # A larger JPEG, at a smaller scale, may come out just as large: its shape alone would not tell.
    if factor > 1:
        _check_size(blob, size)
    scaling = {"min_height": height, "min_width": width, "min_factor": factor} if factor > 1 else {}
    try:
        shape = simplejpeg.decode_jpeg(blob, "RGB", fastdct=fast, buffer=frame, **scaling).shape
    except ValueError as error:  # damaged, or too large for the buffer
        _check_size(blob, size)
        raise ValueError(f"holds a damaged JPEG ({error})") from error
    if shape != frame.shape:
        _check_size(blob, size)
        raise ValueError(f"holds a damaged JPEG, which gives {shape[1]}x{shape[0]} pixels, not {width}x{height}")


def _check_size(blob: bytes, size: tuple[int, int]) -> None:
    found = jpeg_size(blob)
    if found != size:
        raise ValueError(f"is {found[1]}x{found[0]} pixels where its neighbours are {size[1]}x{size[0]}")
