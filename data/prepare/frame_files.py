"""Encodes frames as JPEG, and reads them from picture files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from common.files import reason
from data.prepare.pictures import Picture, decode_picture, read_header
from data.store.video_file import VideoError, scaled_size
from data.store.video_pixels import OtherSizes

HEADER_BYTES = 2**17  # which hold a frame's size and its Exif block of at most 64 KiB
MAX_BYTES = 2**27  # of a file: four bytes for each of the most pixels that are read


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Encode an RGB frame (H, W, 3) with halved chroma, as ffmpeg and OpenCV do."""
    return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")


class FrameFilesReader:
    """Iterates, once, over picture files, the frames of a video in order: JPEG bytes.

    All frames get the size of the first, with the shorter side scaled down to `short_side` pixels; a JPEG that already
    has that size is passed on unchanged, others are scaled and encoded again, as are those that Exif says to turn, and
    PNG, BMP and WebP pictures. If more than half of the frames have another size than the first, which may be a
    thumbnail, VideoError is raised or, with `keep_partial`, all get that size. Every file is decoded to find damaged
    ones: they raise VideoError or, with `keep_partial`, are left out with a message in `losses`. After the last frame,
    `remarks` says which had another size, transparency or more than 8 bits, and `size` is the height and width of all.
    `beat` is called for each file.
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
        transparent, deep = 0, list[int]()
        for path in self.files:
            self._beat()
            found = self._read(path)
            if found is None:
                continue
            data, (pixels, is_kept, brightest, is_transparent) = found
            transparent += is_transparent
            deep += [brightest] if brightest else []
            sizes.add(*pixels.shape[:2])
            self.size = size = size or scaled_size(pixels.shape[0], pixels.shape[1], self._short_side)
            yield data if is_kept and pixels.shape[:2] == size else encode_jpeg(_resized(pixels, size), self._quality)
        most = None if self._keep_partial else sizes.majority()
        if most and scaled_size(*most[0], self._short_side) != size:
            (height, width), count = most
            raise VideoError(
                f"{count} of {len(self.files)} frames are {width}x{height} pixels, but not the first, "
                f"{self.files[0].name}; remove it if it is none of them (--keep-partial scales all to that size)"
            )
        if remark := sizes.remark():
            self.remarks.append(remark)
        if transparent:
            self.remarks.append(f"{transparent} frames are transparent in part: the colours there are taken as stored")
        if deep:
            what = f"{len(deep)} frames have 16 bits a channel: 65535 becomes 255, and the largest value, {max(deep)},"
            self.remarks.append(f"{what} becomes {round(max(deep) / 257)}")

    def _read(self, path: Path) -> tuple[bytes, Picture] | None:
        """A file and its picture; None if it is damaged and left out. VideoError for what is no file or not read."""
        try:
            if not path.is_file():
                raise VideoError("is no file, or a link to none")
            size = path.stat().st_size
            if not 0 < size <= MAX_BYTES:
                raise ValueError(f"has more than {MAX_BYTES} bytes" if size else "is empty (0 bytes)")
            data = path.read_bytes()
            return data, decode_picture(data)
        except OSError as error:
            raise VideoError(f"{path.name} cannot be read ({reason(error)})") from error
        except VideoError as error:
            raise VideoError(f"{path.name} {error}") from error
        except ValueError as error:
            what = f"{path.name} {error}"
            if not self._keep_partial:
                raise VideoError(f"{what}; --keep-partial leaves it out") from error
            self.losses.append(f"{what} and was left out")
            return None

    def _most_have(self) -> tuple[int, int] | None:
        """The size, height and width, of more than half of the files by their headers; None if there is none."""
        sizes = OtherSizes()
        for path in self.files:
            self._beat()
            with suppress(ValueError, OSError):
                if path.is_file():
                    with path.open("rb") as file:
                        sizes.add(*read_header(file.read(HEADER_BYTES)).shown)
        most = sizes.majority()
        return most[0] if most else None


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[:2] == size:
        return pixels
    shrinks = pixels.shape[0] > size[0]
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
