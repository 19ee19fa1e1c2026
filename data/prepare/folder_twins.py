"""Folders that hold the same recordings: editions of a dataset, or the views of several cameras.

Their files have other bytes, but the same paths below these folders and the same lengths.
"""

import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from math import comb
from pathlib import Path
from typing import NamedTuple

import av

from common.errors import DataError
from data.labels.class_folders import late_progress
from data.prepare.file_names import is_frame
from data.prepare.folder_shared import FEWEST, Key, Shared, shared_paths
from data.prepare.folder_siblings import OF_CLASS, siblings_of
from data.prepare.worker_pool import run_jobs
from data.store.origin import file_content
from data.store.video_file import open_video

SAMPLE = 24  # pairs of videos of two folders that are compared
MOST_FILES = 500  # that are opened in a dataset: of many folders with names such as 001.mp4, the rest is not compared
MOST_FOLDERS = 1000  # that are compared with each other
MISSES = 10  # one of so many pairs may differ, such as a file that was cut short
CHANCE = 1e-3  # that the lengths agree in any two of the folders though the recordings are others
SECONDS = 0.1  # by which the lengths of two encodings of one recording may differ
STALL = 30.0  # seconds after which a file is given up
COPIES, ONE_LENGTH, NAMED = "most of one content", "all of one length", "of lengths that their names may tell"


class Twins(NamedTuple):
    """Two folders of videos with the same paths and lengths: of the same recordings, if nothing `else_` explains it."""

    folders: tuple[str, str]
    common: list[tuple[int, int]]  # the places of the videos of equal paths
    compared: int
    else_: str  # COPIES, ONE_LENGTH, NAMED, or empty

    @property
    def is_sure(self) -> bool:
        """Whether they hold the same recordings."""
        return not self.else_


class Look(NamedTuple):
    """What is compared of a video: its frames and its length (0 if unknown), and a fingerprint of its file."""

    frames: int
    seconds: float
    content: str

    def is_copy_of(self, other: "Look") -> bool:
        """Whether the files have the same bytes, or both are links to one."""
        return bool(self.content) and self.content == other.content

    def is_like(self, other: "Look") -> bool:
        """Whether both may be of one recording."""
        if self.is_copy_of(other):
            return True
        if self.frames and self.frames == other.frames:
            return True
        return bool(self.seconds and other.seconds) and abs(self.seconds - other.seconds) <= SECONDS


class Videos(NamedTuple):
    """Videos by their places: the folder of each ("" if it is in none), the path below it, and the file.

    `has_class`: a path begins with the class, of which all videos may have one length.
    """

    folders: Sequence[str]
    key: Callable[[int], Key]
    path: Callable[[int], Path]
    has_class: bool = False


def find_twins(videos: Videos, most_folders: int = MOST_FOLDERS) -> list[Twins]:
    """The pairs of folders that hold the same recordings.

    At least half of the smaller one's paths are in the other one, and of those that are looked at, nine in ten are of
    equal length. If other videos of the folder whose paths differ in one part are mostly of equal length, too, or if
    paths have a class and no two of one class can be compared, the pair is not sure.
    """
    shared = shared_paths(videos.folders, videos.key, most_folders)
    comparison = _Comparison(videos, shared)
    with late_progress("folders of equal names", MOST_FILES) as advance:
        for outcome in run_jobs(look_at, comparison.wanted(), 1, stall_seconds=STALL):
            comparison.looks[outcome.job] = outcome.result
            advance(1)
    return comparison.found


