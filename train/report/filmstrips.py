"""A few frames of a video side by side as a small JPEG."""

import math
from pathlib import Path
from time import monotonic

import cv2
import numpy as np
import simplejpeg

from common.errors import DataError
from common.files import what_is_at
from data.store.frame_store import DATABASE, FrameStore
from data.store.video_file import VideoError, VideoReader

FRAMES = 8
HEIGHT = 90  # pixels
WIDEST = 160
GAP = 2
QUALITY = 78
LARGEST_FILE = 2**28  # bytes of a video file: all of it is decoded


def filmstrip(path: Path, until: float = math.inf) -> bytes:
    """FRAMES evenly spaced frames of a video, from first to last, as one JPEG; fewer of a shorter video.

    `path` is the folder of a frames.db or a video file. DataError if it is neither, cannot be read, or a
    file is not decoded when `time.monotonic()` is `until`.
    """
    there = what_is_at(path)
    if there == "folder" and what_is_at(path / DATABASE):
        with FrameStore(path) as video:
            frames = [_small(video.read([index])[0]) for index in _spread(len(video))]
    elif there == "file":
        frames = _of_file(path, until)
    else:
        raise DataError(f"{path} is no longer there" if not there else f"{path} has no {DATABASE}")
    return _jpeg(frames)


def _spread(count: int) -> list[int]:
    if not count:
        raise DataError("the video has no frames")
    return sorted({round(index) for index in np.linspace(0, count - 1, FRAMES)})


def _of_file(path: Path, until: float) -> list[np.ndarray]:
    """Decode a file twice: its frames are counted first."""
    if path.stat().st_size > LARGEST_FILE:
        raise DataError(f"{path} is larger than {LARGEST_FILE >> 20} MiB")

    def beat() -> None:
        if monotonic() > until:
            raise TimeoutError  # a ValueError would be taken for damage of the file

    try:
        chosen = set(_spread(sum(1 for _ in VideoReader(path, HEIGHT, beat=beat))))
        return [_small(frame) for index, frame in enumerate(VideoReader(path, HEIGHT, beat=beat)) if index in chosen]
    except TimeoutError:
        raise DataError(f"{path} takes too long to decode") from None
    except VideoError as error:
        raise DataError(f"{path} {error}") from error


def _small(frame: np.ndarray) -> np.ndarray:
    """A frame HEIGHT high, uint8 (HEIGHT, w, 3); a very wide one is lower, with black above and below."""
    height, width = frame.shape[:2]
    scale = min(HEIGHT / height, WIDEST / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    above = (HEIGHT - small.shape[0]) // 2
    return np.pad(small, ((above, HEIGHT - small.shape[0] - above), (0, 0), (0, 0)))


def _jpeg(frames: list[np.ndarray]) -> bytes:
    gap = np.full((HEIGHT, GAP, 3), 128, np.uint8)
    parts = [part for frame in frames for part in (frame, gap)][:-1]
    return simplejpeg.encode_jpeg(np.ascontiguousarray(np.hstack(parts)), quality=QUALITY, colorspace="RGB")
