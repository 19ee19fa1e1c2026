"""Evenly spaced clips whose time is changed: reversed, shuffled, frozen, or at another interval (evaluate.probing).

The first three take the frames of the very clips that UniformClips would take, in another order, so that their indices
do not ascend. Another interval takes other frames around the same middle.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data.augment.params import identity_params
from data.clips.sampling import SampledFrames, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.store.crop_box import CropBox

Indices = NDArray[np.int64]


def reversed_frames(indices: Indices, rng: np.random.Generator) -> Indices:
    """The last frame first."""
    return indices[::-1]


def shuffled_frames(indices: Indices, rng: np.random.Generator) -> Indices:
    """A random order that is not the given one; a clip whose frames are all the same stays as it is."""
    if (indices == indices[0]).all():
        return indices
    while True:
        found = rng.permutation(indices)
        if (found != indices).any():
            return found


def frozen_frames(indices: Indices, rng: np.random.Generator) -> Indices:
    """The frame in the middle (of an even number, the later of the two), again and again."""
    return np.full_like(indices, indices[len(indices) // 2])


ORDERS: dict[str, Callable[[Indices, np.random.Generator], Indices]] = {
    "reversed": reversed_frames,
    "shuffled": shuffled_frames,
    "frozen": frozen_frames,
}
"""How the frames of a clip are put in another order: ascending indices (T,) -> indices (T,)."""


def changed_interval(frames: SampledFrames, num_frames: int, factor: float) -> SampledFrames:
    """A clip at `factor` times its interval around the same middle, moved as far as it must to lie in the video.

    The interval falls to the largest that fits; it is never below one frame, as frames would repeat, nor is a clip that
    repeats frames changed. An interval may be a fraction: indices are rounded.
    """
    gaps = len(frames.indices) - 1
    largest = (num_frames - 1) / gaps if gaps else 0.0
    if frames.repeated or largest < 1:
        return frames
    interval = min(max(frames.interval * factor, 1.0), largest)
    if abs(interval - frames.interval) < 1e-9 or (interval < frames.interval) != (factor < 1):
        return frames
    middle = (int(frames.indices[0]) + int(frames.indices[-1])) / 2
    start = min(max(middle - gaps * interval / 2, 0.0), num_frames - 1 - gaps * interval)
    # The small number keeps halves, which binary fractions miss by a little, on one side.
    indices = np.floor(start + np.arange(gaps + 1) * interval + 0.5 + 1e-9).astype(np.int64)
    return SampledFrames(indices.clip(0, num_frames - 1), interval, 0)


@dataclass(frozen=True)
class ChangedTime:
    """A ClipSampling: the clips of `clips` with another order, one of ORDERS, or at `factor` times their interval.

    A clip's random order is keyed by `seed`, the video's index and the clip's place among the video's clips alone.
    """

    clips: UniformClips
    order: str = ""
    factor: float = 1.0
    seed: int = 0

    @property
    def views(self) -> int:
        """Clips x crops."""
        return self.clips.views

    @property
    def needs_rate(self) -> bool:
        """If the interval is a time."""
        return self.clips.needs_rate

    def frames(
        self, num_frames: int, request: ClipRequest, rng: np.random.Generator, rate: float | None = None
    ) -> list[SampledFrames]:
        """The changed clips."""
        found = self.clips.frames(num_frames, request, rng, rate)
        if self.factor != 1:
            found = [changed_interval(each, num_frames, self.factor) for each in found]
        if not self.order:
            return found
        change, own_rng = ORDERS[self.order], np.random.default_rng((self.seed, request.index))
        return [_in_order(each, change(each.indices, own_rng)) for each in found]

    def crop_boxes(self, size: tuple[int, int], shape: ClipShape, rng: np.random.Generator) -> list[CropBox]:
        """Those of the unchanged clips."""
        return self.clips.crop_boxes(size, shape, rng)

    def augmentation_params(self, rng: np.random.Generator) -> np.ndarray:
        """No augmentation."""
        return identity_params()


def _in_order(frames: SampledFrames, indices: Indices) -> SampledFrames:
    return frames._replace(indices=indices, repeated=int((np.diff(indices) == 0).sum()))
