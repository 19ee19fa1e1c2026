"""A lock on a dataset folder, so that two runs do not remove each other's temporary files."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import DataError


@contextmanager
def only_run(out: Path, part: str = "", command: str = "convert") -> Iterator[None]:
    """Hold the lock on one `part` of a command's work in `out`, which is created; DataError if another run holds it."""
    path = out / f".{command}{part}.lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        path.open("a").close()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is {out} a folder that you may write to?") from error
    lock = FileLock(path, blocking=False, fallback_to_soft=False)  # a soft lock would outlive a killed run
    try:
        lock.acquire()
    except Timeout:
        remedy = "wait for it, or give each its --shard" if command == "convert" else "wait for it"
        raise DataError(f"{out}: another {command} is running there; {remedy}") from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise DataError(f"{path} is a link, which no lock is taken through: delete it") from None
        # else the file system has no locks
    try:
        yield
    finally:
        lock.release()


def check_idle(out: Path) -> None:
    """DataError if any part of a conversion into `out` is running."""
    for path in out.glob(".convert*.lock"):
        with only_run(out, path.name.removeprefix(".convert").removesuffix(".lock")):
            pass
