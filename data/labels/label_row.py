"""One row of a label file, the name of its video's folder, and the values that it may have."""

import os
import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from common.errors import DataError
from common.text import quoted, shortened

LATEST = 1e9  # seconds, 31 years: later times are not of a video
# 84, 84.0, and what Python writes for a time just above 0. `float` also takes 1_5, 1e1 and digits of other scripts.
SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+|[0-9](\.[0-9]+)?e-[0-9]{2,3}")
CLOCK = re.compile(  # 75:00, 1:02:03.5
    r"((?P<hours>[0-9]{1,4}):(?P<of_hour>[0-5][0-9])|(?P<minutes>[0-9]{1,5})):(?P<seconds>[0-5][0-9](\.[0-9]*)?)"
)
FRAME = re.compile(r"[0-9]{1,9}(\.0*)?")
LONGEST_NAME = 255  # bytes of a name of a file or folder, on nearly all file systems
SPLITS = {
    "": "",
    "train": "train",
    "training": "train",
    "val": "val",
    "validate": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}


class LabelRow(NamedTuple):
    """One video of a label file."""

    label: str  # the class
    video_id: str  # the name of the video's folder: the id and, if the row has them, its times or frames
    split: str  # "train", "val", "test", or "" if the file names none
    youtube_id: str  # the id as written: with times, the id of the whole video; else the same as video_id
    time_start: float | None  # seconds into the whole video; None if the row has no times
    time_end: float | None
    line: int  # in the file that the row was read from, or 0
    source: str = ""  # the path of its file as written, with "/", if the row has folders or a suffix of videos
    frames: tuple[int, int] | None = None  # the first frame, from 0, and one after the last; then there are no times

    @property
    def is_part(self) -> bool:
        """Whether it has times or frames: it is a part of the video `youtube_id`."""
        return self.time_start is not None or self.frames is not None

    @classmethod
    def from_plain(cls, value: Sequence[Any]) -> "LabelRow":
        """A row that JSON has made a list of. TypeError, ValueError or IndexError for another list."""
        row = cls(*value)
        return row if row.frames is None else row._replace(frames=(int(row.frames[0]), int(row.frames[1])))


def written_name(row: LabelRow) -> str:
    """The name of a row's video as it is written, with a suffix of videos if it has one."""
    return row.source.rpartition("/")[2] or row.youtube_id


def clip_name(youtube_id: str, time_start: float, time_end: float) -> str:
    """The folder name of a clip cut from a video: the id and both times in whole seconds.

    >>> clip_name("a2X2hz1G6i8", 15.5, 17.5)
    'a2X2hz1G6i8_000015_000017'
    """
    return f"{youtube_id}_{int(time_start):06d}_{int(time_end):06d}"


def clip_name_in_milliseconds(youtube_id: str, time_start: float, time_end: float) -> str:
    """The folder name of a clip whose times are those of another in whole seconds; the rest is cut off, as there.

    >>> clip_name_in_milliseconds("a2X2hz1G6i8", 15.5, 15.9)
    'a2X2hz1G6i8_000015.500_000015.900'
    """
    # The decimal number that is written: in binary, 1000 * 1.001 is a little less than 1001.
    start, end = (int(Decimal(repr(time)).scaleb(3)) for time in (time_start, time_end))
    return f"{youtube_id}_{start // 1000:06d}.{start % 1000:03d}_{end // 1000:06d}.{end % 1000:03d}"


def frames_name(youtube_id: str, frames: tuple[int, int]) -> str:
    """The folder name of a clip of some frames of a video.

    >>> frames_name("lecture", (12, 34))
    'lecture_f000012_f000034'
    """
    return f"{youtube_id}_f{frames[0]:06d}_f{frames[1]:06d}"


class UnknownSplitError(DataError):
    """A name of a split that is not known."""


def parse_split(text: str, place: str) -> str:
    """Map a name of a split to "train", "val", "test" or "". UnknownSplitError for another one begins with `place`."""
    split = SPLITS.get(text.lower())
    if split is None:
        known = ", ".join(name for name in SPLITS if name)
        raise UnknownSplitError(f"{place}: unknown split {quoted(text)}; known are {known}")
    return split


def parse_seconds(text: str, column: str, place: str) -> float:
    """Parse a time in seconds, 0 or more. The DataError for another text names `place` and `column`."""
    seconds = float(text) if SECONDS.fullmatch(text) else -1.0
    if not 0 <= seconds <= LATEST:
        raise DataError(f"{place}: {column} {quoted(text)} is not a time in seconds")
    return seconds


def parse_time(text: str, column: str, place: str, decimal_comma: bool = False) -> float:
    """Parse a time in seconds, `mm:ss` or `hh:mm:ss`, with or without decimals. The DataError is that of the above.

    With `decimal_comma`, a comma may stand for the decimal point, as in the files of some countries' spreadsheets.
    """
    plain = text.replace(",", ".") if decimal_comma else text
    clock = CLOCK.fullmatch(plain)
    if clock is None:
        try:
            return parse_seconds(plain, column, place)
        except DataError as error:
            raise DataError(f"{error}, mm:ss or hh:mm:ss") from None
    hours, minutes, seconds = clock["hours"] or "0", clock["of_hour"] or clock["minutes"], clock["seconds"]
    return float(3600 * int(hours) + 60 * int(minutes) + Decimal(seconds))  # rounded once


def parse_frame(text: str, column: str, place: str) -> int:
    """Parse the number of a frame, 0 or more; as tables with missing numbers have them, perhaps written 12.0."""
    if not FRAME.fullmatch(text):
        raise DataError(f"{place}: {column} {quoted(text)} is not the number of a frame: digits alone, from 0 on")
    return int(text.partition(".")[0])


class FolderNameError(DataError):
    """A class or an id that can name no folder."""


def check_folder_name(name: str, what: str, place: str) -> None:
    """Raise DataError unless `name`, a class or an id, can name a folder."""
    if not name:
        raise FolderNameError(f"{place}: the {what} is empty")
    if "/" in name or "\0" in name or name in (".", ".."):
        remedy = "; write it without '/'" if "/" in name else ""
        raise FolderNameError(f"{place}: {what} {quoted(name)} cannot name a folder{remedy}")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise FolderNameError(f"{place}: {what} {quoted(name)} is not Unicode text, so it can name no folder") from None


def check_name_length(name: str, what: str) -> None:
    """Raise DataError if a file system takes no such long name.

    `read_labels` accepts it: a label file may list videos that nobody can have, and those are missing.
    """
    length = len(os.fsencode(name))
    if length > LONGEST_NAME:
        raise FolderNameError(
            f"{what} {quoted(name)} has {length} bytes; a name of a file or folder has at most {LONGEST_NAME}"
        )


def describe_clip(row: LabelRow) -> str:
    """A clip's id and times or frames as written, for messages."""
    if row.frames:
        return f"{shortened(row.youtube_id)} frames {row.frames[0]}-{row.frames[1]}"
    if row.time_start is None or row.time_end is None:
        return shortened(row.youtube_id)
    return f"{shortened(row.youtube_id)} {format_seconds(row.time_start)}-{format_seconds(row.time_end)} s"


def format_seconds(seconds: float) -> str:
    """Seconds, without a fraction that is zero: 84.0 is "84", 15.5 is "15.5"."""
    return str(int(seconds)) if seconds.is_integer() else format(Decimal(repr(seconds)), "f")
