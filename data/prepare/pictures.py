"""Decodes pictures that are frames of a video: JPEG, PNG, BMP and WebP, told from each other by their content."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import cv2
import numpy as np
import simplejpeg

from data.store.jpeg import JPEG_START, MAX_PIXELS, check_scans, jpeg_size
from data.store.video_file import VideoError

PNG, BMP, RIFF = b"\x89PNG\r\n\x1a\n", b"BM", b"RIFF"
TRANSPOSING = range(5, 9)  # orientations of Exif
PIXELS_PER_BYTE = 2**11  # more than deflate can pack of one-bit pixels: fewer bytes do not hold a PNG's pixels
TO_8_BIT = np.rint(np.arange(2**16) / 257).astype(np.uint8)
ANIMATED = "is an animation, of which only the first picture would be read; convert it to a video file"


class Picture(NamedTuple):
    """Upright RGB pixels uint8 (H, W, 3), and what became of the file's own.

    `is_kept`: the file is a JPEG whose pixels these are. `brightest`: of more than 8 bits, the largest of the values 0
    to 65535 that were scaled down; else 0. `is_transparent`: some pixels are to be shown in part or not at all.
    """

    pixels: np.ndarray
    is_kept: bool = False
    brightest: int = 0
    is_transparent: bool = False


class Header(NamedTuple):
    """The size of a picture in pixels as it is stored, and how Exif says to turn it (1: not)."""

    height: int
    width: int
    orientation: int = 1

    @property
    def shown(self) -> tuple[int, int]:
        """Height and width as the picture is to be shown."""
        return (self.width, self.height) if self.orientation in TRANSPOSING else (self.height, self.width)


def read_header(data: bytes) -> Header:
    """The header of a picture, of which the first bytes are enough.

    ValueError, in words that follow the file's name, if it is damaged, of another kind, or has too many pixels.
    VideoError for an animation.
    """
    if data.startswith(JPEG_START):
        return Header(*jpeg_size(data), _exif_orientation(data))
    if data.startswith(PNG):
        header = Header(int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big"))
    elif data.startswith(BMP):
        header = _bmp_header(data)
    elif data.startswith(RIFF) and data[8:12] == b"WEBP":
        header = _webp_header(data)
    else:
        raise ValueError(f"is no JPEG, PNG, BMP or WebP picture: its {len(data)} bytes begin with {data[:8]!r}")
    pixels = header.height * header.width
    if pixels < 1:
        raise ValueError(f"is damaged: its header says {header.width}x{header.height} pixels")
    if pixels > MAX_PIXELS:
        raise ValueError(f"is {header.width}x{header.height} pixels, and more than {MAX_PIXELS} are not decoded")
    return header


def is_animated_webp(path: Path) -> bool:
    """Whether a file is an animation of the format WebP; not if it cannot be read."""
    try:
        if path.is_file():  # a pipe would be waited for
            with path.open("rb") as file:
                read_header(file.read(64))
    except VideoError:
        return True
    except (OSError, ValueError):
        pass
    return False


def decode_picture(data: bytes) -> Picture:
    """Decode a picture: grey becomes RGB, more than 8 bits a channel are scaled down, transparency is dropped.

    ValueError, in words that follow the file's name, if it is damaged or not read; VideoError for an animation.
    """
    header = read_header(data)
    if data.startswith(JPEG_START):
        check_scans(data)
        try:
            pixels = simplejpeg.decode_jpeg(data, "RGB")
        except ValueError as error:
            raise ValueError(f"is a damaged JPEG ({error})") from error
        return Picture(_upright(pixels, header.orientation), header.orientation == 1)
    is_transparent, orientation = False, header.orientation
    if data.startswith(PNG):
        if header.height * header.width > PIXELS_PER_BYTE * len(data):
            raise ValueError(f"is a damaged PNG: its header says {header.width}x{header.height} pixels")
        is_transparent, orientation = _check_png(data)
    # The fourth channel of a BMP is mostly unused, and zero.
    flag = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION if data.startswith(BMP) else cv2.IMREAD_UNCHANGED
    stored = _decoded(data, flag)
    if stored is None or stored.shape[:2] != header[:2] or stored.dtype not in (np.uint8, np.uint16):
        raise ValueError("is damaged, or of a kind that OpenCV does not decode")
    brightest = 0
    if stored.dtype == np.uint16:
        brightest = int(stored[..., :3].max() if stored.ndim == 3 else stored.max())
        stored = TO_8_BIT[stored]
    if stored.ndim == 3 and stored.shape[2] == 4:
        is_transparent = bool((stored[..., 3] < 255).any())
    return Picture(_upright(_rgb(stored), orientation), False, brightest, is_transparent)


def _decoded(data: bytes, flag: int) -> np.ndarray | None:
    level = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error:
        return None
    finally:
        cv2.utils.logging.setLogLevel(level)


def _rgb(stored: np.ndarray) -> np.ndarray:
    if stored.ndim == 2:
        return cv2.cvtColor(stored, cv2.COLOR_GRAY2RGB)
    return cv2.cvtColor(stored, cv2.COLOR_BGRA2RGB if stored.shape[2] == 4 else cv2.COLOR_BGR2RGB)


def _upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels as the orientation says to show them: 5 to 8 swap rows and columns, 2 to 4 mirror them."""
    if orientation == 1:
        return pixels
    if orientation in TRANSPOSING:
        pixels = pixels.transpose(1, 0, 2)
    flip_rows, flip_columns = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def _check_png(data: bytes) -> tuple[bool, int]:
    """Whether one colour of a grey PNG is transparent (OpenCV drops that), and the orientation.

    ValueError for a chunk that is damaged or cut short (PNG 3rd edition, section 5); VideoError for an animation.
    """
    is_transparent, orientation = False, 1
    for kind, content in _png_chunks(data):
        if kind == b"acTL":
            raise VideoError(ANIMATED)
        if kind == b"tRNS" and data[25:26] == b"\0":
            is_transparent = True
        if kind == b"eXIf":
            orientation = _tiff_orientation(bytes(content[:4096]))
    return is_transparent, orientation


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    place, view = len(PNG), memoryview(data)
    while place + 12 <= len(data):
        kind, end = data[place + 4 : place + 8], place + 12 + int.from_bytes(data[place : place + 4], "big")
        if end > len(data):
            break
        if zlib.crc32(view[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise ValueError(f"is a damaged PNG: the checksum of the chunk at byte {place} is wrong")
        yield kind, view[place + 8 : end - 4]
        if kind == b"IEND":
            return
        place = end
    raise ValueError(f"is a damaged PNG: it is cut short after {len(data)} bytes")


def _bmp_header(data: bytes) -> Header:
    if data[14:18] == b"\x0c\0\0\0":  # of OS/2
        return Header(int.from_bytes(data[20:22], "little"), int.from_bytes(data[18:20], "little"))
    height, width = (int.from_bytes(data[place : place + 4], "little", signed=True) for place in (22, 18))
    return Header(abs(height), max(0, width))  # a negative height: from the top down


def _webp_header(data: bytes) -> Header:
    """The sizes in the first chunk (RFC 9649, sections 2.5 to 2.7), and the orientation in the chunk EXIF."""
    kind, content = data[12:16], data[20:30].ljust(10, b"\0")
    if kind == b"VP8X":
        if content[0] & 2:
            raise VideoError(ANIMATED)
        size = int.from_bytes(content[7:10], "little") + 1, int.from_bytes(content[4:7], "little") + 1
        place = data.find(b"EXIF", 30) if content[0] & 8 else -1
        block = data[place + 8 : place + 4096].removeprefix(b"Exif\0\0")
        return Header(*size, _tiff_orientation(block) if place > 0 else 1)
    if kind == b"VP8L":
        bits = int.from_bytes(content[1:5], "little")
        return Header((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1)
    return Header(int.from_bytes(content[8:10], "little") & 0x3FFF, int.from_bytes(content[6:8], "little") & 0x3FFF)


def _exif_orientation(data: bytes) -> int:
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
