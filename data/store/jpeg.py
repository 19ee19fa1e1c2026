"""Where a frame is decoded: a JPEG to the pixels of its crop box, scaled and mirrored.

Decoding takes most of the time of reading a clip. If the box is scaled, less is decoded:

- Detail that scaling removes: a shorter transform decodes a JPEG to a half or a quarter of its size.
- Exactness: the fast transform is wrong by one grey level on average.

Scaled or not, with libjpeg-turbo 3 (turbojpeg.py) pixels outside the box are not decoded.

Every JPEG is still read to its end, so that damage is found wherever it is.
"""

import re

import numpy as np
import simplejpeg

from data.store.crop_box import CropBox, copy_crop, scratch_frame
from data.store.turbojpeg import ALIGNMENT, MARGIN, Part, thread_decoder

MAX_PIXELS = 2**25  # an 8K frame; a damaged header may state more, which would take minutes to decode
# With Huffman codes, a block of 8x8 pixels takes a bit or more: fewer bytes cannot hold the pixels of a header.
PIXELS_PER_BYTE = 1024
# The markers (ISO 10918-1, table B.1) that begin a frame's header.
SEQUENTIAL, SCAN, ARITHMETIC = (0xC0, 0xC1), 0xDA, range(0xC9, 0xD0)
FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # the markers without a length
# A progressive JPEG has ten scans. Each is a pass over all pixels and may take ten bytes: 300,000 scans of a frame of
# 3.6 MB took minutes, and so did 3000 of 30 KB, in one of the other kinds.
MAX_SCANS = 100
JPEG_START = b"\xff\xd8\xff"
JPEG_LS = b"\xff\xd8\xff\xf7"
OTHER_FORMATS = (b"\x89PNG", b"RIFF", b"GIF8", b"BM", JPEG_LS)
_NOT_DAMAGE = re.compile(
    "memory|unsupported|not supported|not implemented|omitted", re.IGNORECASE
)  # libjpeg's messages


class NotDecodedError(ValueError):
    """A JPEG, or another picture, that may be whole but is not decoded.

    The reason is its kind, its size (too large, or another than that of the frames before), or too little memory.
    """


class NoJpegError(ValueError):
    """Bytes that do not begin as a JPEG: a picture of a format that is not known here, or damage."""


def jpeg_size(blob: bytes) -> tuple[int, int]:
    """The height and width in pixels in the JPEG's header; ValueError if there is no header or the size is absurd."""
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(blob)
    except ValueError as error:
        other = blob.startswith(OTHER_FORMATS) or _NOT_DAMAGE.search(str(error))
        kind = NotDecodedError if other else ValueError if blob.startswith(JPEG_START) else NoJpegError
        raise kind(f"holds no readable JPEG: its {len(blob)} bytes begin with {blob[:8]!r}") from error
    pixels = height * width
    if pixels < 1:
        raise ValueError(f"holds a damaged JPEG: its header says {width}x{height} pixels")
    if pixels > MAX_PIXELS:
        if pixels > PIXELS_PER_BYTE * len(blob) and _frame_header(blob)[0] not in ARITHMETIC:
            raise ValueError(f"holds a damaged JPEG: its header says {width}x{height} pixels")
        raise NotDecodedError(f"is {width}x{height} pixels, and more than {MAX_PIXELS} are not decoded")
    return height, width


