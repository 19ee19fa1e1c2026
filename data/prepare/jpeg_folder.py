"""Encodes frames as JPEG, and reads them from a folder of JPEG files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import simplejpeg

from data.store.jpeg import jpeg_size
from data.store.video_file import VideoError, scaled_size
from data.store.video_pixels import OtherSizes

PNG = b"\x89PNG"
HEADER_BYTES = 2**17  # which hold a frame's size and its Exif block of at most 64 KiB
TRANSPOSING = range(5, 9)  # orientations of Exif
MAX_BYTES = 2**27  # of a file: four bytes for each of the most pixels that are read


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Encode an RGB frame (H, W, 3) with halved chroma, as ffmpeg and OpenCV do."""
    return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")


class JpegFolderReader:
    """Iterates, once, over JPEG files, the frames of a video in order: JPEG bytes.

    All frames get the size of the first, with the shorter side scaled down to `short_side` pixels; a file that already
    has that size is passed on unchanged, others are scaled and encoded again, as are those that Exif says to turn. If
    more than half of the frames have another size than the first, which may be a thumbnail, VideoError is raised or,
    with `keep_partial`, all get that size. Every file is decoded to find damaged ones: they raise VideoError or, with
    `keep_partial`, are left out with a message in `losses`. After the last frame, `remarks` says which had another
    size, and `size` is the height and width of all. `beat` is called for each file.
    """

    def __init__(
        self,
        files: Sequence[Path],
        short_side: int,
        quality: int,
        keep_partial: bool = False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.files = files
        self.losses: list[str] = []
        self.remarks: list[str] = []
        self.size = (0, 0)
        self._short_side = short_side
        self._quality = quality
        self._keep_partial = keep_partial
        self._beat = beat

    def __iter__(self) -> Iterator[bytes]:
        common = self._most_have() if self._keep_partial else None
        size = scaled_size(*common, self._short_side) if common else None
        sizes = OtherSizes(common)
        for path in self.files:
            self._beat()
            if not path.is_file():
                raise VideoError(f"{path.name} is no file, or a link to none")
            is_huge = path.stat().st_size > MAX_BYTES
            data = b"" if is_huge else path.read_bytes()
            if data.startswith(PNG):
                raise VideoError(f"{path.name} is a PNG file in spite of its name; write the frames as JPEG")
            try:
                if is_huge:
                    raise ValueError(f"more than {MAX_BYTES} bytes, which no picture that is read has")
                jpeg_size(data)  # refuses a size that would take gigabytes
                pixels = simplejpeg.decode_jpeg(data, "RGB")
            except ValueError as error:
                what = f"{path.name} {_damage(error)}"
                if not self._keep_partial:
                    raise VideoError(f"{what}; --keep-partial leaves it out") from error
                self.losses.append(f"{what} and was left out")
                continue
            orientation = exif_orientation(data)
            pixels = _upright(pixels, orientation)
            sizes.add(*pixels.shape[:2])
            self.size = size = size or scaled_size(pixels.shape[0], pixels.shape[1], self._short_side)
            is_kept = pixels.shape[:2] == size and orientation == 1
            yield data if is_kept else encode_jpeg(_resized(pixels, size), self._quality)
        most = None if self._keep_partial else sizes.majority()
        if most and scaled_size(*most[0], self._short_side) != size:
            (height, width), count = most
            raise VideoError(
                f"{count} of {len(self.files)} frames are {width}x{height} pixels, but not the first, "
                f"{self.files[0].name}; remove it if it is none of them (--keep-partial scales all to that size)"
            )
        if remark := sizes.remark():
            self.remarks.append(remark)

    def _most_have(self) -> tuple[int, int] | None:
        """The size, height and width, of more than half of the files by their headers; None if there is none."""
        sizes = OtherSizes()
        for path in self.files:
            self._beat()
            if path.is_file():
                with path.open("rb") as file, suppress(ValueError):
                    header = file.read(HEADER_BYTES)
                    height, width = jpeg_size(header)
                    sizes.add(*((width, height) if exif_orientation(header) in TRANSPOSING else (height, width)))
        most = sizes.majority()
        return most[0] if most else None


def exif_orientation(data: bytes) -> int:
    """How a JPEG is to be shown, 1 to 8 as in Exif 2.32, 4.6.4, A; 1 (as it is stored) if nothing says so."""
    place = 2
    while data[place : place + 1] == b"\xff" and place + 4 <= len(data):
        marker, length = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            return _tiff_orientation(data[place + 10 : place + 2 + length])
        if not (0xE0 <= marker <= 0xEF or marker == 0xFE):  # Exif comes first; others may only be comments
            break
        place += 2 + length
    return 1


def _tiff_orientation(block: bytes) -> int:
    """The tag 0x112 of the first directory (TIFF 6.0, section 2)."""
    order: Literal["little", "big"] = "little" if block[:2] == b"II" else "big"
    start = int.from_bytes(block[4:8], order)
    for place in range(start + 2, start + 2 + 12 * int.from_bytes(block[start : start + 2], order), 12):
        entry = block[place : place + 12]
        if len(entry) < 12:
            break
        if int.from_bytes(entry[:2], order) == 0x112:
            value = int.from_bytes(entry[8:10], order)
            return value if 1 <= value <= 8 else 1
    return 1


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as the orientation says to show them: 5 to 8 swap rows and columns, 2 to 4 mirror them."""
    if orientation == 1:
        return pixels
    if orientation in TRANSPOSING:
        pixels = pixels.transpose(1, 0, 2)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _damage(error: ValueError) -> str:
    """What is wrong with a file; jpeg_size says it in words that follow a name, simplejpeg does not."""
    text = str(error)
    return text if text.startswith("holds ") else f"is a damaged JPEG ({text})"


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = pixels.shape[0] > size[0]
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
