"""What the times of a video's frames tell: its rate, whether that varies, and which frames another rate shows.

At another rate, a frame is the one that is shown at its time: frames are repeated or dropped, never blended. A frame
may be late: times are rounded in files, and phones and screen recorders write them some milliseconds off.
"""

import math
from collections.abc import Sequence

import numpy as np

# Of a step at the new rate, but at most so many seconds. No usual rates meet at such odd numbers, where rounding would
# decide.
LATE, LATE_SECONDS = 0.1031, 0.00411
LONGEST_PAUSE = 600.0  # seconds for which one frame may be repeated
# A small file of a picture every ten minutes would fill a disk: so many repeats (three hours at 28 frames a second), in
# pauses of so many seconds, are too many if they are nearly all frames. Recorded slides stay below.
MOST_STILL, PAUSE, NEARLY_ALL = 300_000, 10.0, 0.9
ROUNDED = 1.5  # ticks, or milliseconds, by which a step may be off because times are rounded
UNEVEN = 0.1  # of the median step: a step that is further off is another one
FEW, FEW_OF_ALL = 3, 0.02  # uneven steps that a video of a constant rate may have, as a camera drops frames


def late_by(fps: float) -> float:
    """By how much a frame may be late at a rate, in steps of the rate."""
    return min(LATE, LATE_SECONDS * fps)


def count_at(seconds: float, fps: float) -> int:
    """How many frames a video that lasts so many seconds has at a rate; the last one may be shown in part."""
    return max(1, math.ceil(seconds * fps - late_by(fps)))


class Resampler:
    """Tells how often each frame of a video is written at the rate `fps`: from its first time on, in even steps."""

    def __init__(self, fps: float) -> None:
        self._fps = fps
        self._start: float | None = None
        self._written = 0
        self._still = 0  # of these, in pauses

    @property
    def repeats_too_much(self) -> bool:
        """Whether nearly all frames so far are repeats in pauses, and very many."""
        return self._still > max(MOST_STILL, NEARLY_ALL * self._written)

    def repeats(self, until: float) -> int:
        """How often the frame that is shown until this time (of the next frame, in seconds) is written; it may be 0.

        The first call gives the time of the first frame, and returns 0.
        """
        if self._start is None:
            self._start = until
            return 0
        total = math.ceil((until - self._start) * self._fps - late_by(self._fps))
        repeats = max(0, total - self._written)
        self._written += repeats
        self._still += repeats if repeats > PAUSE * self._fps else 0
        return repeats

    def last_repeats(self, until: float) -> int:
        """As `repeats`, for the last frame: a video has at least one frame."""
        repeats = self.repeats(until) or int(self._written == 0)
        self._written = max(1, self._written)
        return repeats


def average_rate(times: Sequence[float], step: float, tick: float) -> float | None:
    """The frames a second of frames with these times (seconds); None if they do not tell.

    That is the rate of a constant `step` (seconds), as the file's header has it, if the times agree with it: they are
    rounded to the `tick`.
    """
    length = times[-1] - times[0] if times else 0.0
    if length <= 0:
        return None
    steps = len(times) - 1
    if abs(steps * step - length) <= ROUNDED * max(0.001, tick):
        return round(1 / step, 9)
    return round(steps / length, 9)


def is_variable(times: Sequence[float], tick: float) -> bool:
    """Whether the steps between these times are clearly uneven, in more than a few places."""
    if len(times) <= FEW + 1:
        return False
    steps = np.diff(times)
    step = float(np.sort(steps)[len(steps) // 2])  # np.median imports numpy.ma, which takes longer than all else
    uneven = int((np.abs(steps - step) > max(UNEVEN * step, ROUNDED * max(0.001, tick))).sum())
    return uneven > max(FEW, FEW_OF_ALL * len(steps))
