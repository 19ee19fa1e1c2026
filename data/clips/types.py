"""What passes between the schedule, the reading of clips and the training."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

NO_FRAMES = torch.empty(0, dtype=torch.uint8)


class ClipShape(NamedTuple):
    """The shape of a clip: T frames of H x W pixels."""

    frames: int
    height: int
    width: int


class ClipRequest(NamedTuple):
    """What a batch sampler asks of the dataset: one clip of the video `index`.

    `epoch` keys the clip's random choices, together with the seed and the index; an evaluation has 0.
    `max_interval_factor` is the factor up to which the sampling interval may be stretched, so that a clip of fewer
    frames can still span what a whole one does (multigrid, https://arxiv.org/abs/1912.00998, section 3).
    """

    index: int  # type: ignore[assignment]  # shadows tuple.index, which nobody calls on a request
    shape: ClipShape
    epoch: int
    max_interval_factor: float = 1.0


class BadVideo(NamedTuple):
    """A video that could not be read, and the one that was drawn in its place (None if none was)."""

    video: int
    reason: str
    replacement: int | None


class Clip(NamedTuple):
    """One item: V views of one video, usually one."""

    frames: Tensor  # uint8 (V, T, h, w, 3), RGB; NO_FRAMES if the clip is lost, or where its frames are in a batch
    label: int
    video: int  # that the pixels come from
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    augmentation: np.ndarray  # float32 (NUM_PARAMS,): what the device is to do with the frames

    @property
    def is_lost(self) -> bool:
        """Whether the video could not be read and was not replaced."""
        return bool(self.bad_videos) and self.bad_videos[-1].replacement is None
