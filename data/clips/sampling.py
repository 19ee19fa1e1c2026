"""Which frames of a video make up a clip. Everything here is a pure function of its arguments."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class SampledFrames(NamedTuple):
    """Frame indices of one clip, and what had to give way in a video shorter than the clip's span."""

    indices: NDArray[np.int64]  # (T,), from 0, ascending
    interval: int  # the distance between neighbours that was possible; 1 also where frames are repeated
    repeated: int  # how many of the T indices repeat the frame before them

    @property
    def is_shortened(self) -> bool:
        """Whether frames are repeated."""
        return self.repeated > 0


def random_clip(
    num_frames: int, length: int, intervals: tuple[int, int], stretch: float, rng: np.random.Generator
) -> SampledFrames:
    """A clip at a random interval and start.

    The interval is drawn from lowest to highest inclusive; `stretch` (1 or more) raises the highest, so that the
    short clips of a multigrid cycle span as much of the action as the long ones (PySlowFast's long-cycle sampling
    rate). A video shorter than the span gets the largest interval that fits, and if even 1 does not, repeats.
    """
    lowest, highest = intervals
    interval = int(rng.integers(lowest, max(lowest, int(highest * stretch)) + 1))
    interval = _fitting_interval(num_frames, length, interval)
    span = (length - 1) * interval + 1
    start = int(rng.integers(0, max(num_frames - span, 0) + 1))
    return _frames_from(start, num_frames, length, interval)


def centre_clip(num_frames: int, length: int, interval: int) -> SampledFrames:
    """The clip in the middle of the video."""
    return spaced_clips(num_frames, length, interval, 1)[0]


def spaced_clips(num_frames: int, length: int, interval: int, clips: int) -> list[SampledFrames]:
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
