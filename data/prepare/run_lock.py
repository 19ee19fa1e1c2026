"""A lock on a dataset folder, so that two runs do not remove each other's temporary files."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import DataError


@contextmanager
def only_run(out: Path, part: str = "", command: str = "convert") -> Iterator[None]:
    """Hold the lock of one `part` of a command's work in `out`, a folder made here; DataError if another run has it."""
    path = out / f".{command}{part}.lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; is {out} a folder that you may write to?") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            remedy = "wait for it, or give each its --shard" if command == "convert" else "wait for it"
            raise DataError(f"{out}: another {command} is at work there; {remedy}") from None
        except OSError:
            pass  # a file system without locks
        yield


def check_idle(out: Path) -> None:
    """DataError if any part of a conversion into `out` is at work."""
    for path in out.glob(".convert*.lock"):
        with only_run(out, path.name.removeprefix(".convert").removesuffix(".lock")):
            pass
