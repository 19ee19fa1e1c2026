"""The project's label file: one CSV row for each video, with its class, its id, and optionally times and split."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import quoted
from data.labels.csv_file import Form, find_form, read_table
from data.labels.label_columns import Columns, find_columns, is_header, understood
from data.labels.label_row import (
    SPLITS,
    FolderNameError,
    LabelRow,
    UnknownSplitError,
    check_folder_name,
    check_name_length,
    clip_name,
    describe_clip,
    format_seconds,
    parse_seconds,
    parse_split,
)
from data.labels.other_names import OtherNames
from data.labels.other_units import OtherUnits
from data.labels.row_parser import RowParser
from data.labels.segment_names import ReadFile, check_repetition, is_segment_of_one_name, name_segments
from data.labels.text import first_names

__all__ = [
    "SPLITS",
    "FolderNameError",
    "LabelRow",
    "check_folder_name",
    "check_name_length",
    "clip_name",
    "describe_clip",
    "format_seconds",
    "label_text",
    "parse_seconds",
    "parse_split",
    "read_beside",
    "read_labels",
    "read_labels_and_notes",
    "read_together",
    "read_unnamed",
]


class LabelsAndNotes(NamedTuple):
    """The rows of a label file, and lines on what a user may not expect."""

    rows: list[LabelRow]
    notes: list[str]


def read_labels(path: Path, refused: list[tuple[str, str]] | None = None) -> list[LabelRow]:
    """Read a label file: a table with a class, an id or path of a video, and optional times or frames, and split.

    `label_columns` has the names of the columns; others are ignored. Clips whose times are equal in whole seconds get
    names with milliseconds. Raises DataError, which names the line, for a missing column, an empty file, an invalid
    value, a repeated row, and two videos or clips that would have the same folder. With a list `refused`, rows whose
    class or id can name no folder are left out; it gets their places and reasons.
    """
    file = _read(path, refused)[0]
    return name_segments([file])[0][0]


def read_labels_and_notes(path: Path) -> LabelsAndNotes:
    """As read_labels; and lines on how the file was understood, which columns are not read, rows without times."""
    return read_together([path])[0]


def read_together(paths: Sequence[Path]) -> list[LabelsAndNotes]:
    """As read_labels_and_notes, of several files whose videos share folders.

    All rows decide together which clips have names with milliseconds. DataError also for two rows of two files with one
    folder that are not the same clip.
    """
    read = [_read(path, None) for path in paths]
    rows, remarks = name_segments([file for file, _ in read])
    found = [LabelsAndNotes(of_file, notes) for of_file, (_, notes) in zip(rows, read, strict=True)]
    if found:
        found[-1].notes.extend(remarks)
    return found


def read_unnamed(path: Path) -> LabelsAndNotes:
    """As read_labels_and_notes, but several rows may have one folder, or be the same: the caller names the folders."""
    file, notes = _read(path, None, checked=False)
    return LabelsAndNotes(file.rows, notes)


def read_beside(path: Path, other: Path) -> LabelsAndNotes:
    """The rows of `path` alone, named as if they were read together with those of `other`."""
    file, notes = _read(path, None)
    ids = {row.youtube_id for row in file.rows if row.time_start is not None}
    if not ids:
        return LabelsAndNotes(name_segments([file])[0][0], notes)
    try:
        beside = [_read(other, None, ids)[0]]
    except DataError as error:
        beside = []
        notes.append(f"clips were not compared with those of {other}, which may have the same names: {error}")
    rows, remarks = name_segments([file, *beside])
    return LabelsAndNotes(rows[0], [*notes, *remarks])


def _read(
    path: Path, refused: list[tuple[str, str]] | None, ids: set[str] | None = None, checked: bool = True
) -> tuple[ReadFile, list[str]]:
    """The rows of a label file with names in whole seconds, and notes; with `ids`, only the rows of these videos."""
    form = find_form(path, is_header)
    columns = find_columns(path, read_table(path, form)[0])
    known = len(refused or ())
    try:
        return _read_rows(path, form, columns, refused, ids, "", checked)
    except UnknownSplitError:
        text = _other_than_splits(path, form, columns)
        if text is None:
            raise
        without = find_columns(path, columns.names, without_split=True)
        remark = f"{columns.names[columns.split or 0]!r} holds no splits, but {quoted(text)}"
    if refused:
        del refused[known:]
    return _read_rows(path, form, without, refused, ids, remark, checked)


def _read_rows(
    path: Path,
    form: Form,
    columns: Columns,
    refused: list[tuple[str, str]] | None,
    ids: set[str] | None,
    remark: str,
    checked: bool,
) -> tuple[ReadFile, list[str]]:
    _, lines = read_table(path, form)
    rows: list[LabelRow] = []
    parse = RowParser(path, columns, decimal_comma=form.separator != ",")
    seen: defaultdict[str, dict[str, LabelRow]] = defaultdict(dict)
    file = ReadFile(path, form, rows, set())
    others, units = OtherNames(path, columns), OtherUnits(path, columns)
    for line, fields in lines:
        if ids is not None and not parse.may_be_of(fields, ids):
            continue
        try:
            row = parse(line, fields)
        except FolderNameError as error:
            if refused is None:
                raise
            refused.append((f"{path.name}, line {line}", str(error).removeprefix(f"{path}, line {line}: ")))
            continue
        others.look(line, fields)
        units.look(line, fields)
        first = seen[row.label].setdefault(row.video_id, row)
        if first is not row and checked:
            if is_segment_of_one_name(first, row):
                file.shared.add((row.label, row.video_id))
            elif (row.label, row.video_id) not in file.shared:  # else name_segments checks all rows of the name
                check_repetition(file, first, row)
        rows.append(row)
    if not rows and not refused and ids is None:
        raise DataError(f"{path}: no rows under the header")
    others.check()
    notes = [*understood(path, form, columns, parse.paths, remark), *_note_on_times(path, rows), *units.note(rows)]
    return file, notes


def _other_than_splits(path: Path, form: Form, columns: Columns) -> str | None:
    """The first value in a column `subset` that is not of splits; None if it is one of splits, or named `split`."""
    place = columns.split
    if place is None or columns.names[place] == "split":
        return None
    values = dict.fromkeys(fields[place] for _, fields in read_table(path, form)[1])
    return None if any(SPLITS.get(value.lower()) for value in values) else next(filter(None, values))


def _note_on_times(path: Path, rows: Sequence[LabelRow]) -> list[str]:
    """A line on rows without times among others with times: they stand for whole videos, or lost their times."""
    lines = [row.line for row in rows if not row.is_part]
    if not lines or len(lines) == len(rows):
        return []
    have = "have" if len(lines) > 1 else "has"
    where = first_names([f"line {line}" for line in lines])
    return [f"{len(lines)} of {len(rows)} rows of {path} {have} no times: whole videos, not clips ({where})"]


def label_text(rows: Sequence[LabelRow]) -> str:
    """The text of a label file that `read_labels` reads back as the same rows; it has times if any row has them.

    Or frames: a file has one or the other (DataError).
    """
    timed = any(row.time_start is not None for row in rows)
    framed = any(row.frames is not None for row in rows)
    if timed and framed:
        raise DataError("a label file has times in seconds or in frames, not both")
    columns = ["time_start", "time_end"] if timed else ["start_frame", "end_frame"]
    header = ["label", "youtube_id", *columns, "split"] if timed or framed else ["label", "id", "split"]
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        times = [format_seconds(t) if t is not None else "" for t in (row.time_start, row.time_end)]
        times = times if timed else [str(frame) for frame in row.frames or ("", "")] if framed else []
        writer.writerow([row.label, row.source or row.youtube_id, *times, row.split])
    return file.getvalue()
