"""From the fields of a label file's row to a LabelRow."""

import os
from collections.abc import Set
from functools import partial
from pathlib import Path

from common.errors import DataError
from common.text import quoted, shortened
from data.labels.label_columns import Columns
from data.labels.label_row import (
    SPLITS,
    FolderNameError,
    LabelRow,
    check_folder_name,
    clip_name,
    frames_name,
    parse_frame,
    parse_split,
    parse_time,
)
from data.store.video_suffixes import is_video

_row = partial(tuple.__new__, LabelRow)  # of all values: LabelRow(...) takes a tenth of the time of reading a row


class RowParser:
    """Makes LabelRows of fields. Values that many rows share are checked once and kept as one object."""

    def __init__(self, path: Path, columns: Columns, decimal_comma: bool) -> None:
        self.path = path
        self.columns = columns
        self.paths = 0  # rows with a path, or a suffix of videos
        self._decimal_comma = decimal_comma
        self._are_paths = not columns.is_id
        self._start = "" if columns.start is None else columns.names[columns.start]
        self._end = "" if columns.end is None else columns.names[columns.end]
        self._labels: dict[str, str] = {}
        self._seconds: dict[str, float] = {}
        self._suffixes: dict[tuple[float, float], str] = {}

    def __call__(self, line: int, fields: list[str]) -> LabelRow:
        """The row of the fields on a line. Raises DataError; FolderNameError for a class or id that names no folder."""
        label_column, id_column, start_column, end_column, split_column, unit, _ = self.columns
        label = self._labels.get(fields[label_column]) or self._new_label(line, fields[label_column])
        youtube_id, source = fields[id_column], ""
        if self._are_paths or not youtube_id or "." in youtube_id or "/" in youtube_id or "\0" in youtube_id:
            youtube_id, source = self._parse_path(line, youtube_id)
        split = ""
        if split_column is not None:
            text = fields[split_column]
            split = SPLITS[text] if text in SPLITS else parse_split(text, self._place(line))
        if start_column is None or end_column is None:
            return _row((label, youtube_id, split, youtube_id, None, None, line, source, None))
        start_text, end_text = fields[start_column], fields[end_column]
        if not start_text and not end_text:
            return LabelRow(label, youtube_id, split, youtube_id, None, None, line, source)
        if unit == "frames":
            frames = self._frames(line, start_text, end_text)
            name = frames_name(youtube_id, frames)
            return LabelRow(label, name, split, youtube_id, None, None, line, source, frames)
        start, end = self._time(start_text, self._start, line), self._time(end_text, self._end, line)
        if end <= start:
            raise self._not_after(line, start_text, end_text)
        suffix = self._suffixes.get((start, end))
        if suffix is None:
            suffix = self._suffixes[start, end] = clip_name("", start, end)
        return _row((label, youtube_id + suffix, split, youtube_id, start, end, line, source, None))

    def may_be_of(self, fields: list[str], ids: Set[str]) -> bool:
        """Whether the row may be of a video with one of these ids; fast, for millions of other rows."""
        text = fields[self.columns.video]
        return text in ids or self._are_paths or "." in text or "/" in text

    def _new_label(self, line: int, text: str) -> str:
        check_folder_name(text, "label", self._place(line))
        return self._labels.setdefault(text, text)

    def _parse_path(self, line: int, text: str) -> tuple[str, str]:
        """The id in a path or a file's name, and the path, with `/`; an empty one if the text is the id alone.

        Nothing is looked up. A backslash may be a letter of an id; it parts folders in a path or before a video's name.
        """
        has_backslashes = "\\" in text and (self._are_paths or is_video(text))
        path = text.replace("\\", "/") if has_backslashes else text
        parts = [part for part in path.split("/") if part not in ("", ".")] if "/" in path else [path]
        last = parts[-1] if parts else ""
        name = os.path.splitext(last)[0] if is_video(last) else last  # noqa: PTH122 (there are millions of rows)
        if not name or "\0" in text or name in (".", ".."):
            if text and not name:
                raise FolderNameError(f"{self._place(line)}: id {quoted(text)} names no video")
            check_folder_name("\0" if "\0" in text else name, "id", self._place(line))
        if len(parts) == 1 and name == last:
            return name, ""
        self.paths += 1
        return name, "/".join(parts)

    def _time(self, text: str, column: str, line: int) -> float:
        seconds = self._seconds.get(text)
        if seconds is None:
            seconds = self._seconds[text] = parse_time(text, column, self._place(line), self._decimal_comma)
        return seconds

    def _frames(self, line: int, start_text: str, end_text: str) -> tuple[int, int]:
        place = self._place(line)
        start, end = parse_frame(start_text, self._start, place), parse_frame(end_text, self._end, place)
        if end <= start:
            raise self._not_after(line, start_text, end_text)
        return start, end

    def _not_after(self, line: int, start: str, end: str) -> DataError:
        what = f"{self._end} {shortened(end)} is not after {self._start} {shortened(start)}"
        return DataError(f"{self._place(line)}: {what}")

    def _place(self, line: int) -> str:
        return f"{self.path}, line {line}"
