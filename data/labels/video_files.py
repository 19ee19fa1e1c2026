"""The search for videos in video files: <dataset>/videos/<class>/<video id>.<suffix>.

A row with times is a clip that was cut beforehand, named as the folder of its frames would be, or else a part of the
whole video `<youtube_id>.*` or, as HACS names them, `v_<youtube_id>.*`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from common.errors import DataError
from data.labels.class_folders import ClassFolders, list_names, modification_times
from data.labels.index_cache import IndexCache, Indexed
from data.labels.label_file import LabelRow
from data.labels.video_list import FoundVideo
from data.store.keyframe_index import FrameIndex
from data.store.video_source import VideoPart
from data.store.video_suffixes import is_video


class VideoFolders(ClassFolders):
    """The class folders that hold video files; `videos` are the files' names without suffix.

    `places` are the folders that may keep the indexes of the files.
    """

    reads_files = True
    remedy = "Put its videos there"

    def __init__(self, root: Path, classes: Sequence[str], places: Sequence[Path]) -> None:
        self._files: dict[str, dict[str, list[str]]] = {}  # class folder -> name without suffix -> names
        self.indexes = IndexCache(root, places)
        super().__init__(root, classes)

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
        return self.indexes.remarks

    def find(self, rows: Sequence[LabelRow]) -> list[FoundVideo | None]:
        """Find each row's video and index its file; None if it is not there. DataError if two files may be meant."""
        places = [self._place(row) for row in rows]
        indexed = self.indexes.of([place[0] for place in places if place])
        unpack = lru_cache(maxsize=1024)(FrameIndex.unpack)  # many clips may lie in one file
        return [
            None if place is None else _found(row, *place, indexed[place[0]], unpack)
            for row, place in zip(rows, places, strict=True)
        ]

    def _place(self, row: LabelRow) -> tuple[str, bool] | None:
        """The row's file below the folder of the class folders, and whether the video is a part of it."""
        for name, is_whole in _names(row):
            folder = self.locate(row.label, name)
            if folder is not None:
                files = sorted(self._files[folder][name])
                if len(files) > 1:
                    both = " and ".join(str(self.jpg / folder / file) for file in files)
                    raise DataError(f"{both} may each be {row.label}/{row.video_id}: remove or rename all but one")
                return f"{folder}/{files[0]}", is_whole
        return None


def _names(row: LabelRow) -> Iterator[tuple[str, bool]]:
    """The names that a row's file may have, and whether the row's times are then those of a part."""
    yield row.video_id, False
    if row.time_start is not None and row.time_end is not None:
        yield row.youtube_id, True
        yield f"v_{row.youtube_id}", True


def _found(
    row: LabelRow, path: str, is_whole: bool, indexed: Indexed, unpack: Callable[[bytes], FrameIndex]
) -> FoundVideo:
    folder = path.partition("/")[0]
    if indexed.problem:
        return FoundVideo(folder, row.video_id, 0, f"({path}) {indexed.problem}")
    index = unpack(indexed.packed)
    first, count, problem = 0, len(index.times), ""
    if is_whole:
        assert row.time_start is not None and row.time_end is not None
        first, count = index.part(row.time_start, row.time_end)
        problem = _why_no_part(index, row.time_start, row.time_end, first, count)
    if problem:
        return FoundVideo(folder, row.video_id, 0, f"({path}) {problem}")
    part = VideoPart(path, indexed.size, indexed.mtime, indexed.packed, first, count)
    return FoundVideo(folder, row.video_id, count, "", part)


def _why_no_part(index: FrameIndex, start: float, end: float, first: int, count: int) -> str:
    """Why a part of a video cannot be used, as a conversion says it; empty if it can.

    Annotations often end up to a second late: a video may end before its clip, but not before the clip's middle.
    """
    if not count:
        return f"has no frames from {start:g} to {end:g} s: it lasts until {index.end:.2f} s"
    if not (np.diff(index.times[first : first + count]) >= 0).all():
        return "has frames whose times go back: the clip cannot be cut out"
    if first + count == len(index.times) and index.end < start + 0.499 * (end - start):
        return f"ends at {index.end:.2f} s, before the middle of the clip, which should last until {end:g} s"
    return ""
