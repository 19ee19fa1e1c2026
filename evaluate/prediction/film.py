"""Writes a video with its scores below the picture: H.264 that browsers play, with the times of the source."""

from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from common.errors import DataError
from common.files import atomic_file, write_errors
from common.logs import LOG
from common.text import quoted
from data.clips.one_video import is_database
from data.store.frame_store import FrameStore
from data.store.video_container import reason
from data.store.video_file import VideoError, VideoReader
from evaluate.prediction.panel import BACK, HEIGHT, WIDTH, Panel
from evaluate.prediction.results import Best, VideoResult
from evaluate.prediction.tables import MADE_BY

HIGHEST = 540  # pixels of the picture
TICK = Fraction(1, 90_000)  # seconds
SMPTE170M, LIMITED = 6, 1  # of ITU-T H.273: what RGB is turned into
UNKNOWN_RATE = 25.0  # frames a second of a database that names none


def write_film(path: Path, result: VideoResult, classes: Sequence[str], stride: float, keep_partial: bool) -> None:
    """Write the video of a result with bars and strip. It has no sound. DataError if it cannot be read or written."""
    frames = _frames(result.path, keep_partial)
    panel: Panel | None = None
    with (
        write_errors(path),
        atomic_file(path) as temporary,
        av.open(str(temporary.absolute()), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        container.metadata["comment"] = MADE_BY
        stream = container.add_stream("libx264", options={"crf": "20", "preset": "veryfast"})
        context, last = stream.codec_context, -1
        for pixels, time, end in frames:
            if panel is None:
                panel = Panel(_with_end(result.windows, end), classes, stride)
                if panel.lacking:
                    LOG.warning("no font of this machine has %s: boxes are drawn", quoted(panel.lacking))
                stream.width, stream.height = WIDTH, _height(pixels) + HEIGHT
                stream.pix_fmt, context.time_base = "yuv420p", TICK
                context.colorspace = context.color_primaries = context.color_trc = SMPTE170M
                context.color_range = LIMITED
            canvas = np.concatenate([_fitted(pixels, stream.height - HEIGHT), panel.at(time)])
            frame = av.VideoFrame.from_ndarray(canvas, format="rgb24")
            last = max(last + 1, round(time / TICK))
            frame.pts, frame.time_base = last, TICK
            container.mux(_encoded(stream, frame))
        container.mux(_encoded(stream, None))


def _encoded(stream: av.VideoStream, frame: av.VideoFrame | None) -> list[av.Packet]:
    try:
        return stream.encode(frame)
    except av.FFmpegError as error:
        raise DataError(f"the annotated video cannot be encoded ({reason(error)})") from error


def _with_end(windows: Sequence[Best], end: float) -> list[Best]:
    """A whole video's only window is as long as the video."""
    return [each if each.end > each.start else each._replace(end=end) for each in windows]


def _frames(path: Path, keep_partial: bool) -> Iterator[tuple[np.ndarray, float, float]]:
    """Frames RGB (H, W, 3), their times, and when the video ends if it is a database, in seconds."""
    if is_database(path):
        with FrameStore(path) as video:
            rate = video.rate()
            if rate is None:
                LOG.warning("%s does not say how many frames a second it has: the film has %g", path, UNKNOWN_RATE)
            rate = rate or UNKNOWN_RATE
            for index in range(len(video)):
                yield video.read([index])[0], index / rate, len(video) / rate
        return
    reader = VideoReader(path, 2 * HIGHEST, keep_partial=keep_partial)
    try:
        for pixels in reader:
            yield pixels, reader.time, 0.0
    except VideoError as error:
        raise DataError(f"{path} {error}") from error


def _height(pixels: np.ndarray) -> int:
    """The height of the picture: of the whole width, unless it is too high then; even."""
    height = min(HIGHEST, round(WIDTH * pixels.shape[0] / pixels.shape[1]))
    return max(2, (height + HEIGHT) // 2 * 2 - HEIGHT)


def _fitted(pixels: np.ndarray, height: int) -> np.ndarray:
    """The frame in the middle of (height, WIDTH), with bars beside it if it is narrow."""
    width = max(1, min(WIDTH, round(height * pixels.shape[1] / pixels.shape[0])))
    shrinks = pixels.shape[0] > height
    picture = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    if width == WIDTH:
        return picture
    canvas = np.empty((height, WIDTH, 3), np.uint8)
    canvas[:] = BACK
    left = (WIDTH - width) // 2
    canvas[:, left : left + width] = picture
    return canvas
