"""The distance between the frames of a clip, as a flag gives it: in frames, in time, or over the whole video.

    2       two frames further
    1 2     one or two, drawn for each clip
    2@30    2/30 of a second later, whatever the video's rate; `1 2@30` and `1,2@30` are a range
    all     the clip covers the whole video

An option holds whole numbers where whole numbers were given, and a text such as "1,2@30" or "all" otherwise.
"""

import re
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

from common.cli import numbers
from common.errors import DataError
from common.text import quoted

WHOLE = "all"
SLOWEST, FASTEST = 1.0, 1000.0  # steps a second
_TIMED = re.compile(r"([0-9][0-9,\s]*)@([0-9]{1,4}(?:\.[0-9]{1,9})?)")

IntervalOption: TypeAlias = int | Sequence[int] | str


class Intervals(NamedTuple):
    """The lowest and highest distance, in steps: of a frame, or of 1/`rate` of a second."""

    lowest: int
    highest: int
    rate: float | None = None  # steps a second; None: a step is a frame of the video

    def __str__(self) -> str:
        end = f"-{self.highest}" if self.highest > self.lowest else ""
        return f"{self.lowest}{end}" + (f"@{self.rate:.9g}" if self.rate else "")


ANY = Intervals(1, 1)  # for clips over the whole video


def read_interval(words: str | Sequence[str]) -> tuple[int, ...] | str:
    """The option that the words of a flag give; DataError if they are no interval. `intervals_of` checks its values."""
    text = words if isinstance(words, str) else " ".join(words)
    if text.strip() == WHOLE:
        return WHOLE
    if re.fullmatch(r"[-+0-9,\s]*", text):
        return numbers(text)
    timed = _TIMED.fullmatch(text.strip())
    if not timed:
        raise DataError(f"{quoted(text)} is no interval: give frames as 2 or 1 2, time as 2@30 or 1 2@30, or {WHOLE}")
    return f"{','.join(map(str, numbers(timed[1])))}@{float(timed[2]):.9g}"


def read_single_interval(words: str | Sequence[str]) -> int | str:
    """As `read_interval`, of a flag that takes no range; DataError for several numbers."""
    value = read_interval(words)
    if isinstance(value, str):
        return value
    if len(value) != 1:
        raise DataError(f"{' '.join(map(str, value))}: give one interval")
    return value[0]


def intervals_of(option: IntervalOption) -> Intervals | None:
    """What an option says; None for the whole video. DataError if its values are no range of intervals."""
    if option == WHOLE:
        return None
    rate = None
    if isinstance(option, str):
        steps, _, text = option.partition("@")
        option, rate = numbers(steps), float(text)
        if not SLOWEST <= rate <= FASTEST:
            raise DataError(f"@{rate:g}: give {SLOWEST:g} to {FASTEST:g} steps a second")
    values = (option,) if isinstance(option, int) else option
    if len(values) not in (1, 2) or min(values) < 1 or values[0] > values[-1]:
        raise DataError("give one interval, or lowest and highest")
    return Intervals(values[0], values[-1], rate)


def interval_of(option: IntervalOption) -> Intervals | None:
    """As `intervals_of`, of an option that is no range."""
    found = intervals_of(option)
    if found and found.lowest < found.highest:
        raise DataError("give one interval")
    return found
