"""What smaller frames would bring: some frames of the dataset are made smaller in a temporary folder, and both read."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from data.clips.dataset import SOURCES
from data.clips.sampling import ClipSampling
from data.clips.types import ClipRequest, ClipShape
from data.labels.video_list import VideoList
from data.prepare.frame_files import encode_jpeg
from data.store.frame_store import FrameStore, write_frames
from data.store.video_source import VideoSource, VideoSourceError

SHORT_SIDE = 256
QUALITY = 90  # that of data.prepare.convert
VIDEOS, FRAMES, ROUNDS = 4, 16, 2
MOST_SHAPES = 3


class Smaller(NamedTuple):
    """Frames of the dataset, smaller ones, and how long these take to read."""

    size: tuple[int, int]  # height and width of the dataset's frames
    smaller: tuple[int, int]
    times: dict[ClipShape, float]  # by the clip's shape: time of the smaller frames / time of the dataset's

    def time(self, shape: ClipShape) -> float:
        """That of a shape; the mean of the others where it was not measured."""
        return self.times.get(shape, sum(self.times.values()) / len(self.times))


def smaller_frames(videos: VideoList, sampling: ClipSampling, shapes: Sequence[ClipShape]) -> Smaller | None:
    """Compare reading at the first of the shapes; None if the frames are small already, or cannot be read.

    One core reads the same frames of the same videos in both cases.
    """
    ratios: dict[ClipShape, list[float]] = {shape: [] for shape in list(dict.fromkeys(shapes))[:MOST_SHAPES]}
    sizes = None
    for index in videos.sample()[:: max(1, len(videos.sample()) // VIDEOS)][:VIDEOS]:
        try:
            with SOURCES[videos.source](videos.place(index)) as video, tempfile.TemporaryDirectory() as folder:
                size = video.size()
                if min(size) <= SHORT_SIDE:
                    continue
                indices = list(range(min(FRAMES, len(video))))
                frames = video.read(indices)
                scale = SHORT_SIDE / min(size)
                height, width = (2 * round(side * scale / 2) for side in size)
                small = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in frames]
                write_frames(Path(folder), (encode_jpeg(frame, QUALITY) for frame in small))
                for shape in ratios:
                    now = _seconds(video, sampling, shape, indices)
                    with FrameStore(folder) as store:
                        ratios[shape].append(_seconds(store, sampling, shape, indices) / now)
                sizes = size, (height, width)
        except VideoSourceError:
            continue
    if sizes is None:
        return None
    return Smaller(*sizes, {shape: float(np.median(found)) for shape, found in ratios.items()})


def _seconds(video: VideoSource, sampling: ClipSampling, shape: ClipShape, indices: Sequence[int]) -> float:
    """The least time to read a clip of these frames."""
    rng = np.random.default_rng(0)
    boxes = sampling.crop_boxes(video.size(), shape, rng)[:1]
    request = ClipRequest(0, shape, 1)
    chosen = [indices[place % len(indices)] for place in range(request.shape.frames)]
    out = np.empty((len(chosen), shape.height, shape.width, 3), np.uint8)
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        video.read(chosen, boxes[0], out)
        times.append(time.perf_counter() - started)
    return min(times)
