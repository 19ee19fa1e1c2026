"""Where scans and indexes are kept: the folder `.index` of a dataset, or beside its label files.

Who gave a dataset may have put links there: nothing is written through them, as a file of the same name elsewhere would
be replaced.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from common.text import printable

FOLDER = ".index"

_MAY_KEEP = ContextVar("_MAY_KEEP", default=True)


class KeptPlaces:
    """The file `name` in the folder `.index` of each of `places`, those that are reached through a link left out."""

    def __init__(self, places: Sequence[Path], name: str) -> None:
        every = [place / FOLDER / name for place in dict.fromkeys(places)]
        self.paths = [path for path in every if not path.parent.is_symlink()]
        self.folders = " and ".join(str(path.parent) for path in every)
        self._links = [path.parent for path in every if path not in self.paths]

    def to_write(self) -> tuple[Path | None, list[str]]:
        """The first of the files that can be written, with its lock; and lines for the log on links."""
        links = list(self._links) if _MAY_KEEP.get() else []
        found = None
        for path in self.paths if _MAY_KEEP.get() else ():
            lock = path.with_suffix(".lock")
            if _is_other_file(lock):
                links.append(lock)
            elif _is_writable(path.parent, lock):
                found = path
                break
        return found, [f"{path} {_what_link(path)}: it is not used" for path in links]


@contextmanager
def nothing_kept() -> Iterator[None]:
    """In this block scans and indexes are used where they are there, and not written: the dataset stays as it is."""
    token = _MAY_KEEP.set(False)
    try:
        yield
    finally:
        _MAY_KEEP.reset(token)


def _is_other_file(lock: Path) -> bool:
    """Whether another file, which may be emptied, would be locked."""
    try:
        status = lock.lstat()
    except OSError:
        return False
    has_names = stat.S_ISREG(status.st_mode) and status.st_nlink > 1
    return stat.S_ISLNK(status.st_mode) or (has_names and status.st_size > 0)  # an empty one has nothing to lose


def _what_link(path: Path) -> str:
    if path.is_symlink():
        return f"is a link to {printable(os.path.realpath(path))}"
    return "is a file with other names, too, and not empty"


def _is_writable(folder: Path, lock: Path) -> bool:
    try:
        folder.mkdir(exist_ok=True)
        lock.touch()
    except OSError:
        return False
    return True