class CropDecoder:
    """Decodes the same crop box of frames of one size (height, width). For use on the thread that made it."""

    def __init__(self, size: tuple[int, int], box: CropBox) -> None:
        box.check_inside(*size)
        self._size = size
        self._fast = box.scales
        self._factor = box.reduction
        self._box = box.reduced(self._factor)
        # _frame and _part_frame share this thread's buffer: only one of them is in use at a time.
        self._frame = scratch_frame(-(-size[0] // self._factor), -(-size[1] // self._factor))
        self._decoder = thread_decoder()
        if self._decoder is not None:
            self._part = self._part_around_box()
            self._part_frame = scratch_frame(self._part.height, self._part.width)
            top, left = self._box.top - self._part.top, self._box.left - self._part.left
            self._box_in_part = self._box._replace(top=top, left=left)

    def decode(self, blob: bytes, out: np.ndarray) -> None:
        """Write the box of the JPEG to `out`, uint8 (out_height, out_width, 3).

        ValueError if the JPEG has another size, ends early or is damaged, NotDecodedError if it may be whole; the
        message is to follow the frame's name.
        Damage that leaves a valid JPEG of other content cannot be detected.
        """
        check_scans(blob)
        if self._decoder is not None and self._decoder.decode(
            blob, self._size, self._part, self._factor, self._fast, self._part_frame
        ):
            copy_crop(self._part_frame, self._box_in_part, out)
            return
        # Also for JPEGs that libjpeg-turbo 3 refused: simplejpeg reads more kinds, or says what is wrong.
        _decode(blob, self._frame, self._size, self._factor, self._fast)
        copy_crop(self._frame, self._box, out)

    def _part_around_box(self) -> Part:
        """The rectangle of the reduced frame that must be decoded to get the box."""
        box, alignment = self._box, ALIGNMENT // self._factor
        top = max(0, box.top - MARGIN)
        left = max(0, box.left - MARGIN) // alignment * alignment
        bottom = min(self._frame.shape[0], box.top + box.height + MARGIN)
        right = min(self._frame.shape[1], box.left + box.width + MARGIN)
        return Part(top, left, bottom - top, right - left)


def decode_whole(blob: bytes, out: np.ndarray) -> None:
    """Decode the whole JPEG exactly into `out`, uint8 (height, width, 3); errors as in CropDecoder.decode."""
    check_scans(blob)
    _decode(blob, out, (out.shape[0], out.shape[1]), 1, fast=False)


def _decode(blob: bytes, frame: np.ndarray, size: tuple[int, int], factor: int, fast: bool) -> None:
    height, width, _ = frame.shape
    # simplejpeg ignores min_factor without minimum sizes; with them it takes the smallest scale that satisfies all.
    # A larger JPEG at a smaller scale may give the same shape, so its size must be checked first.
    if factor > 1:
        _check_size(blob, size)
    scaling = {"min_height": height, "min_width": width, "min_factor": factor} if factor > 1 else {}
    try:
        shape = simplejpeg.decode_jpeg(blob, "RGB", fastdct=fast, buffer=frame, **scaling).shape
    except ValueError as error:  # damaged, or too large for the buffer
        _check_size(blob, size)
        if _NOT_DAMAGE.search(str(error)):
            raise NotDecodedError(f"holds a JPEG that cannot be decoded ({error})") from error
        raise ValueError(f"holds a damaged JPEG ({error})") from error
    if shape != frame.shape:
        _check_size(blob, size)
        raise ValueError(f"holds a damaged JPEG: it decodes to {shape[1]}x{shape[0]} pixels, not {width}x{height}")


def _check_size(blob: bytes, size: tuple[int, int]) -> None:
    found = jpeg_size(blob)
    if found != size:
        raise NotDecodedError(f"is {found[1]}x{found[0]} pixels, but the first frame read is {size[1]}x{size[0]}")


def check_scans(blob: bytes) -> None:
    """NotDecodedError, whose message is to follow the frame's name, for a JPEG of very many scans."""
    marker, is_whole = _frame_header(blob)
    if marker not in SEQUENTIAL or not is_whole:  # else, libjpeg decodes no other scan; counting takes long
        scans = blob.count(b"\xff\xda\0")  # the data of a scan does not contain these bytes
        if scans > MAX_SCANS:
            raise NotDecodedError(f"holds a JPEG of {scans} scans; more than {MAX_SCANS} are not decoded")


def _frame_header(blob: bytes) -> tuple[int | None, bool]:
    """The marker that begins the frame's header, and whether the first scan has all components.

    None if it cannot be found: libjpeg may find one behind bytes that are no marker.
    """
    frame, components = None, -1
    place, last = 2, len(blob) - 5
    while place <= last and blob[place] == 0xFF:
        marker = blob[place + 1]
        if marker in FRAMES:
            if frame is not None or place + 9 > last:
                break
            frame, components = marker, blob[place + 9]
        if marker == SCAN:
            return frame, blob[place + 4] == components
        if marker == 0xFF:  # one that fills
            place += 1
        elif marker in ALONE:
            place += 2
        elif marker == 0:  # libjpeg passes over it, and reads no length
            break
        else:
            place += 2 + (blob[place + 2] << 8 | blob[place + 3])
    return frame, False
