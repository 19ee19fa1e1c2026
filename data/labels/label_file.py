"""The project's label file: one CSV row for each video, with its class, its id, and optionally times and split."""

import csv
import io
import os
import re
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import quoted, shortened
from data.labels.csv_file import check_single, fields_as_written, read_table
from data.labels.text import counted, first_names
from data.labels.time_columns import columns_of_times

MOST_COLUMNS = 30  # that a line names: one of them may hold times under a name that nothing here knows
LATEST = 1e9  # seconds, 31 years: later times are not of a video
# 84, 84.0, and what Python writes for a time just above 0. `float` also takes 1_5, 1e1 and digits of other scripts.
SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+|[0-9](\.[0-9]+)?e-[0-9]{2,3}")
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
    video_id: str  # the name of the video's folder: the id, with the times in whole seconds if the row has times
    split: str  # "train", "val", "test", or "" if the file names none
    youtube_id: str  # the id as written: with times, the id of the whole video; else the same as video_id
    time_start: float | None  # seconds into the whole video; None if the row has no times
    time_end: float | None
    line: int  # in the file that the row was read from, or 0
    source: str = ""  # the path of its file as written, with "/", if the row has folders or a suffix of videos
    frames: tuple[int, int] | None = None  # the first frame, from 0, and one after the last; then there are no times


def clip_name(youtube_id: str, time_start: float, time_end: float) -> str:
    """The folder name of a clip cut from a video: the id and both times in whole seconds.

    >>> clip_name("a2X2hz1G6i8", 15.5, 17.5)
    'a2X2hz1G6i8_000015_000017'
    """
    return f"{youtube_id}_{int(time_start):06d}_{int(time_end):06d}"


def parse_split(text: str, place: str) -> str:
    """Map a name of a split to "train", "val", "test" or "". The DataError for another name begins with `place`."""
    split = SPLITS.get(text.lower())
    if split is None:
        known = ", ".join(name for name in SPLITS if name)
        raise DataError(f"{place}: unknown split {quoted(text)}; known are {known}")
    return split


def parse_seconds(text: str, column: str, place: str) -> float:
    """Parse a time in seconds, 0 or more. The DataError for another text names `place` and `column`."""
    seconds = float(text) if SECONDS.fullmatch(text) else -1.0
    if not 0 <= seconds <= LATEST:
        raise DataError(f"{place}: {column} {quoted(text)} is not a time in seconds")
    return seconds


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


def read_labels(path: Path, refused: list[tuple[str, str]] | None = None) -> list[LabelRow]:
    """Read a label file: CSV with the columns `label`, `youtube_id` or `id`, and optional times and split.

    Other columns are ignored. Raises DataError, which names the line, for a missing column, an empty file, an invalid
    value, a repeated row, and two clips that would have the same folder because their times are equal in whole seconds.
    With a list `refused`, rows whose class or id can name no folder are left out; it gets their places and reasons.
    """
    return _read(path, refused)[0]


def read_labels_and_notes(path: Path) -> tuple[list[LabelRow], list[str]]:
    """As read_labels; and lines on what a user may not expect: columns that are not read, rows without times."""
    rows, unread = _read(path, None)
    names = ", ".join(map(shortened, unread[:MOST_COLUMNS])) + (", ..." if len(unread) > MOST_COLUMNS else "")
    notes = [f"{path}: not read: {counted(len(unread), 'column')} ({names})"] if unread else []
    return rows, notes + _note_on_times(path, rows)


def _read(path: Path, refused: list[tuple[str, str]] | None) -> tuple[list[LabelRow], list[str]]:
    """The rows of a label file, and the columns that are not read."""
    columns, lines = read_table(path)
    places = _find_columns(path, columns)
    rows: list[LabelRow] = []
    parse = _RowParser(path, places)
    seen: defaultdict[str, dict[str, LabelRow]] = defaultdict(dict)
    for line, fields in lines:
        try:
            row = parse(line, fields)
        except FolderNameError as error:
            if refused is None:
                raise
            refused.append((f"{path.name}, line {line}", str(error).removeprefix(f"{path}, line {line}: ")))
            continue
        first = seen[row.label].setdefault(row.video_id, row)
        if first is not row:
            _check_repetition(path, first, row)
        rows.append(row)
    if not rows and not refused:
        raise DataError(f"{path}: no rows under the header")
    return rows, [name for place, name in enumerate(columns) if name and place not in places]


class _Columns(NamedTuple):
    label: int
    video: int
    time_start: int | None
    time_end: int | None
    split: int | None


def _find_columns(path: Path, columns: list[str]) -> _Columns:
    if "classname" in columns:  # its `label` is 1 or -1
        raise DataError(f"{path}: this is an official HACS file; convert it with python -m data.prepare.labels hacs")

    def place(name: str) -> int | None:
        return columns.index(name) if name in columns else None

    label, video = place("label"), place("youtube_id") if "youtube_id" in columns else place("id")
    start, end = place("time_start"), place("time_end")
    known = ("label", "youtube_id" if "youtube_id" in columns else "id", "time_start", "time_end", "split")
    check_single(path, columns, known)
    is_timed = start is not None and end is not None
    unread = columns_of_times([name for name in columns if name not in known], only_certain=is_timed)
    if unread:
        harm = " beside time_start and time_end" if is_timed else ", and whole videos taken for the clips"
        remedy = "remove them" if is_timed else "name them time_start and time_end, in seconds, or remove them"
        raise DataError(f"{path}: the times in the columns {first_names(unread)} would not be read{harm}: {remedy}")
    missing = [
        name
        for name, absent in (
            ("label", label is None),
            ("youtube_id or id", video is None),
            ("time_start", start is None and end is not None),
            ("time_end", end is None and start is not None),
        )
        if absent
    ]
    if missing or label is None or video is None:
        header = ", ".join(columns)
        separator = next((each for each in ";\t|" if each in header), "")
        advice = f"; write commas for {separator!r}" if len(columns) == 1 and separator else ""
        raise DataError(
            f"{path}: no column {', no column '.join(missing)}; its header is {quoted(header)}{advice}. The header of "
            "a label file is label,youtube_id,time_start,time_end,split or label,id,split; official annotations are "
            "converted to it by python -m data.prepare.labels"
        )
    return _Columns(label, video, start, end, place("split"))


