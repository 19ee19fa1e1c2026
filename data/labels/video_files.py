"""The search for videos in video files: <dataset>/videos/<class>/<video id>.<suffix>.

A row with times or frames is a clip that was cut beforehand, named as the folder of its database would be, or else a
part of the whole video `<youtube_id>.*` or, as HACS names them, `v_<youtube_id>.*`.
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.errors import DataError
from common.text import shortened
from data.labels.class_folders import ClassFolders, list_names, modification_times
from data.labels.clip_length import cut_times, is_too_long, length_problem
from data.labels.index_cache import IndexCache, Indexed
from data.labels.label_row import LabelRow
from data.labels.text import counted, first_names, is_or_are
from data.labels.video_list import FoundVideo
from data.store.keyframe_index import FrameIndex
from data.store.video_container import VideoError
from data.store.video_source import VideoPart
from data.store.video_suffixes import is_video

SAME = 0.05  # seconds by which times may differ, at most
AGAIN = "python -m data.prepare.resize VIDEOS DATASET --labels FILE --replace makes it again"


class _Place(NamedTuple):
    """Where a row's video is."""

    path: str  # of the file, below the folder of the class folders
    name: str  # of the video, as the folder of its database would be named
    is_whole: bool  # the row's times or frames say which part of the file it is


class VideoFolders(ClassFolders):
    """The class folders that hold video files; `videos` are the files' names without suffix.

    `places` are the folders that may keep the indexes of the files.
    """

    reads_files = True
    remedy = "Put its videos there"

    def __init__(
        self,
        root: Path,
        classes: Sequence[str],
        places: Sequence[Path],
        others: Callable[[], Iterable[LabelRow]] = lambda: (),
    ) -> None:
        self._files: dict[str, dict[str, list[str]]] = {}  # class folder -> name without suffix -> names
        self.indexes = IndexCache(root, places)
        self._too_long: dict[str, str] = {}  # path of a clip that was cut beforehand -> how it differs from its times
        self._warned: dict[str, str] = {}  # whole files -> what they have less of than their headers announce
        super().__init__(root, classes, others)

    @staticmethod
    def sought(place: Path) -> str:
        """What is looked for at the place of a video, for messages."""
        return f"{place}.mp4 (or another suffix of videos)"

    def _list(self, folder: str) -> tuple[tuple[int, int], frozenset[str]]:
        times = modification_times(self.jpg / folder)
        found: dict[str, list[str]] = {}
        for name in list_names(self.jpg / folder):
            if is_video(name):
                found.setdefault(name[: name.rindex(".")], []).append(name)
        self._files[folder] = found
        return times, frozenset(found)

    @property
    def remarks(self) -> Sequence[str]:
        """Lines for the log."""
        return [*super().remarks, *self.indexes.remarks, *self._line_on_lengths(), *self._line_on_losses()]

    def _line_on_lengths(self) -> list[str]:
        if not self._too_long:
            return []
        named = first_names([f"({path}) {why}" for path, why in sorted(self._too_long.items())], 200)
        number = counted(len(self._too_long), "video file")
        return [f"{number} {is_or_are(self._too_long)} longer than the times of the clip: {named}"]

    def _line_on_losses(self) -> list[str]:
        if not self._warned:
            return []
        first = min(self._warned)
        number = counted(len(self._warned), "video file")
        what = f"{number} may have lost frames, or a wrong header"
        return [f"{what}: such as {shortened(first)}, {self._warned[first]}"]

    def find_all(self, rows: Sequence[LabelRow]) -> list[FoundVideo | None]:
        """Find each row's video and index its file; None if it is not there. DataError if two files may be meant."""
        places = [self._place(row) for row in rows]
        indexed = self.indexes.of([place.path for place in places if place])
        for place in places:
            if place and not place.is_whole and (warning := indexed[place.path].warning):
                self._warned[place.path] = warning
        unpack = lru_cache(maxsize=1024)(FrameIndex.unpack)  # many clips may lie in one file
        for row, place in zip(rows, places, strict=True):
            if place and not place.is_whole and (why := _too_long(row, place.name, indexed[place.path], unpack)):
                self._too_long[place.path] = why
        return [
            None if place is None else _found(row, place, indexed[place.path], unpack)
            for row, place in zip(rows, places, strict=True)
        ]

    def _place(self, row: LabelRow) -> _Place | None:
        """Where a row's video is; DataError if two files may be meant."""
        if found := self.find(row):  # a clip that was cut beforehand, or the whole video if that is meant
            return _Place(self._path(row, *found), found[1], False)
        if row.is_part:
            for name in (row.youtube_id, f"v_{row.youtube_id}"):
                if folder := self.locate(row.label, name):
                    return _Place(self._path(row, folder, name), row.video_id, True)
        return None

    def _is_file(self, folder: str, name: str, written: str) -> bool:
        return written in self._files[folder][name]

    def _path(self, row: LabelRow, folder: str, name: str) -> str:
        """The path of the only file of a name, or of the one of several that the row writes with its suffix."""
        files = sorted(self._files[folder][name])
        files = [file for file in files if file == row.source.rpartition("/")[2]] or files
        if len(files) > 1:
            both = " and ".join(str(self.jpg / folder / file) for file in files)
            raise DataError(f"{both} may each be {row.label}/{row.video_id}: remove or rename all but one")
        return f"{folder}/{files[0]}"


