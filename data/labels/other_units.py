"""Finds columns of a label file that say that its times are not in the unit in which they are read."""

import re
from collections.abc import Sequence
from pathlib import Path

from common.errors import DataError
from common.text import quoted
from data.labels.label_columns import Columns
from data.labels.label_row import LabelRow

OF_TIMES = r"times?|timestamps?|start|begin|end|stop|clip|segment|interval|boundary|annotation"
UNIT = re.compile(rf"(({OF_TIMES})[ _-]?)*units?([ _-]?of[ _-]?({OF_TIMES}))?")
RATE = re.compile(
    r"\w*fps\w*|(.*[ _-])?frame[ _-]?rate|(.*[ _-])?frames[ _-]per[ _-]s(ec(ond)?)?|sampl(e|ing)[ _-]?rate"
)
BARE = re.compile(r"((clip|segment)[ _-]?)?(start|begin|end|stop)")  # says no unit
SECONDS = ("s", "sec", "secs", "second", "seconds")
FRAMES = ("f", "frm", "frame", "frames")
# Of other values, as names of rooms or teams, nothing is said.
OTHERS = tuple(
    f"{word}{end}"
    for word in ("ms", "msec", "milli", "millisecond", "us", "microsecond", "ns", "min", "minute", "h", "hour", "tick")
    for end in ("", "s")
)
# Words beside that of a unit, as in "frame index", "frames (0-based)" or "time in seconds". With any other word, the
# value may be a name, such as "frame assembly"; short words and "second" are units only where they are alone.
BESIDE = re.compile(
    "counts?|ids?|idx|index(es)?|indices|no|nr|num|numbers?|video|clip|times?|timestamps?|in|of|the|from|since|start|"
    "beginning|floats?|int|integers?"
)
BASED = re.compile(r"\b([01]|zero|one)[ -]?(based|indexed)\b")
SHORT = 3


def _unit(value: str) -> str:
    """The word of a value that names a unit, if all others are of those beside it; else the value."""
    plain = value.lower().rstrip(".")
    words = re.findall(r"\w+", BASED.sub(" ", plain.replace("_", " ")))
    named = [word for word in words if not BESIDE.fullmatch(word)]
    is_unit = len(named) == 1 and len(named[0]) > SHORT and named[0] != "second"
    return named[0] if is_unit else plain


class OtherUnits:
    """Looks at the rows of a label file for the unit of their times, in columns that are not read."""

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path = path
        self._columns = columns
        unread = columns.unread if columns.unit else []
        self._units = [place for place, name in enumerate(columns.names) if name in unread and UNIT.fullmatch(name)]
        ours, theirs = (FRAMES, SECONDS) if columns.unit == "frames" else (SECONDS, FRAMES)
        self._refused = {*theirs, *OTHERS} - set(ours)
        pair = [columns.names[place] for place in (columns.start, columns.end) if place is not None]
        is_bare = columns.unit == "seconds" and all(map(BARE.fullmatch, pair))
        self._rates = [name for name in unread if is_bare and RATE.fullmatch(name)]
        self._pair = " and ".join(pair)

    def look(self, line: int, fields: Sequence[str]) -> None:
        """DataError if a row says that its times are in another unit."""
        for place in self._units:
            if _unit(fields[place]) in self._refused:
                column = quoted(self._columns.names[place])
                raise DataError(
                    f"{self._path}, line {line}: {column} says {quoted(fields[place])}, but "
                    f"{self._pair} are read as {self._columns.unit}; write seconds in time_start and time_end, or "
                    "frames in start_frame and end_frame"
                )

    def note(self, rows: Sequence[LabelRow]) -> list[str]:
        """A line if the times of all rows may be frames."""
        times = (time for row in rows for time in (row.time_start, row.time_end) if time is not None)
        if not self._rates or any(time % 1 for time in times):
            return []
        return [
            f"{self._path}: the whole numbers in {self._pair} are read as seconds, beside {quoted(self._rates[0])}: if "
            "they are frames, name the columns start_frame and end_frame"
        ]
