"""Encodes frames as JPEG, and reads them from a folder of JPEG files."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from data.store.jpeg import jpeg_size
from data.store.video_file import VideoError, scaled_size
from data.store.video_pixels import OtherSizes

PNG = b"\x89PNG"
MAX_BYTES = 2**27  # of a file: four bytes for each of the most pixels that are read


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Encode an RGB frame (H, W, 3) with halved chroma, as ffmpeg and OpenCV do."""
    return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")


class JpegFolderReader:
    """Iterates, once, over JPEG files, the frames of a video in order: JPEG bytes.

    All frames get the size of the first, with the shorter side scaled down to `short_side` pixels; a file that already
    has that size is passed on unchanged, others are scaled and encoded again. Every file is decoded to find damaged
    ones: they raise VideoError or, with `keep_partial`, are left out with a message in `losses`. After the last frame,
    `remarks` says which had another size. `beat` is called for each file.
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
        self._short_side = short_side
        self._quality = quality
        self._keep_partial = keep_partial
        self._beat = beat

    def __iter__(self) -> Iterator[bytes]:
        size: tuple[int, int] | None = None
        sizes = OtherSizes()
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
            sizes.add(*pixels.shape[:2])
            size = size or scaled_size(pixels.shape[0], pixels.shape[1], self._short_side)
            yield data if pixels.shape[:2] == size else encode_jpeg(_resized(pixels, size), self._quality)
        if remark := sizes.remark():
            self.remarks.append(remark)


def _damage(error: ValueError) -> str:
    """What is wrong with a file; jpeg_size says it in words that follow a name, simplejpeg does not."""
    text = str(error)
    return text if text.startswith("holds ") else f"is a damaged JPEG ({text})"


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = pixels.shape[0] > size[0]
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