def _found(row: LabelRow, place: _Place, indexed: Indexed, unpack: Callable[[bytes, int], FrameIndex]) -> FoundVideo:
    folder = place.path.partition("/")[0]
    first = count = 0
    problem = indexed.problem
    if not problem:
        try:
            if place.is_whole:
                first, count, problem = _part(row, unpack(indexed.packed, indexed.size))
            else:
                count = FrameIndex.frames_in(indexed.packed)
                problem = _of_another_part(row, indexed, unpack)
        except VideoError as error:
            problem = str(error)
    if problem:
        return FoundVideo(folder, place.name, 0, f"({place.path}) {problem}")
    part = VideoPart(place.path, indexed.size, indexed.mtime, indexed.packed, first, count)
    return FoundVideo(folder, place.name, count, "", part)


def _of_another_part(row: LabelRow, indexed: Indexed, unpack: Callable[[bytes, int], FrameIndex]) -> str:
    """Why a file that data.prepare.resize cut out is not the part of the row; empty if it is, or does not say.

    Times that differ by less than half a frame are the same: they may have been rounded.
    """
    cut = indexed.cut
    if cut is None:
        return ""
    if row.frames is not None and cut.first_frame >= 0 and row.frames != (cut.first_frame, cut.end_frame):
        was, now = f"frames {cut.first_frame} to {cut.end_frame}", f"{row.frames[0]} to {row.frames[1]}"
    elif row.time_start is not None and row.time_end is not None and cut.first_frame < 0:
        off = max(abs(row.time_start - cut.start), abs(row.time_end - cut.end))
        if not off or off <= min(unpack(indexed.packed, indexed.size).step / 2 or SAME, SAME):
            return ""
        was, now = f"{cut.start:.10g} to {cut.end:.10g} s", f"{row.time_start:.10g} to {row.time_end:.10g} s"
    else:
        return ""
    return f"was cut from {was}, the labels say {now}; {AGAIN}"


def _too_long(row: LabelRow, name: str, indexed: Indexed, unpack: Callable[[bytes, int], FrameIndex]) -> str:
    """How a clip that was cut beforehand is longer than its row or name says; empty if it is not.

    One that data.prepare.resize cut out says its times itself.
    """
    if indexed.problem or indexed.cut is not None:
        return ""
    cut = cut_times(row, name)
    if cut is None or not is_too_long(FrameIndex.end_in(indexed.packed), cut):  # no frames last longer than that
        return ""
    with suppress(VideoError):
        index = unpack(indexed.packed, indexed.size)
        seconds = float(index.times[-1] - index.times[0]) + index.step
        return length_problem(seconds, cut) if is_too_long(seconds, cut) else ""
    return ""


def _part(row: LabelRow, index: FrameIndex) -> tuple[int, int, str]:
    """The row's part of a video: its first frame, their number, and why it cannot be used, as a conversion says it.

    Annotations often end up to a second late: a video may end before its clip, but not before the clip's middle.
    """
    total = len(index.times)
    if row.frames is not None:
        start, end = row.frames
        count = max(0, min(end, total) - start)
        short = f"has {total} frames: the clip should be frames {start} to {end}"
        return start, count, short if 2 * count < end - start or not count else ""
    assert row.time_start is not None and row.time_end is not None
    begin, until = row.time_start, row.time_end
    first, count = index.part(begin, until)
    if not count:
        return 0, 0, f"has no frames from {begin:g} to {until:g} s: it lasts until {index.end:.2f} s"
    if not (np.diff(index.times[first : first + count]) >= 0).all():
        return 0, 0, "has frames whose times go back: the clip cannot be cut out"
    if first + count == total and index.end < begin + 0.499 * (until - begin):
        late = f"ends at {index.end:.2f} s, before the middle of the clip, which should last until {until:g} s"
        return 0, 0, late
    return first, count, ""
