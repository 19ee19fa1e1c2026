"""A lock on a dataset folder, so that two runs do not remove each other's temporary files."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.lock import locked

PART = re.compile(r"\.convert(?:_([0-9]+)_of_([0-9]+))?\.lock")
WAIT = "wait for it"
SHARD = "wait for it, or give each run its --shard I/N with the same N"


@contextmanager
def only_run(out: Path, shard: tuple[int, int] = (0, 1), command: str = "convert") -> Iterator[None]:
    """Hold the lock on a command's work in `out`, which is created; DataError if another run holds it.

    `shard` is a part of a conversion and the number of parts, counted as in --shard: part N is part 0. Different parts
    of the same number may run at a time; those of different numbers overlap, and refuse each other.
    """
    if command != "convert":
        with locked(out / f".{command}.lock", command, WAIT):
            yield
        return
    part, parts = shard[0] % shard[1], shard[1]
    out = _folder_of_locks(out)
    own = out / (".convert.lock" if parts == 1 else f".convert_{part}_of_{parts}.lock")
    with locked(own, "convert", SHARD):
        # The own lock is held first: of two runs that start together, one at least sees the other.
        for path in sorted(out.glob(".convert*.lock")):
            if path != own and _overlap(path.name, part, parts):
                with locked(path, "convert", SHARD):
                    pass
        yield


def check_idle(out: Path) -> None:
    """DataError if any part of a conversion into `out` is running."""
    for path in sorted(_folder_of_locks(out).glob(".convert*.lock")):
        with locked(path, "convert", WAIT):
            pass


def is_lock(name: str) -> bool:
    """Whether a file of this name is a lock of a conversion."""
    return PART.fullmatch(name) is not None


def _overlap(name: str, part: int, parts: int) -> bool:
    """Whether the run that holds a lock of this name may write videos of this part."""
    match = PART.fullmatch(name)
    if match is None:
        return False
    other, others = (int(match[1]), int(match[2])) if match[1] else (0, 1)
    return others != parts or other % parts == part


def _folder_of_locks(out: Path) -> Path:
    """`out`; if its `jpg` is a link, the folder that holds the real one, or that itself: two datasets may share it.

    A real folder of the name jpg has its locks beside it, as it may be that of another OUT.
    """
    jpg = out / "jpg"
    if not jpg.is_symlink() or not jpg.is_dir():
        return out
    real = jpg.resolve()
    return real.parent if real.name == "jpg" else real