class _RowParser:
    """Makes LabelRows of fields. Values that many rows share are checked once and kept as one object."""

    def __init__(self, path: Path, columns: _Columns) -> None:
        self.path = path
        self.columns = columns
        self.labels: dict[str, str] = {}
        self.seconds: dict[str, float] = {}
        self.suffixes: dict[tuple[float, float], str] = {}

    def __call__(self, line: int, fields: list[str]) -> LabelRow:
        label_column, id_column, start_column, end_column, split_column = self.columns
        label = self.labels.get(fields[label_column]) or self._new_label(line, fields[label_column])
        youtube_id = fields[id_column]
        if not youtube_id or "/" in youtube_id or "\0" in youtube_id or youtube_id in (".", ".."):
            check_folder_name(youtube_id, "id", self._place(line))
        split = ""
        if split_column is not None:
            text = fields[split_column]
            split = SPLITS[text] if text in SPLITS else parse_split(text, self._place(line))
        if start_column is None or end_column is None:
            return LabelRow(label, youtube_id, split, youtube_id, None, None, line)
        start_text, end_text = fields[start_column], fields[end_column]
        if not start_text and not end_text:
            return LabelRow(label, youtube_id, split, youtube_id, None, None, line)
        start, end = self._seconds(start_text, "time_start", line), self._seconds(end_text, "time_end", line)
        if end <= start:
            times = f"time_end {shortened(end_text)} is not after time_start {shortened(start_text)}"
            raise DataError(f"{self._place(line)}: {times}")
        suffix = self.suffixes.get((start, end))
        if suffix is None:
            suffix = self.suffixes[start, end] = clip_name("", start, end)
        return LabelRow(label, youtube_id + suffix, split, youtube_id, start, end, line)

    def _new_label(self, line: int, text: str) -> str:
        check_folder_name(text, "label", self._place(line))
        return self.labels.setdefault(text, text)

    def _seconds(self, text: str, column: str, line: int) -> float:
        seconds = self.seconds.get(text)
        if seconds is None:
            seconds = self.seconds[text] = parse_seconds(text, column, self._place(line))
        return seconds

    def _place(self, line: int) -> str:
        return f"{self.path}, line {line}"


def _check_repetition(path: Path, first: LabelRow, row: LabelRow) -> None:
    """Raise DataError for two rows with one folder. The same video in two splits is reported later instead."""
    times, first_times = (row.time_start, row.time_end), (first.time_start, first.time_end)
    if row.youtube_id != first.youtube_id or times != first_times:
        raise DataError(
            f"{path}: lines {first.line} and {row.line} are two clips of one folder: {describe_clip(first)} and "
            f"{describe_clip(row)} of class {quoted(row.label)} are both {shortened(row.video_id)} in whole "
            "seconds; remove one"
        )
    if row.split == first.split:
        video = f"{quoted(row.label)}, {shortened(row.video_id)}"
        raise DataError(
            f"{path}: line {row.line} repeats line {first.line}: {video}; remove one{_note_on_spaces(path, first, row)}"
        )


def _note_on_spaces(path: Path, first: LabelRow, row: LabelRow) -> str:
    """How two rows with one folder were written, if they differ in the spaces at the ends of their fields."""
    for fields in zip(*fields_as_written(path, [first.line, row.line]), strict=False):
        if fields[0] != fields[1] and fields[0].strip() == fields[1].strip() and fields[0].strip():
            return f". They are written {quoted(fields[0])} and {quoted(fields[1])}: spaces at the ends are ignored"
    return ""


def _note_on_times(path: Path, rows: Sequence[LabelRow]) -> list[str]:
    """A line on rows without times among others with times: they stand for whole videos, or lost their times."""
    lines = [row.line for row in rows if row.time_start is None]
    if not lines or len(lines) == len(rows):
        return []
    have = "have" if len(lines) > 1 else "has"
    where = first_names([f"line {line}" for line in lines])
    return [f"{len(lines)} of {len(rows)} rows of {path} {have} no times: whole videos, not clips ({where})"]


def describe_clip(row: LabelRow) -> str:
    """A clip's id and times as written, for messages."""
    if row.time_start is None or row.time_end is None:
        return shortened(row.youtube_id)
    return f"{shortened(row.youtube_id)} {format_seconds(row.time_start)}-{format_seconds(row.time_end)} s"


def format_seconds(seconds: float) -> str:
    """Seconds, without a fraction that is zero: 84.0 is "84", 15.5 is "15.5"."""
    return str(int(seconds)) if seconds.is_integer() else format(Decimal(repr(seconds)), "f")


def label_text(rows: Sequence[LabelRow]) -> str:
    """The text of a label file that `read_labels` reads back as the same rows; it has times if any row has them."""
    timed = any(row.time_start is not None for row in rows)
    header = ["label", "youtube_id", "time_start", "time_end", "split"] if timed else ["label", "id", "split"]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        times = [format_seconds(t) if t is not None else "" for t in (row.time_start, row.time_end)]
        writer.writerow([row.label, row.youtube_id, *(times if timed else []), row.split])
    return file.getvalue()
