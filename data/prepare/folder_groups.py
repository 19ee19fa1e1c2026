"""Which videos must be on one side of the split: those of a subject, of a recording, and copies of one file."""

import os
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import reason
from common.text import composed
from data.labels.class_folders import in_threads
from data.labels.text import counted, first_names, without_zeros
from data.prepare.file_names import is_frame
from data.prepare.folder_layout import Video
from data.store.folder_entries import is_file
from data.store.origin import file_content, whole_content


class Grouping(NamedTuple):
    """How videos are put into groups: by the first folders below the class, by a regular expression, or neither."""

    by_folder: int | None = None
    pattern: re.Pattern[str] | None = None


class Groups(NamedTuple):
    """The group of each video, by name, and the videos to which the flag does not apply: each is its own group.

    `notes` tell which groups have become one.
    """

    names: list[str]
    alone: list[str]
    notes: list[str]


def groups_of(videos: Sequence[Video], paths: Sequence[str], grouping: Grouping) -> Groups:
    """The group of each video. Without a flag each file is a group: the parts that are cut out of it are together.

    DataError if the flag finds no group at all.
    """
    names, alone = [], []
    for video, path in zip(videos, paths, strict=True):
        name = ""
        if grouping.by_folder is not None:
            if len(video.folders) >= grouping.by_folder:
                name = "/".join(video.folders[: grouping.by_folder])
        elif grouping.pattern is not None:
            match = grouping.pattern.search(path)
            name = "/".join(group or "" for group in match.groups()).strip("/") if match else ""
        if not name:
            alone.append(path)
        names.append(name or path)
    if grouping == Grouping():
        return Groups(names, [], [])
    if len(alone) == len(names):
        what = (
            "--by-folder: no video lies in so many folders below" if grouping.pattern is None else "--group-from fits"
        )
        raise DataError(f"{what} {'its class' if grouping.pattern is None else 'no path'}, as {paths[0]}")
    names, notes = _of_one_spelling(names, set(alone))
    return Groups(names, list(dict.fromkeys(alone)), notes)


def _of_one_spelling(names: Sequence[str], alone: Collection[str]) -> tuple[list[str], list[str]]:
    """The names, of spellings of one name the first, and a line on those that do not look the same.

    Names differ in spelling alone if they are equal but for case, leading zeros, their Unicode form, and spaces,
    underscores or hyphens, which may be missing between letters and digits: `s_01` is `S 1` and `s1`.
    """
    spelled: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for name in names:
        if name not in alone:
            spelled[_spelling(name)][name] = None
    first = {name: min(same) for same in spelled.values() for name in same}
    forms = [sorted({composed(name) for name in same}) for _, same in sorted(spelled.items()) if len(same) > 1]
    joined = [" = ".join(same) for same in forms if len(same) > 1]
    what = "taken as one group, as only case, leading zeros, spaces, underscores or hyphens differ"
    notes = [f"{what}: {counted(len(joined), 'group')}, {first_names(joined)}"] if joined else []
    return [first.get(name, name) for name in names], notes


def _spelling(name: str) -> str:
    """What is equal for the spellings of a group's name."""
    text = without_zeros(composed(name).casefold())
    text = re.sub(r"[\s_-]+", "_", text.strip("_ "))
    return re.sub(r"(?<=[^\W\d_])_(?=\d)|(?<=\d)_(?=[^\W\d_])", "", text) or name


def copies(paths: Iterable[Path]) -> tuple[list[list[Path]], list[str]]:
    """The files (or folders of frames) that have the same bytes, and what could not be read.

    Only files of equal size are read, and whole only those whose beginning, middle and end are equal.
    """
    unread: list[str] = []
    by_size = _alike(list(dict.fromkeys(paths)), _size, unread)
    by_part = [group for same in by_size for group in _alike(same, _part, unread)]
    return [group for same in by_part for group in _alike(same, _whole, unread)], unread


def merged(names: Sequence[str], same: Iterable[Sequence[int]]) -> list[str]:
    """The names of groups after those of the videos in each of `same` have become one: the first in sorted order."""
    parent = {name: name for name in names}

    def root(name: str) -> str:
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for places in same:
        for place in places[1:]:
            first, other = sorted((root(names[places[0]]), root(names[place])))
            parent[other] = first
    return [root(name) for name in names]


def _alike(paths: Sequence[Path], content: Callable[[Path], object], unread: list[str]) -> list[list[Path]]:
    """The paths whose `content` is equal, in groups of two or more. Empty files are not compared."""
    found: defaultdict[object, list[Path]] = defaultdict(list)
    for path, value in zip(paths, in_threads("copies", _guarded(content), paths), strict=True):
        if isinstance(value, OSError):
            unread.append(f"{path}: {reason(value)}")
        elif value is not None:
            found[value].append(path)
    return [group for group in found.values() if len(group) > 1]


def _guarded(content: Callable[[Path], object]) -> Callable[[Path], object]:
    """The function, which returns an OSError in place of raising it."""

    def call(path: Path) -> object:
        try:
            return content(path)
        except OSError as error:
            return error

    return call


def _size(path: Path) -> object:
    if not path.is_dir():
        return path.stat().st_size or None
    sizes = [os.path.getsize(file) for file in _frames(path)]  # noqa: PTH202 (each frame of a dataset)
    return (len(sizes), sum(sizes), sizes[0]) if sizes else None


def _part(path: Path) -> object:
    return whole_content(_frames(path)[:1]) if path.is_dir() else file_content(path)


def _whole(path: Path) -> object:
    if path.is_dir():
        return whole_content(_frames(path))
    return whole_content([path]) if path.is_file() else None


def _frames(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if is_frame(entry.name) and is_file(entry))
    return [folder / name for name in names]
