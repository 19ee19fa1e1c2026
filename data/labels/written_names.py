"""Which of two folders is a row's: the one named as its file is written, or the one named by its id.

Of the row run/c1.avi these are `c1.avi` and `c1`. Both may be there: beside c1.avi may lie c1.avi.mp4, whose id is
c1.avi. Then the other rows tell, or else what the databases were made from. Two rows that name different files never
mean one folder.
"""

import threading
from collections.abc import Callable, Iterable, Sequence

from data.labels.label_row import LabelRow, written_name
from data.labels.text import counted, first_names
from data.store.video_suffixes import is_video

Place = tuple[str, str]  # a class folder and the name of a video in it


class WrittenNames:
    """Chooses among the folders of a row. `others` gives all rows of the label files; it is called once, if at all."""

    def __init__(self, others: Callable[[], Iterable[LabelRow]]) -> None:
        self._others = others
        self._lock = threading.Lock()  # rows are looked for by several threads
        self._found: tuple[set[Place], set[Place]] | None = None
        self._doubtful: dict[str, None] = {}

    def choose(self, row: LabelRow, there: Sequence[Place], is_file: Callable[[str, str, str], bool]) -> Place | None:
        """The row's folder of those that are `there`, in the order of `names_of_folder`; None if they are another's.

        `is_file(folder, name, written)` says whether a video `name` is, or was made from, the file that the row writes.
        """
        written = written_name(row)
        if not there or written == row.youtube_id:
            return there[0] if there else None
        as_written = [place for place in there if place[1].startswith(written)]
        by_id = [place for place in there if place not in as_written]
        if not as_written:
            return by_id[0]
        ids, plain = self._known
        if (row.label, written) in ids:  # it is the folder of a row c1.avi.mp4
            return by_id[0] if by_id else None
        if not by_id or (row.label, row.youtube_id) in plain:  # the other one is the folder of a row c1
            return as_written[0]
        of_file = [place for place in (by_id[0], as_written[0]) if is_file(*place, written)]
        if len(of_file) == 1:
            return of_file[0]
        taken, left = (by_id[0], as_written[0]) if "/" in row.source else (as_written[0], by_id[0])
        self._doubtful[f"{'/'.join(taken)} for {row.source}, not {left[1]}"] = None
        return taken

    @property
    def remarks(self) -> list[str]:
        """A line on the rows of which both folders are there and nothing tells which is meant."""
        if not self._doubtful:
            return []
        number = counted(len(self._doubtful), "row")
        return [f"two folders may be meant by {number}; read are {first_names(sorted(self._doubtful), 200)}"]

    @property
    def _known(self) -> tuple[set[Place], set[Place]]:
        """Class and id of the rows whose ids look like names of files, and of those written without a suffix."""
        with self._lock:
            if self._found is None:
                ids, plain = set(), set()
                for row in self._others():
                    if written_name(row) == row.youtube_id:
                        plain.add((row.label, row.youtube_id))
                    elif is_video(row.youtube_id):
                        ids.add((row.label, row.youtube_id))
                self._found = ids, plain
            return self._found
