"""Reads an encoded video with PyAV: its frames upright, scaled, in the order in which they are shown."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.container import InputContainer
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from av.video.stream import VideoStream

from common.errors import DataError
from data.store.truncation import missing_bytes

KEPT_PROMISE = 0.9  # a video with less than this part of its announced frames or seconds gets a warning


class VideoError(DataError):
    """A video that cannot be decoded to its end; the message says why."""


class Span(NamedTuple):
    """A part of a video: the frames with start <= time < end, in seconds from the stream's start."""

    start: float
    end: float


class VideoReader:
    """Iterates, once, over a video's frames: RGB uint8 (H, W, 3).

    Frames come in the decoder's order, which is the display order; times are only used to select a `span`. (In AVI
    files, B-frames carry the times of their storage order: sorting by time would shuffle the video.) The shorter side
    is scaled down to `short_side` pixels, never up; all frames get the size of the first. The display matrix and the
    colour space are applied. The sample aspect ratio is not: pixels stay as stored, as in databases made with ffmpeg.

    Raises VideoError if the video does not decode to its end without errors; with `keep_partial`, only if no frame can
    be decoded. After the last frame, `warnings` says what is, or may be, missing. `beat` is called for each frame.
    """

    def __init__(
        self,
        path: Path,
        short_side: int,
        span: Span | None = None,
        threads: int = 1,
        keep_partial: bool = False,
        beat: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._span = span
        self._threads = threads
        self._keep_partial = keep_partial
        self._beat = beat
        self._upright = _Upright(short_side)
        self._count = 0

    def __iter__(self) -> Iterator[np.ndarray]:
        with _open(self.path) as (container, stream):
            yield from self._read(container, stream)

    def _read(self, container: InputContainer, stream: VideoStream) -> Iterator[np.ndarray]:
        stream.codec_context.thread_count = self._threads
        stream.thread_type = "AUTO" if self._threads > 1 else "NONE"
        damaged = False
        try:
            for frame, time in self._wanted(container, stream):
                if frame.is_corrupt and not damaged:
                    damaged = True
                    self._lose(f"frames decode with errors, the first at {time:.2f} s")
                pixels = self._upright(frame)
                self._count += 1
                yield pixels
        except (av.FFmpegError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            if self._count == 0:
                raise VideoError(f"cannot be decoded ({_reason(error)})") from error
            self._lose(f"decoding stops after {self._count} frames ({_reason(error)})")
        if self._count == 0:
            wanted = f" from {self._span.start:g} to {self._span.end:g} s" if self._span else ""
            raise VideoError(f"has no frames{wanted}")

    def _wanted(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame, float]]:
        """The frames of the span, or all, with their times."""
        start, end = self._span or Span(0.0, math.inf)
        time = 0.0
        for frame, time in self._from_keyframe(container, stream, start):
            if time >= end:
                return
            if time >= start or self._span is None:
                yield frame, time
        self._check_end(container, stream, time)

    def _from_keyframe(
        self, container: InputContainer, stream: VideoStream, start: float
    ) -> Iterator[tuple[VideoFrame, float]]:
        """The frames from the last keyframe before `start`; all frames where seeking lands after `start`."""
        if start <= 0:
            return self._timed(container, stream)
        assert stream.time_base is not None
        origin = stream.start_time or 0
        try:
            container.seek(origin + int(start / stream.time_base), stream=stream)
            frames = self._timed(container, stream)
            first = next(frames, None)
        except av.FFmpegError:
            first = None
        if first is not None and first[1] <= start:
            return chain([first], frames)
        container.seek(min(origin, 0), stream=stream)
        return self._timed(container, stream)

    def _timed(self, container: InputContainer, stream: VideoStream) -> Iterator[tuple[VideoFrame, float]]:
        """The frames from the container's position on, each with its time in seconds from the stream's start."""
        rate = stream.average_rate or stream.guessed_rate or 25
        time = -1.0 / float(rate)
        for frame in container.decode(stream):
            self._beat()
            if frame.pts is None or frame.time_base is None:
                time += 1.0 / float(rate)
            else:
                time = float((frame.pts - (stream.start_time or 0)) * frame.time_base)  # exact fractions, rounded once
            yield frame, time

    def _check_end(self, container: InputContainer, stream: VideoStream, last: float) -> None:
        """Find what decoding does not report: a file cut short, or fewer frames or seconds than announced."""
        missing = missing_bytes(self.path)
        if missing:
            self._lose(f"the file is cut short: {missing} bytes are missing at its end")
        elif self._span is not None:
            start, end = self._span
            if last < start + KEPT_PROMISE * (end - start) - 1:
                self.warnings.append(f"the last frame is at {last:.2f} s, the clip should last until {end:g} s")
        elif stream.frames:
            if self._count < KEPT_PROMISE * stream.frames - 1:
                self.warnings.append(f"{self._count} frames where the header promises {stream.frames}")
        elif container.duration and last < KEPT_PROMISE * container.duration / av.time_base - 1:
            promised = container.duration / av.time_base
            self.warnings.append(f"the last frame is at {last:.2f} s where the header promises {promised:.2f} s")

    def _lose(self, what: str) -> None:
        if not self._keep_partial:
            raise VideoError(f"{what} (--keep-partial keeps the rest)")
        self.warnings.append(what)


def check_whole(path: Path) -> None:
    """Raise VideoError if the file is cut short or cannot be opened as a video; it is not decoded."""
    if missing := missing_bytes(path):
        raise VideoError(f"the file is cut short: {missing} bytes are missing at its end")
    with _open(path):
        pass


@contextmanager
def _open(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A file's container and its first video stream; VideoError."""
    if not path.is_file():
        raise VideoError("is no file, or a link to none")
    if path.stat().st_size == 0:
        raise VideoError("the file is empty (0 bytes)")
    try:
        # FFmpeg would take a relative path such as "a:b.mp4" for a protocol, and follow a playlist's network addresses.
        container = av.open(str(path.absolute()), metadata_errors="ignore", options={"protocol_whitelist": "file"})
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"cannot be opened as a video ({_reason(error)})") from error
    with container:
        # A picture attached to an audio file is also a video stream.
        streams = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
        if not streams:
            raise VideoError("has no video stream")
        yield container, streams[0]


class _Upright:
    """Turns decoded frames into upright RGB arrays uint8 (H, W, 3), all of the first one's scaled size."""

    def __init__(self, short_side: int) -> None:
        self._short_side = short_side
        self._size: tuple[int, int] | None = None
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> np.ndarray:
        transpose, flip_columns, flip_rows = _orientation(frame)
        if self._size is None:
            stored = (frame.width, frame.height) if transpose else (frame.height, frame.width)
            self._size = scaled_size(*stored, self._short_side)
        height, width = self._size[::-1] if transpose else self._size
        pixels = self._reformatter.reformat(
            frame,
            width,
            height,
            "rgb24",
            # Without these, BT.709 and full range would be converted as BT.601 and limited range.
            src_colorspace=frame.colorspace,
            dst_colorspace=Colorspace.ITU601,
            src_color_range=frame.color_range,
            dst_color_range=ColorRange.JPEG,
            interpolation=Interpolation.BICUBIC,
        ).to_ndarray()
        if transpose:
            pixels = pixels.transpose(1, 0, 2)
        return np.ascontiguousarray(pixels[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])


def scaled_size(height: int, width: int, short_side: int) -> tuple[int, int]:
    """The size (height, width) with the shorter side scaled down to `short_side` pixels; never scaled up."""
    scale = short_side / min(height, width)
    return (height, width) if scale >= 1 else (max(1, round(height * scale)), max(1, round(width * scale)))


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """Whether the display matrix transposes the frame, and whether it then mirrors the columns and the rows.

    The matrix (ISO 14496-12, 8.5.3), in rows a b u, c d v, x y w, shows the pixel of column p and row q at column
    a p + c q and row b p + d q. Other angles are taken as the nearest multiple of 90 degrees.
    """
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return False, False, False
    matrix = np.frombuffer(data, np.int32)
    a, b, c, d = (int(value) for value in matrix[[0, 1, 3, 4]])
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def _reason(error: Exception) -> str:
    """FFmpeg's message without the error number and the file name that PyAV adds."""
    return str(getattr(error, "strerror", None) or error)
