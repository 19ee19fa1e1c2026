"""A lock on a dataset folder, so that two runs do not remove each other's temporary files."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.lock import locked


@contextmanager
def only_run(out: Path, part: str = "", command: str = "convert") -> Iterator[None]:
    """Hold the lock on one `part` of a command's work in `out`, which is created; DataError if another run holds it."""
    remedy = "wait for it, or give each its --shard" if command == "convert" else "wait for it"
    with locked(out / f".{command}{part}.lock", command, remedy):
        yield


def check_idle(out: Path) -> None:
    """DataError if any part of a conversion into `out` is running."""
    for path in out.glob(".convert*.lock"):
        with only_run(out, path.name.removeprefix(".convert").removesuffix(".lock")):
            pass
