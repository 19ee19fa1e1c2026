"""Folders that hold the same recordings: editions of a dataset, or the views of several cameras.

Their files have other bytes, but the same paths below these folders and the same lengths.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import combinations
from math import comb
from pathlib import Path
from typing import NamedTuple

import av

from common.errors import DataError
from data.labels.class_folders import late_progress
from data.labels.text import letters
from data.prepare.file_names import is_frame
from data.prepare.worker_pool import run_jobs
from data.store.origin import file_content
from data.store.video_file import open_video

SAMPLE = 24  # pairs of videos of two folders that are compared
FEWEST = 4  # of them that tell anything
MOST_FILES = 500  # that are opened in a dataset: of many folders with names such as 001.mp4, the rest is not compared
MOST_FOLDERS = 1000  # that are compared with each other
MISSES = 10  # one of so many pairs may differ, such as a file that was cut short
CHANCE = 1e-3  # that the lengths agree in any two of the folders though the recordings are others
SECONDS = 0.1  # by which the lengths of two encodings of one recording may differ
STALL = 30.0  # seconds after which a file is given up
Paths = Mapping[Hashable, Path]  # the videos of a folder, by what their paths are below it


class Twins(NamedTuple):
    """Two folders that hold the same recordings, or if not `is_sure`, videos that are all of one length."""

    folders: tuple[str, str]
    common: list[Hashable]  # the paths that both have
    compared: int
    is_sure: bool


class Look(NamedTuple):
    """What is compared of a video: its frames and its length (0 if unknown), and a fingerprint of its file."""

    frames: int
    seconds: float
    content: str

    def is_copy_of(self, other: "Look") -> bool:
        """Whether the files have the same bytes."""
        return bool(self.content) and self.content == other.content

    def is_like(self, other: "Look") -> bool:
        """Whether both may be of one recording."""
        if self.is_copy_of(other):
            return True
        if self.frames and self.frames == other.frames:
            return True
        return bool(self.seconds and other.seconds) and abs(self.seconds - other.seconds) <= SECONDS


def find_twins(videos: Mapping[str, Paths], most_folders: int = MOST_FOLDERS) -> list[Twins]:
    """The pairs of folders that hold the same recordings, of the videos of each folder.

    At least half of the smaller one's paths are in the other one, and of those that are looked at, nine in ten are of
    equal length. Where lengths vary too little to tell, the pair is not `is_sure`.
    """
    numbers = Counter(key for paths in videos.values() for key in paths)
    shared = {name: {key for key in paths if numbers[key] > 1} for name, paths in videos.items()}
    shared = {name: keys for name, keys in shared.items() if len(keys) >= FEWEST}
    if len(shared) > most_folders:
        return []
    pairs = []
    for one, other in combinations(sorted(shared), 2):
        common = shared[one] & shared[other]
        if len(common) >= max(FEWEST, min(len(videos[one]), len(videos[other])) / 2):
            pairs.append((one, other, common))
    pairs.sort(key=lambda pair: not _are_alike(pair[0], pair[1]))
    comparison = _Comparison(videos, pairs)
    with late_progress("folders of equal names", MOST_FILES) as advance:
        for outcome in run_jobs(look_at, comparison.wanted(), 1, stall_seconds=STALL):
            comparison.looks[outcome.job] = outcome.result
            advance(1)
    return comparison.found


class _Comparison:
    """Asks for the looks at files that it needs, one after the other, and finds the twins of all pairs.

    The files are looked at in a process, as a damaged one may end or stop it.
    """

    def __init__(self, videos: Mapping[str, Paths], pairs: Sequence[tuple[str, str, set[Hashable]]]) -> None:
        self.looks: dict[Path, Look | None] = {}  # filled before the next file is asked for
        self.found: list[Twins] = []
        self._videos = videos
        self._pairs = pairs
        self._order = {key: _hash(key) for *_, common in pairs for key in common}

    def wanted(self) -> Iterator[Path]:
        """The files to look at."""
        for one, other, common in self._pairs:
            for path in self._compare(one, other, common):
                if len(self.looks) >= MOST_FILES:
                    return
                yield path

    def _compare(self, one: str, other: str, common: set[Hashable]) -> Iterator[Path]:
        keys = sorted(common, key=self._order.__getitem__)  # the same first ones for all pairs, where they can be
        sample = [(self._videos[one][key], self._videos[other][key]) for key in keys[:SAMPLE]]
        allowed, misses = len(sample) // MISSES, 0
        seen: list[tuple[Look, Look]] = []
        for pair in sample:
            yield from (path for path in pair if path not in self.looks)
            first, second = self.looks.get(pair[0]), self.looks.get(pair[1])
            if first is None or second is None:
                continue
            seen.append((first, second))
            misses += not first.is_like(second)
            if misses > allowed:
                return
        if len(seen) >= FEWEST:
            is_sure = _is_sure(seen, misses, len(self._pairs))
            self.found.append(Twins((one, other), keys, len(seen), is_sure))


def look_at(path: Path, beat: Callable[[], None]) -> Look | None:
    """What is compared of a video file or a folder of frames; None if it cannot be read."""
    beat()
    try:
        if path.is_dir():
            with os.scandir(path) as entries:
                return Look(sum(is_frame(entry.name) for entry in entries), 0.0, "")
        _, content = file_content(path)
        with open_video(path) as (container, stream):
            if stream.duration and stream.time_base:
                return Look(stream.frames, float(stream.duration * stream.time_base), content)
            return Look(stream.frames, (container.duration or 0) / av.time_base, content)
    except (DataError, OSError):
        return None


def _is_sure(seen: Sequence[tuple[Look, Look]], misses: int, pairs: int) -> bool:
    """Whether chance does not explain that so many of the pairs are alike: the others of the folders seldom are."""
    number = len(seen)
    for is_like in (Look.is_like, Look.is_copy_of):
        if sum(is_like(first, second) for first, second in seen) < number - misses:
            continue
        others = [(one, other) for one in range(number) for other in range(number) if one != other]
        alike = sum(is_like(seen[one][0], seen[other][1]) for one, other in others)
        part = max(alike, 1) / len(others)
        if part <= 0.5 and pairs * comb(number, misses) * part ** (number - misses) <= CHANCE:
            return True
    return False


def _are_alike(one: str, other: str) -> bool:
    """Whether one name begins with the other one, as data and data_small: such folders are compared first."""
    first, second = letters(one), letters(other)
    return first.startswith(second) or second.startswith(first)


def _hash(key: Hashable) -> bytes:
    """An order in which files of a folder are not beside each other."""
    return blake2b(repr(key).encode(errors="surrogatepass"), digest_size=8).digest()


def joined(pairs: Iterable[Twins]) -> list[list[str]]:
    """The folders that hold the same recordings, the most first."""
    group: dict[str, set[str]] = {}
    for pair in pairs:
        both = set[str]().union(*(group.get(name, {name}) for name in pair.folders))
        group.update(dict.fromkeys(both, both))
    different = {id(names): sorted(names) for names in group.values()}
    return sorted(different.values(), key=lambda names: (-len(names), names))


def by_folder(items: Iterable[tuple[str, Hashable, Path]]) -> dict[str, dict[Hashable, Path]]:
    """The videos of each folder by the path below it, from (folder, path below it, video)."""
    found: defaultdict[str, dict[Hashable, Path]] = defaultdict(dict)
    for folder, key, path in items:
        found[folder].setdefault(key, path)
    return found
