"""Which frames of a video make up a clip, and how its crop and augmentation are drawn."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.augment.params import identity_params, random_params
from data.clips.crop import centre_crop, random_crop
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox


class SampledFrames(NamedTuple):
    """Frame indices of one clip, and what had to give way in a video shorter than the clip's span."""

    indices: NDArray[np.int64]  # (T,), from 0, ascending
    interval: int  # the distance between neighbours that was possible; 1 also where frames are repeated
    repeated: int  # how many of the T indices repeat the frame before them


class ClipSampling(Protocol):
    """How clips are taken from a video: which frames, which part of them."""

    @property
    def views(self) -> int:
        """How many clips are taken from each video."""

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """The views of the video, each T frame indices."""

    def crop_box(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> CropBox:
        """The part of frames of `size` (height, width) that all views show."""

    def augmentation(self, rng: np.random.Generator) -> np.ndarray:
        """The draw for `data.augment`, float32 (NUM_PARAMS,), the same for all views."""


@dataclass(frozen=True)
class RandomClips:
    """One clip at a random interval, start and crop: training.

    `flip` mirrors every other clip; `augment` draws what the device is to do with it beside.
    """

    intervals: tuple[int, int]
    flip: bool
    augment: bool = False

    @property
    def views(self) -> int:
        """One."""
        return 1

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """One view."""
        return [random_clip(num_frames, request.shape.frames, self.intervals, request.max_interval_factor, rng)]

    def crop_box(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> CropBox:
        """A random crop."""
        return random_crop(size, shape, self.flip, rng)

    def augmentation(self, rng: np.random.Generator) -> np.ndarray:
        """A random draw if `augment`, else that which changes nothing."""
        return random_params(rng) if self.augment else identity_params()


@dataclass(frozen=True)
class UniformClips:
    """Evenly spaced clips, the middle one if `clips` is 1, of the centre crop: validation."""

    interval: int
    clips: int = 1

    @property
    def views(self) -> int:
        """`clips`."""
        return self.clips

    def frames(self, num_frames: int, request: ClipRequest, rng: np.random.Generator) -> list[SampledFrames]:
        """`clips` views."""
        return uniform_clips(num_frames, request.shape.frames, self.interval, self.clips)

    def crop_box(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> CropBox:
        """The centre crop."""
        return centre_crop(size, shape)

    def augmentation(self, rng: np.random.Generator) -> np.ndarray:
        """That which changes nothing."""
        return identity_params()


def random_clip(
    num_frames: int, length: int, intervals: tuple[int, int], max_factor: float, rng: np.random.Generator
) -> SampledFrames:
    """A clip at a random interval and start.

    The interval is drawn from lowest to highest inclusive; `max_factor` (1 or more) raises the highest, so that the
    short clips of a multigrid cycle span as much of the action as the long ones (PySlowFast's long-cycle sampling
    rate). A video shorter than the span gets the largest interval that fits, and if even 1 does not, repeats.
    """
    lowest, highest = intervals
    interval = int(rng.integers(lowest, max(lowest, int(highest * max_factor)) + 1))
    interval = _fitting_interval(num_frames, length, interval)
    span = (length - 1) * interval + 1
    start = int(rng.integers(0, max(num_frames - span, 0) + 1))
    return _frames_from(start, num_frames, length, interval)


def uniform_clips(num_frames: int, length: int, interval: int, clips: int) -> list[SampledFrames]:
    """`clips` clips whose starts are evenly spaced from the first frame possible to the last; one alone is centred."""
    interval = _fitting_interval(num_frames, length, interval)
    last_start = max(num_frames - (length - 1) * interval - 1, 0)
    starts = [last_start // 2] if clips == 1 else np.linspace(0, last_start, clips).round().astype(int).tolist()
    return [_frames_from(start, num_frames, length, interval) for start in starts]


def _fitting_interval(num_frames: int, length: int, interval: int) -> int:
    assert num_frames > 0 and length > 0 and interval > 0
    return max(1, min(interval, (num_frames - 1) // max(length - 1, 1))) if length > 1 else interval


def _frames_from(start: int, num_frames: int, length: int, interval: int) -> SampledFrames:
    if num_frames < length:
        # Spread the repeats over the clip: the action keeps its order and goes slower, instead of freezing at the end.
        indices = np.arange(length, dtype=np.int64) * num_frames // length
        return SampledFrames(indices, interval, length - num_frames)
    return SampledFrames(start + np.arange(length, dtype=np.int64) * interval, interval, 0)
