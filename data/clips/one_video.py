"""Clips of one video, for a prediction: read_clips, from the folder of its frames.db or from the video file itself."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.errors import DataError
from common.files import what_is_at
from data.clips.dataset import known_rate
from data.clips.sampling import ClipSampling
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox, copy_crop
from data.store.frame_store import DATABASE, FrameStore
from data.store.video_file import VideoError, VideoReader

SHORT_SIDE = 360  # pixels that a file's frames are scaled to, as data.prepare.convert does by default


def read_clips(path: Path, sampling: ClipSampling, shape: ClipShape) -> Tensor:
    """The views that `sampling` takes from a video: uint8 (V, 3, T, h, w), in the order of an evaluation.

    DataError if `path` is neither the folder of a frames.db nor a video file, or if it cannot be read to its end.
    """
    there = what_is_at(path)
    if there == "folder" and what_is_at(path / DATABASE):
        with FrameStore(path) as video:
            rate = known_rate(video, path) if sampling.needs_rate else None
            indices, boxes = _choose(len(video), video.size(), rate, sampling, shape)
            frames = np.empty((len(boxes), len(indices), shape.height, shape.width, 3), np.uint8)
            video.read_crops(indices.tolist(), boxes, frames)
    elif there == "file":
        frames = _read_file(path, sampling, shape)
    else:
        what = f"is a {there} without {DATABASE}" if there else "does not exist"
        raise DataError(f"{path} {what}: give a video file, or the folder of a converted video")
    return torch.from_numpy(frames).flatten(0, 1).unflatten(0, (-1, shape.frames)).permute(0, 4, 1, 2, 3)


def _read_file(path: Path, sampling: ClipSampling, shape: ClipShape) -> np.ndarray:
    """Decode a file twice: its frames are counted first, for only those of the clips are kept."""
    try:
        reader = VideoReader(path, SHORT_SIDE)
        count = sum(1 for _ in reader)
        if sampling.needs_rate and reader.rate is None:
            raise VideoError("does not tell how many frames a second it has: give an interval in frames")
        indices, boxes = _choose(count, reader.size, reader.rate, sampling, shape)
        out = np.empty((len(boxes), len(indices), shape.height, shape.width, 3), np.uint8)
        for index, frame in enumerate(VideoReader(path, SHORT_SIDE)):
            for place in np.flatnonzero(indices == index):
                for box, crops in zip(boxes, out, strict=True):
                    copy_crop(frame, box, crops[place])
    except VideoError as error:
        raise DataError(f"{path} {error}") from error
    return out


def _choose(
    count: int, size: tuple[int, int], rate: float | None, sampling: ClipSampling, shape: ClipShape
) -> tuple[np.ndarray, list[CropBox]]:
    """The frames of all clips, one after the other, and the crops."""
    rng = np.random.default_rng(0)  # views of an evaluation draw nothing
    clips = sampling.frames(count, ClipRequest(0, shape, 0), rng, rate)
    return np.concatenate([clip.indices for clip in clips]), sampling.crop_boxes(size, shape, rng)
