"""Finds the file that a path in a label file means, though the list may have been written for another place."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from common.text import composed
from data.labels.text import canonical_name
from data.prepare.file_names import is_video

Parts = tuple[str, ...]
Form = Callable[[Parts], Parts]


class PathIndex:
    """The paths of videos below a folder, each as the tuple of its names."""

    def __init__(self, paths: Iterable[Parts]) -> None:
        self._paths = dict.fromkeys(paths)
        self._forms: dict[Form, tuple[PathIndex, Mapping[Parts, Sequence[Parts]]]] = {}
        self._by_name: dict[str, list[Parts]] = {}
        for parts in self._paths:
            for name in dict.fromkeys((parts[-1], _stem(parts[-1]))):
                self._by_name.setdefault(name, []).append(parts)

    def find(self, written: str) -> list[Parts]:
        """The paths that a written one may mean: one, several if that cannot be told, or none.

        Taken is the path itself, or else with fewer folders at the beginning, or with more. A suffix of a video may be
        missing, but is no other one. If there is none so, accents may be in another Unicode form; if there is none
        either, folders may have spaces for underscores, or the reverse.
        """
        found = self._find(parts_of(written))
        for form in FORMS:
            if found:
                break
            index, paths = self._in_form(form)
            found = [path for parts in index._find(form(parts_of(written))) for path in paths[parts]]
        return found

    def _in_form(self, form: Form) -> "tuple[PathIndex, Mapping[Parts, Sequence[Parts]]]":
        """The index of the paths in one form, and the paths of each."""
        if form not in self._forms:
            paths: dict[Parts, list[Parts]] = {}
            for parts in self._paths:
                paths.setdefault(form(parts), []).append(parts)
            self._forms[form] = PathIndex(paths), paths
        return self._forms[form]

    def _find(self, parts: Parts) -> list[Parts]:
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


def _composed(parts: Parts) -> Parts:
    return tuple(map(composed, parts))


def _with_spaces(parts: Parts) -> Parts:
    return (*map(canonical_name, parts[:-1]), *map(composed, parts[-1:]))


FORMS: Sequence[Form] = (_composed, _with_spaces)  # in which paths are compared that are not found as they are written


def _stem(name: str) -> str:
    return name.rpartition(".")[0] if is_video(name) else name


def _without_suffix(path: Parts, name: str) -> Parts:
    """The path, without the suffix of a video if `name` has none."""
    return path if path[-1] == name else (*path[:-1], _stem(path[-1]))
