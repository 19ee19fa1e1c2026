"""Which frames of a video a clip has: random_clip (training) and uniform_clips (validation).

RandomClips and UniformClips put that together with the crop and the augmentation parameters; ClipDataset takes one of
them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from data.augment.params import identity_params, random_params
from data.augment.randaugment import RandAugment, randaugment_params
from data.clips.crop import RESIZED_SIDE_PER_CROP, spread_crops
from data.clips.cropping import DEFAULT, Cropping
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox
from data.store.frame_times import count_at, late_by


class SampledFrames(NamedTuple):
    """The frame indices of one clip, and what had to change if the video is too short."""

    indices: NDArray[np.int64]  # (T,), from 0, ascending
    interval: float  # in frames, the one used: smaller than asked for if the video is short, 1 if frames are repeated
    repeated: int  # how many of the T indices repeat the frame before them


class Rates(NamedTuple):
    """How many frames a video has in a second, and how many steps an interval counts in a second."""

    video: float
    steps: float


def uniform_start(last: int, rng: np.random.Generator) -> int:
    """A start from 0 to `last`, each with the same probability."""
    return int(rng.integers(0, last + 1))


def normal_start(last: int, rng: np.random.Generator) -> int:
    """A start around the middle of 0 to `last`: a normal distribution, sigma a quarter of it, cut off at its ends."""
    while True:
        start = round(float(rng.normal(last / 2, last / 4)))
        if 0 <= start <= last:
            return start


def centre_start(last: int, rng: np.random.Generator) -> int:
    """The middle of 0 to `last`."""
    return last // 2


STARTS: dict[str, Callable[[int, np.random.Generator], int]] = {
    "uniform": uniform_start,
    "normal": normal_start,
    "centre": centre_start,
}
SPAN = "span"
SAMPLINGS = (*STARTS, SPAN)
"""How the clips of a training are placed in their videos."""


def random_clip(
    num_frames: int,
    length: int,
    intervals: tuple[int, int],
    max_factor: float,
    rng: np.random.Generator,
    draw_start: Callable[[int, np.random.Generator], int] = uniform_start,
    rates: Rates | None = None,
) -> SampledFrames:
    """A clip at a random interval and start.

    The interval is drawn from lowest to highest inclusive. `max_factor` (1 or more) multiplies the highest, so that the
    short clips of a multigrid cycle span as much of the action as the long ones (PySlowFast's long-cycle sampling
    rate). A video shorter than the clip's span is covered from its first frame to its last, see `_frames_from`.
    With `rates`, the interval counts steps in time, and not frames.
    """
    lowest, highest = intervals
    interval = int(rng.integers(lowest, max(lowest, int(highest * max_factor)) + 1))
    steps = _steps(num_frames, rates)
    # A short video has only one start. It is drawn all the same, from the starts of the largest whole interval that
    # fits, so that the crop drawn next is the one of earlier versions.
    fitting = interval if length == 1 else max(1, min(interval, (steps - 1) // (length - 1)))
    start = draw_start(_last_start(steps, length, fitting), rng)
    return _frames_from(start, num_frames, length, interval, rates)


def uniform_clips(
    num_frames: int, length: int, interval: int, clips: int, rates: Rates | None = None
) -> list[SampledFrames]:
    """`clips` clips with evenly spaced starts, from the first possible one to the last; a single clip is centred.

    In a video shorter than a clip's span all clips are the same, see `_frames_from`. `rates` as in `random_clip`.
    """
    last_start = _last_start(_steps(num_frames, rates), length, interval)
    starts = [last_start // 2] if clips == 1 else np.linspace(0, last_start, clips).round().astype(int).tolist()
    return [_frames_from(start, num_frames, length, interval, rates) for start in starts]


def span_clip(num_frames: int, length: int, shift: int) -> SampledFrames:
    """A clip over the whole video: of `length` equal segments, the frame at `shift` / `num_frames` (below 1) of each.

    Temporal Segment Networks (https://arxiv.org/abs/1608.00859) have a random shift for each segment. Here it is one
    for all, so that the steps are even. A video of fewer frames than the clip has each of its frames, some repeated.
    """
    if num_frames < length:
        return _frames_from(0, num_frames, length, 1)
    assert 0 <= shift < num_frames
    return SampledFrames((np.arange(length, dtype=np.int64) * num_frames + shift) // length, num_frames / length, 0)


def _steps(num_frames: int, rates: Rates | None) -> int:
    """How many steps a video has: as many as it would have frames at the rate of the steps."""
    return num_frames if rates is None else count_at(num_frames / rates.video, rates.steps)


def _last_start(num_frames: int, length: int, interval: int) -> int:
    """The last frame (or step) at which a clip can start; 0 in a video that is too short."""
    assert num_frames > 0 and length > 0 and interval > 0
    return max(num_frames - (length - 1) * interval - 1, 0)


def _frames_from(start: int, num_frames: int, length: int, interval: int, rates: Rates | None = None) -> SampledFrames:
    """The frames at `interval` from `start` on; with `rates`, both are steps, and the frames those that are shown then.

    A video shorter than the clip's span is covered evenly from its first frame to its last: the interval is then a
    fraction, and indices are rounded. A video of fewer frames than the clip has each of its frames, some repeated.
    """
    positions = np.arange(length, dtype=np.int64)
    gaps, last = length - 1, num_frames - 1
    if rates and gaps * interval < _steps(num_frames, rates):
        # As data.store.frame_times.Resampler chooses them: a video converted at the rate of the steps has these frames.
        pace = rates.video / rates.steps
        indices = np.minimum(((start + positions * interval + late_by(rates.steps)) * pace).astype(np.int64), last)
        return SampledFrames(indices, interval * pace, int((np.diff(indices) == 0).sum()))
    if num_frames < length:
        # Spread the repeats over the clip: this slows the action down, while repeats at the end would freeze it.
        return SampledFrames(positions * num_frames // length, 1, length - num_frames)
    if rates or gaps * interval > last:
        return SampledFrames((2 * positions * last + gaps) // (2 * gaps), last / gaps, 0)
    return SampledFrames(start + positions * interval, interval, 0)


def _rates(video: float | None, steps: float | None) -> Rates | None:
    """None if an interval counts frames: if its steps have no rate, or the video's."""
    assert steps is None or video is not None, "needs_rate says so"
    return None if steps is None or video is None or video == steps else Rates(video, steps)


class ClipSampling(Protocol):
    """How clips are taken from a video: which frames, which crop, which augmentation."""

    @property
    def views(self) -> int:
        """The number of views of each video: clips x crops. The views of one crop are neighbours."""

    @property
    def needs_rate(self) -> bool:
        """Whether `frames` needs the video's rate."""

    def frames(
        self, num_frames: int, request: ClipRequest, rng: np.random.Generator, rate: float | None = None
    ) -> list[SampledFrames]:
        """The T frame indices of each clip of a video with `num_frames` frames, `rate` of them a second."""

    def crop_boxes(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> list[CropBox]:
        """The crops of frames of `size` (height, width); each is taken of all clips."""

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """The augmentation parameters, float32 (NUM_PARAMS,), the same for all views (data.augment.params)."""


@dataclass(frozen=True)
class RandomClips:
    """One clip at a random interval, start and crop: training.

    `flip` mirrors half of the clips; `augment` draws random augmentation parameters, `randaugment` those of RandAugment
    instead. With `rate`, the intervals are times: steps of 1/rate of a second. `sampling` is one of SAMPLINGS; for
    "span" the intervals have no effect.
    """

    intervals: tuple[int, int]  # lowest and highest
    flip: bool
    augment: bool = False
    rate: float | None = None
    sampling: str = "uniform"
    cropping: Cropping = DEFAULT
    randaugment: RandAugment | None = None

    @property
    def views(self) -> int:
        """One clip."""
        return 1

    @property
    def needs_rate(self) -> bool:
        """If the intervals are times."""
        return self.rate is not None and self.sampling != SPAN

    def frames(
        self, num_frames: int, request: ClipRequest, rng: np.random.Generator, rate: float | None = None
    ) -> list[SampledFrames]:
        """One clip."""
        length = request.shape.frames
        if self.sampling == SPAN:
            return [span_clip(num_frames, length, int(rng.integers(0, num_frames)))]
        draw_start, factor = STARTS[self.sampling], request.max_interval_factor
        rates = _rates(rate, self.rate)
        return [random_clip(num_frames, length, self.intervals, factor, rng, draw_start, rates)]

    def evenly(self, clips: int) -> "UniformClips":
        """Evenly spaced clips at the highest of the intervals."""
        is_span = self.sampling == SPAN
        return UniformClips(self.intervals[1], clips, self.rate, is_span, crop_scale=self.cropping.scale)

    def crop_boxes(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> list[CropBox]:
        """One random crop."""
        return [self.cropping.box(size, shape, self.flip, rng)]

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """Random ones with `randaugment` or `augment`, else none."""
        if self.randaugment is not None:
            return randaugment_params(self.randaugment, rng)
        return random_params(rng) if self.augment else identity_params()


@dataclass(frozen=True)
class UniformClips:
    """Evenly spaced clips, without augmentation: validation. A single clip is centred.

    Each clip is taken at the centre crop, or at several `crops` as `spread_crops` has them.

    With `rate`, the interval is a time, as in RandomClips. With `span`, it has no effect: each clip covers the whole
    video, and the clips' frames lie evenly between each other.
    """

    interval: int
    clips: int = 1
    rate: float | None = None
    span: bool = False
    crops: int = 1
    crop_scale: float = RESIZED_SIDE_PER_CROP

    @property
    def views(self) -> int:
        """Clips x crops."""
        return self.clips * self.crops

    @property
    def needs_rate(self) -> bool:
        """If the interval is a time."""
        return self.rate is not None and not self.span

    def frames(
        self, num_frames: int, request: ClipRequest, rng: np.random.Generator, rate: float | None = None
    ) -> list[SampledFrames]:
        """`clips` clips."""
        length = request.shape.frames
        if self.span:
            shifts = [(2 * clip + 1) * num_frames // (2 * self.clips) for clip in range(self.clips)]
            return [span_clip(num_frames, length, shift) for shift in shifts]
        return uniform_clips(num_frames, length, self.interval, self.clips, _rates(rate, self.rate))

    def evenly(self, clips: int) -> "UniformClips":
        """The same with another number of clips."""
        return replace(self, clips=clips)

    def crop_boxes(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> list[CropBox]:
        """The centre crop, or several."""
        return spread_crops(size, shape, self.crops, self.crop_scale)

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """No augmentation."""
        return identity_params()
