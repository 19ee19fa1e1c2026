"""Which columns of a label file hold the class, the video, its times or frames, and its split."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import quoted, shortened
from data.labels.csv_file import UTF16, Form, check_single
from data.labels.text import counted, first_names
from data.labels.time_columns import columns_of_times, pair_of_times

# The names of a column, the first of which is taken.
CLASS = ("label", "class", "action")
IDS = ("youtube_id", "id")
VIDEO = (*IDS, "video", "video_id", "filename", "file", "path", "name")
SPLIT = ("split", "subset")
OWN = {"label", *IDS, "time_start", "time_end", "split"}  # the names of the project's own files
OFFICIAL_HACS = "classname"
SEPARATED = {",": "','", ";": "';'", "\t": "tabs"}
UNITS = {"seconds": "seconds", "frames": "frames, from 0; the end is not included"}
MOST_COLUMNS = 30  # that a line names: one of them may hold times under a name that nothing here knows


class Columns(NamedTuple):
    """The places of the columns in a row, and what the others are."""

    label: int
    video: int
    start: int | None
    end: int | None
    split: int | None
    unit: str  # of start and end: "seconds" or "frames"; empty if there are none
    names: tuple[str, ...]  # of all columns

    @property
    def unread(self) -> list[str]:
        """The names of the columns that are not read."""
        read = {self.label, self.video, self.start, self.end, self.split}
        return [name for place, name in enumerate(self.names) if name and place not in read]

    @property
    def is_id(self) -> bool:
        """Whether the video's column holds an id by its name; others may hold a path, in any system's form."""
        return self.names[self.video] in IDS


def is_header(columns: Sequence[str]) -> bool:
    """Whether columns with these names, in lower case, may be those of a label file."""
    return OFFICIAL_HACS in columns or not (set(CLASS).isdisjoint(columns) or set(VIDEO).isdisjoint(columns))


def find_columns(path: Path, columns: Sequence[str], without_split: bool = False) -> Columns:
    """Find the columns by their names, in lower case. DataError if one is missing or it is not clear which is meant.

    Times under names that are not certain are an error, too: whole videos would be taken for the clips.
    """
    if OFFICIAL_HACS in columns:  # its `label` is 1 or -1
        raise DataError(f"{path}: this is an official HACS file; convert it with python -m data.prepare.labels hacs")
    label, video, split = (_first(names, columns) for names in (CLASS, VIDEO, () if without_split else SPLIT))
    pair = pair_of_times(columns)
    start, end, unit = pair or ("", "", "")
    known = [name for name in (label, video, start, end, split, "time_start", "time_end") if name]
    check_single(path, columns, list(dict.fromkeys(known)))
    uncertain = columns_of_times([name for name in columns if name not in known], only_certain=bool(pair))
    if uncertain:
        harm = f" beside {start} and {end}" if pair else ", and whole videos taken for the clips"
        remedy = "remove them" if pair else "name them time_start and time_end, in seconds, or remove them"
        raise DataError(f"{path}: the times in the columns {first_names(uncertain)} would not be read{harm}: {remedy}")
    missing = [
        name
        for name, is_missing in (
            ("label, class or action", not label),
            ("youtube_id, id, video, video_id, filename, file, path or name", not video),
            ("time_start", not pair and "time_end" in columns),
            ("time_end", not pair and "time_start" in columns),
        )
        if is_missing
    ]
    if missing:
        raise DataError(
            f"{path}: no column {', no column '.join(missing)}; its header is {quoted(', '.join(columns))}. A "
            "label file needs a header such as label,id or class,filename,start,end,split; official annotations are "
            "converted by python -m data.prepare.labels"
        )

    def place(name: str) -> int | None:
        return columns.index(name) if name else None

    return Columns(
        columns.index(label), columns.index(video), place(start), place(end), place(split), unit, tuple(columns)
    )


def _first(names: Sequence[str], columns: Sequence[str]) -> str:
    return next((name for name in names if name in columns), "")


def understood(path: Path, form: Form, columns: Columns, paths: int, remark: str) -> list[str]:
    """A line on how a file was understood, if it is not written as the project's own are or has columns not read.

    `paths` is the number of its rows that name their video by a path or with a suffix, and `remark` what else to say.
    """
    unread = columns.unread
    names = ", ".join(map(shortened, unread[:MOST_COLUMNS])) + (", ..." if len(unread) > MOST_COLUMNS else "")
    rest = [f"not read: {counted(len(unread), 'column')} ({names})"] if unread else []
    rest += [remark] if remark else []
    is_utf16 = form.encoding == UTF16
    read = {columns.names[place] for place in columns[:5] if place is not None}
    if form.separator == "," and not is_utf16 and not paths and read <= OWN:
        return [f"{path}: {'; '.join(rest)}"] if rest else []
    video = f"video in {columns.names[columns.video]!r}"
    if paths:
        video += f" (of {counted(paths, 'row')} a path or file name: its last part without suffix is the id)"
    parts = [f"class in {columns.names[columns.label]!r}", video]
    if columns.start is not None and columns.end is not None:
        what = "frames" if columns.unit == "frames" else "times"
        start, end = columns.names[columns.start], columns.names[columns.end]
        parts.append(f"{what} in {start!r}, {end!r} ({UNITS[columns.unit]})")
    if columns.split is not None:
        parts.append(f"split in {columns.names[columns.split]!r}")
    written = [f"{SEPARATED[form.separator]} between columns"] if form.separator != "," else []
    written += ["UTF-16"] if is_utf16 else []
    return [f"{path}: {'; '.join([', '.join(written)] * bool(written) + [', '.join(parts), *rest])}"]
