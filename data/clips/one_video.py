"""Clips of one video, for a prediction: read_clips, from the folder of its frames.db or from the video file itself."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.errors import DataError
from common.files import what_is_at
from data.clips.dataset import known_rate
from data.clips.sampling import ClipSampling
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox, copy_crop_of_whole
from data.store.frame_store import DATABASE, FrameStore
from data.store.video_file import VideoError, VideoReader

SHORT_SIDE = 360  # pixels that a file's frames are scaled to, as data.prepare.convert does by default
MOST_HELD = 128 * 2**20  # bytes of crops; a video with more is decoded twice


class VideoViews(NamedTuple):
    """The views of a video, one crop's after the other's, and what was special about the video."""

    frames: np.ndarray
    """uint8 (V, T, h, w, 3), RGB."""
    warnings: tuple[str, ...] = ()
    start: float = 0.0
    end: float = 0.0
    """Seconds from the file's start to the first frame, and to the end of the last one; 0 if a database has no rate."""
    times: tuple[float, ...] = ()
    """Those of all frames of a file, in seconds from its start; of a database, none."""
    rate: float | None = None
    """Frames a second, on average; None if it is not known."""


def read_clips(path: Path, sampling: ClipSampling, shape: ClipShape) -> Tensor:
    """The views that `sampling` takes from a video: uint8 (V, 3, T, h, w), in the order of an evaluation.

    DataError if `path` is neither the folder of a frames.db nor a video file, or if it cannot be read to its end.
    """
    return to_clips(read_views(path, sampling, shape).frames)


def to_clips(views: np.ndarray) -> Tensor:
    """Frames uint8 (V, T, h, w, 3) as clips (V, 3, T, h, w) of the same memory."""
    return torch.from_numpy(views).permute(0, 4, 1, 2, 3)


def read_views(
    path: Path,
    sampling: ClipSampling,
    shape: ClipShape,
    short_side: int = SHORT_SIDE,
    keep_partial: bool | None = None,
    beat: Callable[[], None] = lambda: None,
) -> VideoViews:
    """As `read_clips`; `short_side` and `keep_partial` are those of VideoReader, and have no effect on a database.

    `beat` is called now and then while a file is decoded.
    """
    if is_database(path):
        with FrameStore(path) as video:
            rate = known_rate(video, path) if sampling.needs_rate else video.rate()
            indices, boxes = choose(len(video), video.size(), rate, sampling, shape)
            frames = np.empty((len(boxes), len(indices), shape.height, shape.width, 3), np.uint8)
            video.read_crops(indices.tolist(), boxes, frames)
            return VideoViews(frames.reshape(-1, *shape, 3), end=len(video) / rate if rate else 0.0, rate=rate)
    try:
        return _read_file(path, sampling, shape, short_side, keep_partial, beat)
    except VideoError as error:
        raise DataError(f"{path} {error}") from error


def is_database(path: Path) -> bool:
    """Whether `path` is the folder of a frames.db; DataError if it is no file either."""
    there = what_is_at(path)
    if there == "folder" and what_is_at(path / DATABASE):
        return True
    if there != "file":
        what = f"is a {there} without {DATABASE}" if there else "does not exist"
        raise DataError(f"{path} {what}: give a video file, or the folder of a converted video")
    return False


def _read_file(
    path: Path,
    sampling: ClipSampling,
    shape: ClipShape,
    short_side: int,
    keep_partial: bool | None,
    beat: Callable[[], None],
) -> VideoViews:
    """Decode a file. Which frames are wanted is known at its end: all are held as crops, if they are not too many."""
    reader = VideoReader(path, short_side, keep_partial=keep_partial, beat=beat)
    held: list[np.ndarray] | None = []
    boxes: list[CropBox] = []
    times: list[float] = []
    for count, frame in enumerate(reader, start=1):
        if not boxes:
            boxes = crop_boxes(reader.size, sampling, shape)
        times.append(reader.time)
        if held is not None:
            held.append(crops_of(frame, boxes))
            if count * held[0].nbytes > MOST_HELD:
                held = None
    if sampling.needs_rate and reader.rate is None:
        raise VideoError("does not tell how many frames a second it has: give an interval in frames")
    indices, boxes = choose(len(times), reader.size, reader.rate, sampling, shape)
    start = times[0] if times else 0.0
    facts = (tuple(reader.warnings), start, start + reader.seconds, tuple(times), reader.rate)
    if held is not None:
        return VideoViews(np.stack([held[index] for index in indices], axis=1).reshape(-1, *shape, 3), *facts)
    out = np.empty((len(boxes), len(indices), shape.height, shape.width, 3), np.uint8)
    for index, frame in enumerate(VideoReader(path, short_side, keep_partial=keep_partial, beat=beat)):
        for place in np.flatnonzero(indices == index):
            out[:, place] = crops_of(frame, boxes)
    return VideoViews(out.reshape(-1, *shape, 3), *facts)


def crops_of(frame: np.ndarray, boxes: list[CropBox]) -> np.ndarray:
    """The crops uint8 (K, h, w, 3) of a frame (H, W, 3)."""
    crops = np.empty((len(boxes), boxes[0].out_height, boxes[0].out_width, 3), np.uint8)
    for box, crop in zip(boxes, crops, strict=True):
        copy_crop_of_whole(frame, box, crop)
    return crops


def choose(
    count: int, size: tuple[int, int], rate: float | None, sampling: ClipSampling, shape: ClipShape
) -> tuple[np.ndarray, list[CropBox]]:
    """The frames of all clips, one after the other, and the crops."""
    return clip_frames(count, rate, sampling, shape), crop_boxes(size, sampling, shape)


def clip_frames(count: int, rate: float | None, sampling: ClipSampling, shape: ClipShape) -> np.ndarray:
    """The frames of all clips of a video of `count` frames, one clip after the other."""
    rng = np.random.default_rng(0)  # views of an evaluation draw nothing
    clips = sampling.frames(count, ClipRequest(0, shape, 0), rng, rate)
    return np.concatenate([clip.indices for clip in clips])


def crop_boxes(size: tuple[int, int], sampling: ClipSampling, shape: ClipShape) -> list[CropBox]:
    """The crops of all clips of a video with frames of `size` (height, width)."""
    return sampling.crop_boxes(size, shape, np.random.default_rng(0))
