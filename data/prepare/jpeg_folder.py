"""Encodes frames as JPEG, and reads them from a folder of JPEG files."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from data.store.video_file import VideoError, scaled_size

JPEG_SUFFIXES = {".jpg", ".jpeg"}


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """Encode an RGB frame (H, W, 3) with halved chroma, as ffmpeg and OpenCV do."""
    return simplejpeg.encode_jpeg(pixels, quality=quality, colorsubsampling="420")


def jpeg_files(folder: Path) -> list[Path]:
    """The JPEG files in a folder in the order of the numbers in their names: frame_2.jpg before frame_10.jpg."""
    files = [path for path in folder.iterdir() if path.suffix.lower() in JPEG_SUFFIXES and path.name[0] != "."]
    return sorted(files, key=lambda path: _natural_order(path.stem))


class JpegFolderReader:
    """Iterates, once, over the frames in a folder of JPEG files: JPEG bytes.

    All frames get the size of the first, with the shorter side scaled down to `short_side` pixels; a file that already
    has that size is passed on unchanged, others are scaled and encoded again. Every file is decoded to find damaged
    ones: they raise VideoError or, with `keep_partial`, are left out with a message in `warnings`. `beat` is called for
    each file.
    """

    def __init__(
        self,
        folder: Path,
        short_side: int,
        quality: int,
        keep_partial: bool = False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = folder
        self.warnings: list[str] = []
        self._short_side = short_side
        self._quality = quality
        self._keep_partial = keep_partial
        self._beat = beat

    def __iter__(self) -> Iterator[bytes]:
        size: tuple[int, int] | None = None
        for path in jpeg_files(self.folder):
            self._beat()
            data = path.read_bytes()
            try:
                pixels = simplejpeg.decode_jpeg(data, "RGB")
            except ValueError as error:
                if not self._keep_partial:
                    raise VideoError(
                        f"{path.name} is a damaged JPEG ({error}); --keep-partial leaves it out"
                    ) from error
                self.warnings.append(f"{path.name} is a damaged JPEG ({error}) and was left out")
                continue
            size = size or scaled_size(pixels.shape[0], pixels.shape[1], self._short_side)
            yield data if pixels.shape[:2] == size else encode_jpeg(_resized(pixels, size), self._quality)


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shrinks = pixels.shape[0] > size[0]
    return cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _natural_order(name: str) -> list[str | int]:
    """A sorting key that compares digits as numbers: texts and numbers in turn."""
    return [int(part) if position % 2 else part for position, part in enumerate(re.split(r"(\d+)", name))]
