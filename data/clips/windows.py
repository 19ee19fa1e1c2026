"""A long video as windows of some seconds, each with its clips; of a file, only the frames of one window are held."""

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import DataError
from data.clips.dataset import known_rate
from data.clips.one_video import SHORT_SIDE, clip_frames, crop_boxes, crops_of, is_database
from data.clips.sampling import ClipSampling
from data.clips.types import ClipShape
from data.store.crop_box import CropBox
from data.store.frame_store import FrameStore
from data.store.frame_times import LONGEST_PAUSE
from data.store.video_file import VideoReader

MOST_HELD = 2**30  # bytes of crops in a window
NEAR = 1e-4  # seconds; times are rounded in files


class Window(NamedTuple):
    """A part of a video and its views."""

    start: float
    end: float
    """Seconds from the start of the file, or from the first frame of a database."""
    frames: np.ndarray
    """uint8 (V, T, h, w, 3), RGB; one crop's clips after the other's."""


class HeldFrame(NamedTuple):
    """A frame's time in seconds, and its crops uint8 (K, h, w, 3)."""

    time: float
    crops: np.ndarray


class WindowCutter:
    """Cuts windows out of frames that come one after the other.

    Windows start every `stride` seconds from the first frame on. If they overlap or touch, the last one is followed by
    one that ends with the video, so that none of it is left out. A clip is taken from a window as from a video that has
    only its frames.
    """

    def __init__(self, sampling: ClipSampling, shape: ClipShape, seconds: float, stride: float) -> None:
        self.sampling, self.shape, self.seconds, self.stride = sampling, shape, seconds, stride
        self.held: deque[HeldFrame] = deque()
        self._bytes = 0
        self._first = math.nan
        self._number = 0  # of the next window

    @property
    def _start(self) -> float:
        return self._first + self._number * self.stride

    def add(self, time: float, crops: np.ndarray) -> Iterator[Window]:
        """Take the next frame; give the windows that end before it. DataError for a jump of times or a large window."""
        if math.isnan(self._first):
            self._first = time
        if self.held and time - self.held[-1].time > LONGEST_PAUSE:
            raise DataError(
                f"has time stamps that jump from {self.held[-1].time:.1f} to {time:.1f} s, and its windows would show "
                "one frame for as long: cut it there"
            )
        while self._start + self.seconds <= time + NEAR:
            yield self._cut(self._start)
            self._number += 1
        self.held.append(HeldFrame(time, crops))
        self._bytes += crops.nbytes
        needed = min(self._start, time - self.seconds) + NEAR
        while len(self.held) > 1 and self.held[1].time <= needed:
            self._bytes -= self.held.popleft().crops.nbytes
        if self._bytes > MOST_HELD:
            raise DataError(
                f"the crops of a window of {self.seconds:g} s need more than {MOST_HELD >> 30} GiB: lower --window, "
                "--val-crops or --val-size"
            )

    def finish(self, end: float) -> Iterator[Window]:
        """The windows up to the video's end. DataError if it is shorter than a window."""
        step = (end - self._first) / 2 if len(self.held) < 2 else end - self.held[-1].time
        while self._start + self.seconds <= end + step / 2:
            yield self._cut(self._start)
            self._number += 1
        if not self._number:
            raise DataError(f"lasts {end - self._first:.2f} s: give a --window of no more than that")
        last = self._start - self.stride
        if self.stride <= self.seconds and last + self.seconds < end - step / 2:
            yield self._cut(end - self.seconds)

    def _cut(self, start: float) -> Window:
        end = start + self.seconds
        frames = [each for each in self.held if start - NEAR <= each.time < end - NEAR]
        if not frames:  # one frame is shown for longer than the window
            frames = [max((each for each in self.held if each.time < end), key=lambda each: each.time)]
        return Window(start, end, views_of(frames, self.seconds, self.sampling, self.shape))


def views_of(frames: Sequence[HeldFrame], seconds: float, sampling: ClipSampling, shape: ClipShape) -> np.ndarray:
    """The views uint8 (V, T, h, w, 3) of some frames that fill `seconds`, as of a video that has no others."""
    steps, length = len(frames) - 1, frames[-1].time - frames[0].time
    rate = round(steps / length, 9) if length > 0 else 1 / seconds
    indices = clip_frames(len(frames), rate, sampling, shape)
    return np.stack([frames[index].crops for index in indices], axis=1).reshape(-1, *shape, 3)


def read_windows(
    path: Path,
    sampling: ClipSampling,
    shape: ClipShape,
    seconds: float,
    stride: float,
    short_side: int = SHORT_SIDE,
    keep_partial: bool | None = None,
    beat: Callable[[], None] = lambda: None,
) -> Generator[Window, None, tuple[str, ...]]:
    """The windows of a video file or the folder of a frames.db, in the order of time; returns warnings at the end.

    `short_side`, `keep_partial` and `beat` as in data.clips.one_video.read_views. DataError if the video cannot be read
    to its end, is shorter than a window, or if it is not known how many frames a second a database has.
    """
    if is_database(path):
        return (yield from _of_database(path, sampling, shape, seconds, stride))
    reader = VideoReader(path, short_side, keep_partial=keep_partial, beat=beat)
    cutter = WindowCutter(sampling, shape, seconds, stride)
    boxes: list[CropBox] = []
    start = 0.0
    try:
        for frame in reader:
            if not boxes:
                boxes, start = crop_boxes(reader.size, sampling, shape), reader.time
            yield from cutter.add(reader.time, crops_of(frame, boxes))
        yield from cutter.finish(start + reader.seconds)
    except DataError as error:
        raise DataError(f"{path} {error}") from error
    return tuple(reader.warnings)


def _of_database(
    path: Path, sampling: ClipSampling, shape: ClipShape, seconds: float, stride: float
) -> Generator[Window, None, tuple[str, ...]]:
    with FrameStore(path) as video:
        rate, count = known_rate(video, path), len(video)
        boxes = crop_boxes(video.size(), sampling, shape)
        for start in _starts(path, count / rate, 1 / rate, seconds, stride):
            first = math.ceil((start - NEAR) * rate)
            end = max(first + 1, math.ceil((start + seconds - NEAR) * rate))
            first, end = min(first, count - 1), min(end, count)
            indices = first + clip_frames(end - first, rate, sampling, shape)
            frames = np.empty((len(boxes), len(indices), shape.height, shape.width, 3), np.uint8)
            video.read_crops(indices.tolist(), boxes, frames)
            yield Window(start, start + seconds, frames.reshape(-1, *shape, 3))
        uneven = video.is_variable()
    return ("its frames are not evenly spaced in time: the times of windows are those of its mean rate",) * uneven


def _starts(path: Path, length: float, step: float, seconds: float, stride: float) -> Iterator[float]:
    """The starts of the windows, as WindowCutter has them."""
    number = 0
    while number * stride + seconds <= length + step / 2:
        yield number * stride
        number += 1
    if not number:
        raise DataError(f"{path} lasts {length:.2f} s: give a --window of no more than that")
    if stride <= seconds and (number - 1) * stride + seconds < length - step / 2:
        yield length - seconds
