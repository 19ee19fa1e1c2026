"""The clips of one video with the numbers of their frames: of the whole video, or of each of its windows."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import DataError
from common.files import what_is_at
from data.clips.dataset import known_rate
from data.clips.one_video import SHORT_SIDE, crop_boxes, crops_of, read_views, to_clips
from data.clips.sampling import ClipSampling, SampledFrames
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox
from data.store.frame_store import DATABASE, FrameStore
from data.store.video_file import VideoError, VideoReader


class Video(NamedTuple):
    """What was found of a video while it was read."""

    frames: int
    rate: float | None  # frames a second, on average; None if it is not known
    times: tuple[float, ...] = ()  # of the frames of a file, and of the end of the last, in seconds from its start

    def seconds(self, frame: int) -> float | None:
        """When a frame begins, or (for the number of frames) the last one ends; None if that is not known.

        Seconds from the start of a file, as label files have them, or from the first frame of a database.
        """
        if self.rate is None:
            return None
        return self.times[frame] if self.times else frame / self.rate


class Piece(NamedTuple):
    """The views of a video, or of one of its windows."""

    views: Tensor  # uint8 (V, 3, T, h, w); all clips of the first crop, then of the second
    frames: np.ndarray  # int64 (clips, T), the frames of the video that each clip has
    first: int  # frame of the piece
    last: int


@dataclass(frozen=True)
class Windows:
    """Windows of `seconds`, each `stride` seconds after the one before; each is seen as a video of its own.

    If they overlap or touch, the last one is followed by one that ends with the video, so that none of it is left out.
    """

    seconds: float
    stride: float

    def of(self, path: Path, video: Video) -> list[tuple[int, int]]:
        """The first frame of each window that fits, and one after its last. DataError if none fits."""
        assert video.rate is not None
        length = max(1, round(self.seconds * video.rate))
        if length > video.frames:
            lasts = video.frames / video.rate
            raise DataError(f"{path} lasts {lasts:.2f} s, and a window {self.seconds:g} s: lower --window")
        if self.stride * video.rate < 1:
            raise DataError(f"{path} has {video.rate:.4g} frames a second: raise --stride {self.stride:g}")
        number = 1 + int((video.frames - length + 0.5) / (self.stride * video.rate))
        starts = [round(place * self.stride * video.rate) for place in range(number)]
        starts = [start for start in starts if start + length <= video.frames]
        if self.stride <= self.seconds and starts[-1] + length < video.frames:
            starts.append(video.frames - length)
        return [(start, start + length) for start in starts]


class Recorded:
    """A ClipSampling that keeps what it has chosen, and of which video."""

    def __init__(self, sampling: ClipSampling) -> None:
        self.sampling = sampling
        self.video = Video(0, None)
        self.size = (0, 0)
        self.chosen: list[SampledFrames] = []
        self.boxes: list[CropBox] = []

    @property
    def views(self) -> int:
        """Those of the sampling."""
        return self.sampling.views

    @property
    def needs_rate(self) -> bool:
        """As the sampling."""
        return self.sampling.needs_rate

    def frames(
        self, num_frames: int, request: ClipRequest, rng: np.random.Generator, rate: float | None = None
    ) -> list[SampledFrames]:
        """Those of the sampling."""
        self.video = Video(num_frames, rate)
        self.chosen = self.sampling.frames(num_frames, request, rng, rate)
        return self.chosen

    def crop_boxes(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> list[CropBox]:
        """Those of the sampling."""
        self.size, self.boxes = size, self.sampling.crop_boxes(size, shape, rng)
        return self.boxes

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """Those of the sampling."""
        return self.sampling.augmentation_params(rng)


def read_whole(path: Path, sampling: ClipSampling, shape: ClipShape) -> tuple[Video, Piece]:
    """The views that an evaluation takes from a video. DataError if it cannot be read."""
    recorded = Recorded(sampling)
    read = read_views(path, recorded, shape)
    times = (*read.times, read.end) if read.times else ()
    video, views = Video(recorded.video.frames, read.rate, times), to_clips(read.frames)
    frames = np.stack([clip.indices for clip in recorded.chosen])
    return video, Piece(views, frames, int(frames.min()), int(frames.max()))


def read_windows(
    path: Path, windows: Windows, sampling: ClipSampling, shape: ClipShape
) -> tuple[Video, Iterator[Piece]]:
    """A video, and the views of its windows one after the other; the memory does not grow with its length.

    DataError, also while the windows are read, if the video cannot be read, has no known rate, or is too short.
    """
    if is_database(path):
        with FrameStore(path) as store:
            video, size = Video(len(store), known_rate(store, path)), store.size()
        pieces = _plan(path, windows, video, sampling, shape)
        return video, _of_database(path, pieces, crop_boxes(size, sampling, shape), shape)
    if what_is_at(path) != "file":
        raise DataError(f"{path} is no video file, and no folder of a {DATABASE}")
    try:
        reader = VideoReader(path, SHORT_SIDE)
        times = tuple(reader.time for _ in reader)
        if reader.rate is None:
            raise VideoError("does not tell how many frames a second it has: leave --window out")
        video = Video(len(times), reader.rate, (*times, times[0] + reader.seconds))
    except VideoError as error:
        raise DataError(f"{path} {error}") from error
    pieces = _plan(path, windows, video, sampling, shape)
    return video, _of_file(path, pieces, crop_boxes(reader.size, sampling, shape))


def is_database(path: Path) -> bool:
    """Whether a path is the folder of a frames.db."""
    return what_is_at(path) == "folder" and what_is_at(path / DATABASE) == "file"


class _Planned(NamedTuple):
    frames: np.ndarray  # (clips, T)
    first: int
    end: int


def _plan(path: Path, windows: Windows, video: Video, sampling: ClipSampling, shape: ClipShape) -> list[_Planned]:
    planned = []
    for first, end in windows.of(path, video):
        clips = sampling.frames(end - first, ClipRequest(0, shape, 0), _rng(), video.rate)
        planned.append(_Planned(np.stack([clip.indices for clip in clips]) + first, first, end))
    return planned


def _of_database(path: Path, planned: list[_Planned], boxes: list[CropBox], shape: ClipShape) -> Iterator[Piece]:
    with FrameStore(path) as store:
        for each in planned:
            out = np.empty((len(boxes), each.frames.size, shape.height, shape.width, 3), np.uint8)
            store.read_crops(each.frames.ravel().tolist(), boxes, out)
            yield _piece(each, out)


def _of_file(path: Path, planned: list[_Planned], boxes: list[CropBox]) -> Iterator[Piece]:
    """Decode once, and keep the crops of the frames that the next windows need."""
    wanted = np.unique(np.concatenate([each.frames.ravel() for each in planned]))
    waiting, kept = list(reversed(planned)), dict[int, np.ndarray]()
    try:
        for index, frame in enumerate(VideoReader(path, SHORT_SIDE)):
            if not waiting:
                continue  # the rest is decoded all the same: it may be damaged
            place = np.searchsorted(wanted, index)
            if place < len(wanted) and wanted[place] == index:
                kept[index] = crops_of(frame, boxes)
            while waiting and waiting[-1].frames.max() <= index:
                each = waiting.pop()
                yield _piece(each, np.stack([kept[number] for number in each.frames.ravel().tolist()], axis=1))
                later = waiting[-1].first if waiting else index + 1
                kept = {number: crops for number, crops in kept.items() if number >= later}
    except VideoError as error:
        raise DataError(f"{path} {error}") from error


def _piece(planned: _Planned, crops: np.ndarray) -> Piece:
    """`crops` are uint8 (crops, clips * T, h, w, 3)."""
    length = planned.frames.shape[1]
    views = torch.from_numpy(crops).flatten(0, 1).unflatten(0, (-1, length)).permute(0, 4, 1, 2, 3)
    return Piece(views, planned.frames, planned.first, planned.end - 1)


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)  # views of an evaluation draw nothing
