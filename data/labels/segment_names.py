"""The folder names of clips: in whole seconds, or in milliseconds where several clips are equal in whole seconds.

All rows that are read together decide which clips have a name with milliseconds, and all clips of such a name have one.
A clip alone keeps its name in whole seconds, so that the folders of a dataset stay valid; but if a folder with its
milliseconds is on disk, as other label files were read with these at its conversion, that one is taken. The folder in
whole seconds is never taken for a clip that shares its name.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import quoted, shortened
from data.labels.csv_file import Form, fields_as_written
from data.labels.label_row import LabelRow, clip_name, clip_name_in_milliseconds, describe_clip
from data.labels.text import counted, first_names

Key = tuple[str, str]  # class and name of a folder
REMEDY = "python -m data.prepare.folder converts such videos, gives them names of their own and writes the label files"


class ReadFile(NamedTuple):
    """The rows of a label file, with names in whole seconds, and the names that several clips of it share."""

    path: Path
    form: Form
    rows: list[LabelRow]
    shared: set[Key]


def is_segment_of_one_name(first: LabelRow, row: LabelRow) -> bool:
    """Whether two rows of one class and name are different clips of one video."""
    return (
        first.youtube_id == row.youtube_id
        and first.time_start is not None
        and row.time_start is not None
        and (first.time_start, first.time_end) != (row.time_start, row.time_end)
    )


def check_repetition(file: ReadFile, first: LabelRow, row: LabelRow) -> None:
    """Raise DataError for two rows of a file with one folder. The same clip in two splits is reported later instead."""
    _check_same_clip((file.path, first), (file.path, row))
    if row.split == first.split:
        video = f"{quoted(row.label)}, {shortened(row.video_id)}"
        raise DataError(
            f"{file.path}: line {row.line} repeats line {first.line}: {video}; remove one"
            f"{_note_on_spaces(file, first, row)}"
        )


def _check_same_clip(first: tuple[Path, LabelRow], second: tuple[Path, LabelRow], unit: str = "whole seconds") -> None:
    """Raise DataError unless two rows of one class and folder are of the same clip of the same video."""
    (path, one), (other, row) = first, second
    files = are_other_files(one.source, row.source)
    if not files and (one.youtube_id, one.time_start, one.time_end) == (row.youtube_id, row.time_start, row.time_end):
        return
    where = f"line {one.line} of {path} and line {row.line} of {other}"
    if path == other:
        where = f"{path}: lines {one.line} and {row.line}"
    if files:
        raise DataError(
            f"{where} are two videos for one folder: {quoted(one.source)} and {quoted(row.source)} of class "
            f"{quoted(row.label)} are both {shortened(row.video_id)}; {REMEDY}"
        )
    raise DataError(
        f"{where} are two clips of one folder: {describe_clip(one)} and {describe_clip(row)} of class "
        f"{quoted(row.label)} are both {shortened(row.video_id)} in {unit}; remove one"
    )


def are_other_files(one: str, other: str) -> bool:
    """Whether two paths cannot be of one file: neither is the end of the other."""
    if not one or not other or one == other:
        return False
    return any(a != b for a, b in zip(reversed(one.split("/")), reversed(other.split("/")), strict=False))


def _note_on_spaces(file: ReadFile, first: LabelRow, row: LabelRow) -> str:
    """How two rows with one folder were written, if they differ in the spaces at the ends of their fields."""
    for fields in zip(*fields_as_written(file.path, [first.line, row.line], file.form), strict=False):
        if fields[0] != fields[1] and fields[0].strip() == fields[1].strip() and fields[0].strip():
            return f". They are written {quoted(fields[0])} and {quoted(fields[1])}: spaces at the ends are ignored"
    return ""


def name_segments(files: Sequence[ReadFile]) -> tuple[list[list[LabelRow]], list[str]]:
    """The rows of each file with their final names, and a line on those with milliseconds.

    DataError for rows with one folder that are not the same clip, and for a clip that is twice in one file and split.
    """
    shared = set[Key]().union(*(file.shared for file in files), _shared_by_files(files))
    if not shared:
        return [file.rows for file in files], []
    named = [list(file.rows) for file in files]
    groups: dict[Key, list[tuple[int, int]]] = {key: [] for key in sorted(shared)}  # the places of each name's rows
    for number, rows in enumerate(named):
        for place, row in enumerate(rows):
            if (row.label, row.video_id) in shared:
                groups[row.label, row.video_id].append((number, place))
    clips: dict[Key, tuple[Path, LabelRow]] = {}  # the first of each new name
    for places in groups.values():
        for (number, place), new in zip(places, _renamed(files, places), strict=True):
            named[number][place] = new
            clips.setdefault((new.label, new.video_id), (files[number].path, new))
    for file, rows in zip(files, named, strict=True):
        for row in rows:
            if first := clips.get((row.label, row.video_id)):
                _check_same_clip(first, (file.path, row), "milliseconds")
    what = f"{counted(len(clips), 'clip')} of {counted(len(shared), 'name')}"
    examples = first_names([f"{label}/{name}" for label, name in clips])
    return named, [f"{what} in whole seconds: their folders are named with milliseconds, {examples}"]


def _renamed(files: Sequence[ReadFile], places: Sequence[tuple[int, int]]) -> list[LabelRow]:
    """The rows that have one name in whole seconds, with names in milliseconds. DataError as by name_segments."""
    sources: dict[str, tuple[Path, LabelRow]] = {}
    seen: dict[tuple[int, str, str], LabelRow] = {}  # of each file, name and split
    renamed = []
    of_group = [(files[number], files[number].rows[place]) for number, place in places]
    clip = next((file.path, row) for file, row in of_group if row.time_start is not None)
    for (number, _), (file, row) in zip(places, of_group, strict=True):
        if row.time_start is None or row.time_end is None:  # its id is this name
            _check_same_clip(clip, (file.path, row))
        for other in sources.values() if row.source not in sources else ():
            if are_other_files(other[1].source, row.source):
                _check_same_clip(other, (file.path, row))
        sources.setdefault(row.source, (file.path, row))
        assert row.time_start is not None and row.time_end is not None
        new = row._replace(video_id=clip_name_in_milliseconds(row.youtube_id, row.time_start, row.time_end))
        first = seen.setdefault((number, new.video_id, new.split), new)
        if first is not new:
            _check_same_clip((file.path, first), (file.path, new), "milliseconds")
            check_repetition(file, first, new)
        renamed.append(new)
    return renamed


def _shared_by_files(files: Sequence[ReadFile]) -> Iterator[Key]:
    """The names that different clips of several files have. DataError for other rows that would share a folder."""
    index: dict[str, dict[str, tuple[Path, LabelRow]]] = {}  # by name and class, but of the largest file
    ordered = sorted(files, key=lambda file: len(file.rows))
    for number, file in enumerate(ordered[:-1]):
        for row in file.rows:
            index.setdefault(row.video_id, {}).setdefault(row.label, (file.path, row))
        for row in ordered[number + 1].rows:
            first = index[row.video_id].get(row.label) if row.video_id in index else None
            if first is None:
                continue
            if is_segment_of_one_name(first[1], row):
                yield row.label, row.video_id
            elif (row.label, row.video_id) not in file.shared:
                _check_same_clip(first, (ordered[number + 1].path, row))


def has_milliseconds(name: str) -> bool:
    """Whether a name looks like that of a clip with milliseconds; fast, for all names of a dataset."""
    return name[-4:-3] == "."


def as_on_disk(rows: Sequence[LabelRow], jpg: Path) -> list[LabelRow]:
    """The rows, with the names in milliseconds of those clips that have such a folder in `jpg/<class>`."""
    there: dict[str, set[str]] = {}
    for label in {row.label for row in rows if row.time_start is not None}:
        with suppress(OSError):  # none yet, or none that can be written either
            there[label] = set(filter(has_milliseconds, os.listdir(jpg / label)))  # noqa: PTH208 (a Path for each name)
    found = []
    for row in rows:
        names = there.get(row.label)
        if names and row.time_start is not None and row.time_end is not None:
            name = clip_name_in_milliseconds(row.youtube_id, row.time_start, row.time_end)
            row = row._replace(video_id=name) if name in names else row
        found.append(row)
    return found


def names_of_folder(row: LabelRow) -> Iterator[str]:
    """The names that the folder of a row's video may have, the first that is there is its own.

    A row whose id was written with a suffix of videos may mean a folder that is named with it. A clip that shares its
    name in whole seconds with no other row that was read may do so with rows of other files.
    """
    if row.time_start is None and not row.source:
        yield row.video_id
        return
    rest = row.video_id[len(row.youtube_id) :]
    written = row.source.rpartition("/")[2]
    if row.time_start is not None and row.time_end is not None:
        in_seconds = clip_name("", row.time_start, row.time_end)
        in_milliseconds = clip_name_in_milliseconds("", row.time_start, row.time_end)
        rests = [in_milliseconds, rest] if rest == in_seconds else [rest]
    else:
        rests = [rest]
    for name in (written, row.youtube_id) if written else (row.youtube_id,):
        yield from (name + each for each in rests)
