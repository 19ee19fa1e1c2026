"""From the JPEGs of one clip to its pixels: each is decoded as far as its region needs, cropped, scaled and mirrored.

Decoding takes most of a loader's time. What it leaves out here:

- Rows below the region. JPEG has no index, but a decoder stops at the height that the header states: it is given a copy
  that states less. It then finds data where it expects the end, and says so; any other complaint counts as damage.
- Detail that scaling would remove: JPEG can be decoded to a half or a quarter of its size by a shorter transform.
- Exactness, where the region is scaled in any case: the fast transform is one grey level off on average.
"""

import re
from functools import lru_cache

import numpy as np
import simplejpeg

from data.region import Region, copy_region, scratch_frame

MAX_PIXELS = 2**25  # an 8K frame; more comes from a damaged header, and decoding it would take minutes
MARGIN_ROWS = 2  # below the region: exact colours take the row of colour samples beneath as well, which may be shared
LEAST_ROWS_SAVED = 16  # a row of JPEG's blocks
_DATA_AFTER_LAST_ROW = re.compile(r"extraneous bytes before marker 0xd9\)$")  # the marker is that of the end
_RESTART_INTERVAL = b"\xff\xdd\x00\x04"


def jpeg_size(blob: bytes) -> tuple[int, int]:
    """Height and width in pixels that the JPEG's header states; ValueError if it has none or an absurd one."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(blob)
    except ValueError as error:
        raise ValueError(f"holds no readable JPEG: its {len(blob)} bytes begin with {blob[:8]!r}") from error
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"holds a damaged JPEG, whose header says {width}x{height} pixels")
    return height, width


class RegionDecoder:
    """Decodes frames of one size (height, width) to the same region of each."""

    def __init__(self, size: tuple[int, int], region: Region) -> None:
        region.check_inside(*size)
        self._size = size
        self._fast = region.scales
        self._factor = region.reduction
        self._region = region.reduced(self._factor)
        self._rows = min(size[0], region.top + region.height + MARGIN_ROWS)
        self._whole = scratch_frame(*(-(-side // self._factor) for side in size))
        self._upper = self._whole[: -(-self._rows // self._factor)]

    def decode(self, blob: bytes, out: np.ndarray) -> None:
        """Write the region of the JPEG to `out`, uint8 (out_height, out_width, 3).

        ValueError, worded to follow the frame's name, if the JPEG has another size, ends early, or is damaged above the
        region's lower edge. Damage that leaves a valid JPEG of another content cannot be seen.
        """
        if not self._decode_upper_rows(blob):
            _decode(blob, self._whole, self._size, self._factor, self._fast)
        copy_region(self._whole, self._region, out)

    def _decode_upper_rows(self, blob: bytes) -> bool:
        """Decode down to the region's lower edge; False if that saves nothing or does not work."""
        if self._rows > self._size[0] - LEAST_ROWS_SAVED:
            return False
        frame_header = _baseline_header(self._size)
        start = blob.find(frame_header, 0, 4096)
        # Within restart intervals the decoder resumes after damage, with the very message that is looked for below.
        if start < 0 or blob.find(_RESTART_INTERVAL, 0, 4096) >= 0:
            return False
        end = start + len(frame_header)
        header = _baseline_header((self._rows, self._size[1]))
        try:
            _decode(
                blob[:start] + header + blob[end:], self._upper, (self._rows, self._size[1]), self._factor, self._fast
            )
        except ValueError as error:
            return _DATA_AFTER_LAST_ROW.search(str(error)) is not None
        return False  # there was nothing after the last row: the JPEG is not what its header says


def decode_whole(blob: bytes, out: np.ndarray) -> None:
    """Decode the JPEG exactly into `out`, uint8 (height, width, 3); errors as RegionDecoder.decode."""
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


@lru_cache(maxsize=256)
def _baseline_header(size: tuple[int, int]) -> bytes:
    """How the frame header of a baseline JPEG with three colours begins: marker, length, 8 bits, height, width."""
    return b"\xff\xc0\x00\x11\x08" + size[0].to_bytes(2, "big") + size[1].to_bytes(2, "big")
