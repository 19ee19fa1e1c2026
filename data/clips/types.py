"""The types that pass between schedule, clip reading and training: ClipShape, ClipRequest, Clip, BadVideo."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NO_FRAMES = torch.empty(0, dtype=torch.uint8)


class ClipShape(NamedTuple):
    """The shape of a clip: T frames of h x w pixels."""

    frames: int
    height: int
    width: int


class ClipRequest(NamedTuple):
    """The key that a batch sampler passes to ClipDataset: one clip of the video `index`.

    `epoch`, the seed, the index and `repeat` are the key of the clip's random choices; in an evaluation, `epoch` is 0.
    `repeat` counts the clips of the same video in the same epoch, from 0; see --repeat-clips.
    `max_interval_factor` raises the highest sampling interval, so that a clip of fewer frames can span as much time as
    one of the full length (multigrid, https://arxiv.org/abs/1912.00998, section 3).
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which is not used here
    shape: ClipShape
    epoch: int
    max_interval_factor: float = 1.0
    repeat: int = 0


class BadVideo(NamedTuple):
    """A video that could not be read, and the one that was read instead (None: no other was)."""

    video: int
    reason: str
    replacement: int | None


class Clip(NamedTuple):
    """An item of ClipDataset: V views of one video; in training V is 1."""

    frames: Tensor  # uint8 (V, T, h, w, 3), RGB; NO_FRAMES if no video could be read, or if they went into a batch
    label: int
    video: int  # the index of the video that was read
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    augmentation_params: np.ndarray  # float32 (NUM_PARAMS,), for data.augment

    @property
    def is_lost(self) -> bool:
        """Whether the video could not be read and was not replaced."""
        return bool(self.bad_videos) and self.bad_videos[-1].replacement is None