class _Comparison:
    """Asks for the looks at files that it needs, one after the other, and finds the twins of all pairs.

    The files are looked at in a process, as a damaged one may end or stop it.
    """

    def __init__(self, videos: Videos, shared: Shared) -> None:
        self.looks: dict[Path, Look | None] = {}  # filled before the next file is asked for
        self.found: list[Twins] = []
        self._videos = videos
        self._shared = shared

    def wanted(self) -> Iterator[Path]:
        """The files to look at."""
        for pair in self._shared.pairs:
            for path in self._compare(pair):
                if len(self.looks) >= MOST_FILES:
                    return
                yield path

    def _compare(self, pair: tuple[int, int]) -> Iterator[Path]:
        common = self._shared.common(pair)  # the same first ones for all pairs, where they can be
        sample = common[:SAMPLE]
        allowed, misses = len(sample) // MISSES, 0
        seen: list[tuple[Look, Look]] = []
        for one, other in sample:
            yield from self._unseen((one, other))
            first, second = self._look(one), self._look(other)
            if first is None or second is None:
                continue
            seen.append((first, second))
            misses += not first.is_like(second)
            if misses > allowed:
                return
        if len(seen) < FEWEST:
            return
        names = self._shared.folders[pair[0]], self._shared.folders[pair[1]]
        pairs = len(self._shared.pairs)
        else_ = ""
        if 2 * sum(first.is_copy_of(second) for first, second in seen) > len(seen):
            else_ = COPIES
        elif not _is_beyond_chance(len(seen), misses, _alike(seen), pairs):
            else_ = ONE_LENGTH
        else:
            part = yield from self._told_by_names([one for one, _ in sample], pair[0])
            if not _is_beyond_chance(len(seen), misses, max(part, _alike(seen)), pairs):
                else_ = NAMED
        self.found.append(Twins(names, common, len(seen), else_))

    def _told_by_names(self, sample: Sequence[int], folder: int) -> Generator[Path, None, float]:
        """The part of the videos in a folder whose lengths are those of others that differ in one part of the path."""
        places = self._shared.places[folder].tolist()
        of_kinds = siblings_of(sample, places, self._videos.key, self._videos.has_class)
        most = 0.0
        for kind, pairs in of_kinds.items():
            yield from self._unseen(place for pair in pairs for place in pair)
            looks = [(self._look(one), self._look(other)) for one, other in pairs]
            alike = [first.is_like(second) for first, second in looks if first and second]
            if len(alike) >= (FEWEST if kind == OF_CLASS else 2):
                most = max(most, sum(alike) / len(alike))
            elif kind == OF_CLASS:
                return 1.0
        return 1.0 if self._videos.has_class and OF_CLASS not in of_kinds else most

    def _unseen(self, places: Iterable[int]) -> Iterator[Path]:
        for place in places:
            if (path := self._videos.path(place)) not in self.looks:
                yield path

    def _look(self, place: int) -> Look | None:
        return self.looks.get(self._videos.path(place))


def look_at(path: Path, beat: Callable[[], None]) -> Look | None:
    """What is compared of a video file or a folder of frames; None if it cannot be read."""
    beat()
    try:
        if path.is_dir():
            status = path.stat()
            with os.scandir(path) as entries:
                frames = sum(is_frame(entry.name) for entry in entries)
            return Look(frames, 0.0, f"{status.st_dev} {status.st_ino}")
        _, content = file_content(path)
        with open_video(path) as (container, stream):
            if stream.duration and stream.time_base:
                return Look(stream.frames, float(stream.duration * stream.time_base), content)
            return Look(stream.frames, (container.duration or 0) / av.time_base, content)
    except (DataError, OSError):
        return None


def _alike(seen: Sequence[tuple[Look, Look]]) -> float:
    """The part of all other pairs, of a video and one of another path in the other folder, that are of equal length."""
    others = [(one, other) for one in range(len(seen)) for other in range(len(seen)) if one != other]
    return max(sum(seen[one][0].is_like(seen[other][1]) for one, other in others), 1) / len(others)


def _is_beyond_chance(number: int, misses: int, part: float, pairs: int) -> bool:
    """Whether chance does not explain that all but a few of a number agree, if this part of others do."""
    return part <= 0.5 and pairs * comb(number, misses) * part ** (number - misses) <= CHANCE
