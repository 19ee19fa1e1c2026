"""Finds the file that a path in a label file means, though the list may have been written for another place."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePosixPath

from common.text import composed
from data.prepare.file_names import is_video

Parts = tuple[str, ...]


class PathIndex:
    """The paths of videos below a folder, each as the tuple of its names."""

    def __init__(self, paths: Iterable[Parts]) -> None:
        self._paths = dict.fromkeys(paths)
        self._by_name: dict[str, list[Parts]] = {}
        for parts in self._paths:
            for name in dict.fromkeys((parts[-1], _stem(parts[-1]))):
                self._by_name.setdefault(name, []).append(parts)

    def find(self, written: str) -> list[Parts]:
        """The paths that a written one may mean: one, several if that cannot be told, or none.

        Taken is the path itself, or else with fewer folders at the beginning, or with more. A suffix of a video may be
        missing, but is no other one. If there is none so, accents may be in another Unicode form.
        """
        found = self._find(written)
        if found or written.isascii() or self._composed is None:
            return found
        return [path for parts in self._composed.find(composed(written)) for path in self._of_form[parts]]

    @cached_property
    def _composed(self) -> "PathIndex | None":
        """The index of the paths in one Unicode form; None if they have it."""
        return None if self._of_form.keys() == self._paths.keys() else PathIndex(self._of_form)

    @cached_property
    def _of_form(self) -> Mapping[Parts, Sequence[Parts]]:
        found: dict[Parts, list[Parts]] = {}
        for parts in self._paths:
            found.setdefault(tuple(map(composed, parts)), []).append(parts)
        return found

    def _find(self, written: str) -> list[Parts]:
        parts = parts_of(written)
        if not parts:
            return []
        if parts in self._paths:
            return [parts]
        same = self._by_name.get(parts[-1], [])
        for first in range(len(parts)):
            if here := [path for path in same if _without_suffix(path, parts[-1]) == parts[first:]]:
                return here
        return [path for path in same if _without_suffix(path, parts[-1])[-len(parts) :] == parts]

    def is_below(self, written: str) -> bool:
        """Whether a path, as it is written, is that of a video."""
        return parts_of(written) in self._paths


def parts_of(written: str) -> Parts:
    """The names of a path; `.` and an empty name are none, and what a user of Windows wrote has other strokes."""
    if "\\" in written and "/" not in written:
        written = written.replace("\\", "/")
    return tuple(name for name in PurePosixPath(written).parts if name not in ("/", "."))


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_video(name) else name


def _without_suffix(path: Parts, name: str) -> Parts:
    """The path, without the suffix of a video if `name` has none."""
    return path if path[-1] == name else (*path[:-1], _stem(path[-1]))
