"""Which frames of a video a clip has: random_clip (training) and uniform_clips (validation).

RandomClips and UniformClips put that together with the crop and the augmentation parameters; ClipDataset takes one of
them.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.augment.params import identity_params, random_params
from data.clips.crop import centre_crop, random_crop
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox


class SampledFrames(NamedTuple):
    """The frame indices of one clip, and what had to change if the video is too short."""

    indices: NDArray[np.int64]  # (T,), from 0, ascending
    interval: float  # the one used: smaller than asked for if the video is short, 1 if frames are repeated
    repeated: int  # how many of the T indices repeat the frame before them


def random_clip(
    num_frames: int, length: int, intervals: tuple[int, int], max_factor: float, rng: np.random.Generator
) -> SampledFrames:
    """A clip at a random interval and start.

    The interval is drawn from lowest to highest inclusive. `max_factor` (1 or more) multiplies the highest, so that the
    short clips of a multigrid cycle span as much of the action as the long ones (PySlowFast's long-cycle sampling
    rate). A video shorter than the clip's span is covered from its first frame to its last, see `_frames_from`.
    """
    lowest, highest = intervals
    interval = int(rng.integers(lowest, max(lowest, int(highest * max_factor)) + 1))
    # A short video has only one start. It is drawn all the same, from the starts of the largest whole interval that
    # fits, so that the crop drawn next is the one of earlier versions.
    fitting = interval if length == 1 else max(1, min(interval, (num_frames - 1) // (length - 1)))
    start = int(rng.integers(0, _last_start(num_frames, length, fitting) + 1))
    return _frames_from(start, num_frames, length, interval)


def uniform_clips(num_frames: int, length: int, interval: int, clips: int) -> list[SampledFrames]:
    """`clips` clips with evenly spaced starts, from the first possible one to the last; a single clip is centred.

    In a video shorter than a clip's span all clips are the same, see `_frames_from`.
    """
    last_start = _last_start(num_frames, length, interval)
    starts = [last_start // 2] if clips == 1 else np.linspace(0, last_start, clips).round().astype(int).tolist()
    return [_frames_from(start, num_frames, length, interval) for start in starts]


def _last_start(num_frames: int, length: int, interval: int) -> int:
    """The last frame at which a clip can start; 0 in a video that is too short."""
    assert num_frames > 0 and length > 0 and interval > 0
    return max(num_frames - (length - 1) * interval - 1, 0)


def _frames_from(start: int, num_frames: int, length: int, interval: int) -> SampledFrames:
    """The frames at `interval` from `start` on.

    A video shorter than the clip's span is covered evenly from its first frame to its last: the interval is then a
    fraction, and indices are rounded. A video of fewer frames than the clip has each of its frames, some repeated.
    """
    positions = np.arange(length, dtype=np.int64)
    if num_frames < length:
        # Spread the repeats over the clip: this slows the action down, while repeats at the end would freeze it.
        return SampledFrames(positions * num_frames // length, 1, length - num_frames)
    gaps, last = length - 1, num_frames - 1
    if gaps * interval > last:
        return SampledFrames((2 * positions * last + gaps) // (2 * gaps), last / gaps, 0)
    return SampledFrames(start + positions * interval, interval, 0)


class ClipSampling(Protocol):
    """How clips are taken from a video: which frames, which crop, which augmentation."""

    @property
    def views(self) -> int:
        """The number of clips that are taken from each video."""

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """The T frame indices of each view of a video with `num_frames` frames."""

    def crop_box(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> CropBox:
        """The crop of frames of `size` (height, width), the same for all views."""

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """The augmentation parameters, float32 (NUM_PARAMS,), the same for all views (data.augment.params)."""


@dataclass(frozen=True)
class RandomClips:
    """One clip at a random interval, start and crop: training.

    `flip` mirrors half of the clips; `augment` draws random augmentation parameters.
    """

    intervals: tuple[int, int]  # lowest and highest
    flip: bool
    augment: bool = False

    @property
    def views(self) -> int:
        """One clip."""
        return 1

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """One view."""
        return [random_clip(num_frames, request.shape.frames, self.intervals, request.max_interval_factor, rng)]

    def crop_box(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> CropBox:
        """A random crop."""
        return random_crop(size, shape, self.flip, rng)

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """Random ones with `augment`, else none."""
        return random_params(rng) if self.augment else identity_params()


@dataclass(frozen=True)
class UniformClips:
    """Evenly spaced clips at the centre crop, without augmentation: validation. A single clip is centred."""

    interval: int
    clips: int = 1

    @property
    def views(self) -> int:
        """The number of clips."""
        return self.clips

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """`clips` views."""
        return uniform_clips(num_frames, request.shape.frames, self.interval, self.clips)

    def crop_box(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> CropBox:
        """The centre crop."""
        return centre_crop(size, shape)

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """No augmentation."""
        return identity_params()
