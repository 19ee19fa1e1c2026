"""Whether another column of a label file names other videos than the one that is read, as `file` beside a number."""

import re
from pathlib import Path

from common.errors import DataError
from common.text import composed, quoted
from data.labels.label_columns import VIDEO, Columns
from data.labels.made_from import stem
from data.store.video_suffixes import is_video

TIMES = re.compile(r"(?<=.)(_f?[0-9]{6,}(\.[0-9]+)?){2}$")  # of a clip, in the name of its file


class OtherNames:
    """Looks at the rows of a label file for a column whose videos are not those of the column that is read.

    Such a column is one of VIDEO or any other: an `id` may be a running number, of which each is by chance the name of
    another row's file. Names without a suffix may be titles, cameras or whole videos, and so may files in a column of
    any name be those from which the videos were made: these count only if one of them is the video of another row.
    """

    def __init__(self, path: Path, columns: Columns) -> None:
        self._path = path
        self._columns = columns
        unread = set(columns.unread)
        self._others = [place for place, name in enumerate(columns.names) if name in unread and place != columns.video]
        self._known = {place for place in self._others if columns.names[place] in VIDEO}
        self._files = set[int]()  # columns whose first value is a file of a video
        self._is_first = True
        self._names = set[str]()  # of the videos that are read
        self._differing: dict[int, dict[str, tuple[int, str, str]]] = {place: {} for place in self._others}

    def look(self, line: int, fields: list[str]) -> None:
        """Compare the names in a row."""
        if self._is_first:
            self._is_first = False
            self._files = {place for place in self._others if is_video(_last(fields[place]))}
            self._others = [place for place in self._others if place in self._known | self._files]
        if not self._others:
            return
        read = fields[self._columns.video]
        name = _name(read)
        self._names.add(name)
        for place in self._others:
            other = fields[place]
            if other and "://" not in other and (name_there := _name(other)) != name:
                self._differing[place].setdefault(name_there, (line, read, other))

    def check(self) -> None:
        """DataError if a column names other videos."""
        for place in self._others:
            differing = self._differing[place]
            is_certain = place in self._known & self._files
            found = next((each for name, each in differing.items() if is_certain or name in self._names), None)
            if found is None:
                continue
            line, read, other = found
            names = self._columns.names
            column, there = quoted(names[self._columns.video]), quoted(names[place])
            raise DataError(
                f"{self._path}, line {line}: the columns {column} and {there} name different videos, {quoted(read)} "
                f"and {quoted(other)}: remove or rename the one that does not name the row's video"
            )


def _last(path: str) -> str:
    return path.replace("\\", "/").rstrip("/").rpartition("/")[2]


def _name(path: str) -> str:
    """The name of a video without folders, suffix, the times of a clip, and the v_ before ids of YouTube."""
    return TIMES.sub("", composed(stem(_last(path))).casefold().removeprefix("v_"))
