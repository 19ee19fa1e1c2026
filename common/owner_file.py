"""Who holds a lock file on a file system that has no locks: the file says it.

    process 12 on HOST
    owner <process> <its start> <where its number counts: `process_space`>

Whether a process of the same machine runs is asked of the system. One of another machine shows it by the file's time,
which it renews. Each owner puts a new file in the place of the one before, so an owner that has lost the place finds
another inode there.
"""

import logging
import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from common.files import OtherFileError, atomic_file, open_plain
from common.processes import is_running, process_space, process_start

BEAT = 20.0  # seconds after which an owner renews the file's time
SILENCE = 120.0  # seconds without a new time after which an owner on another machine has ended
SETTLE = 1.0  # seconds in which another process that takes the same place shows up
POLL = 0.5
LONGEST = 1000  # bytes that are read
LARGEST = 2**62  # bytes of a file that may be there
MARK = re.compile(r"^owner ([0-9]{1,10}) ([0-9]*) ([0-9a-f]+)$", re.MULTILINE)

LOG = logging.getLogger("srtg.lock")


class OwnedError(Exception):
    """Another process owns the file."""


@contextmanager
def owned(path: Path, name: str) -> Iterator[None]:
    """Own the file `path` while the block runs; `name` is its first line. OwnedError if another process owns it.

    Of two that begin in the same second, one is refused. An owner that was killed does not count.
    """
    text = f"{name}\n{_mark()}\n"
    if _read(path) == text:  # of this process
        yield
        return
    if is_owned(path):
        raise OwnedError
    with atomic_file(path) as temporary:
        file = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        os.write(file, text.encode())
    ended = threading.Event()
    thread = threading.Thread(target=_show_life, args=(file, ended), name="lock", daemon=True)
    thread.start()
    try:
        time.sleep(SETTLE)
        if _read(path) != text:
            raise OwnedError
        yield
    finally:
        ended.set()
        thread.join(timeout=5)  # the file system may not answer


def is_owned(path: Path) -> bool:
    """Whether a process owns the file and runs. Waits for a sign of it if it is not of this machine."""
    text = _read(path)
    mark = MARK.search(text)
    if not mark:
        return False
    if mark[3] == process_space():
        return is_running(int(mark[1]), mark[2])
    first, until = _state(path), time.monotonic() + SILENCE
    LOG.warning("%s: waiting up to %.0f s for a sign that %s has not ended", path, SILENCE, text.splitlines()[0])
    while time.monotonic() < until:
        time.sleep(POLL)
        if _state(path) != first:
            return bool(MARK.search(_read(path)))  # else it has just ended
    return False


def _mark() -> str:
    return f"owner {os.getpid()} {process_start(os.getpid())} {process_space()}"


def _show_life(file: int, ended: threading.Event) -> None:
    """Renew the time of an open file until the end; then empty it, so that nobody waits for a sign."""
    while not ended.wait(BEAT):
        with suppress(OSError):
            os.utime(file)
    with suppress(OSError):
        os.truncate(file, 0)
        os.close(file)


def _read(path: Path) -> str:
    try:
        with open_plain(path, LARGEST) as file:
            return file.read(LONGEST).decode(errors="replace")
    except (OSError, OtherFileError):
        return ""


def _state(path: Path) -> tuple[int, int] | None:
    """What changes with each sign. The file is opened, since network file systems then ask the server."""
    try:
        with open_plain(path, LARGEST) as file:
            status = os.fstat(file.fileno())
    except (OSError, OtherFileError):
        return None
    return status.st_ino, status.st_mtime_ns
