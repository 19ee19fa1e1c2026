"""Files that are either complete or absent, even if the process is killed while it writes them."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from io import FileIO, TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from common.errors import DataError

NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)  # of network file systems that cannot flush a folder

PICTURES = (".png", ".pdf", ".svg")  # the suffixes that matplotlib knows

PIECE = 2**16  # bytes read at a time
LONGEST = 30.0  # seconds: 3 GB of a slow disk

REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your disk quota is used up",
    errno.EFBIG: "the file would be larger than this file system or `ulimit -f` allows",
    errno.EMFILE: "this process has too many open files: raise `ulimit -n` or lower --workers",
    errno.EROFS: "the file system is read-only",
}


def reason(error: OSError) -> str:
    """Why a file could not be read or written, in the user's words: "the disk is full"."""
    return REASONS.get(error.errno or 0) or error.strerror or str(error)


def what_is_at(path: Path) -> str:
    """What there is: "file", "folder", "pipe or device", or "" for nothing; DataError if the system does not tell.

    `Path.exists` and the like raise for a name that is too long, and for what is in a folder without permission.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
    return "folder" if stat.S_ISDIR(mode) else "file" if stat.S_ISREG(mode) else "pipe or device"


def changed_at(status: os.stat_result) -> int:
    """When a file was last changed, in nanoseconds; of a time that no int64 holds (after 2262), the nearest one."""
    return max(-(2**63), min(status.st_mtime_ns, 2**63 - 1))


def check_output(path: Path, suffixes: Sequence[str], argument: str = "", read: Path | None = None) -> None:
    """DataError unless a file of this kind may be written to `path`, which `argument` names: before the work begins.

    The name must end in one of `suffixes`: a wrong name may be that of a video or a label file, which would be lost.
    `read` is a file that the command reads.
    """
    named = f"{argument} {path}".strip()
    if path.suffix.lower() not in suffixes:
        *others, last = suffixes
        raise DataError(f"{named}: give a name that ends in {', '.join(others) + ' or ' if others else ''}{last}")
    there = what_is_at(path)
    if there not in ("", "file"):
        raise DataError(f"{named} is a {there}; give another name")
    if read is not None and there and what_is_at(read) and path.samefile(read):
        raise DataError(f"{named} is the file that is read; give another name")
    if path.is_symlink():  # it would be replaced, and what it leads to stay as it is
        raise DataError(f"{named} is a link; give another name")


def inode_of(path: Path) -> tuple[int, int] | None:
    """What tells a file or folder from another that takes its name; None if there is none or it cannot be reached."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


class OtherFileError(DataError):
    """What is at a path is not a plain file of a sane size."""


def open_plain(path: Path, largest: int, buffering: int = -1) -> BinaryIO:
    """Open a file of at most `largest` bytes to read them; `buffering` and OSError as of `open`.

    OtherFileError for a larger one and for what is no plain file: a pipe would be waited for, a device may have no end.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        _check_plain(path, os.fstat(descriptor), largest)
        return open(descriptor, "rb", buffering)  # noqa: PTH123 (of a descriptor; the caller closes it)
    except BaseException:
        os.close(descriptor)
        raise


def read_through(path: Path, beat: Callable[[], None] = lambda: None) -> None:
    """Read a file once, so that an OSError of its disk comes up; nothing is done for what is no plain file.

    Holes are left out, and what is not read after `LONGEST` seconds: a file may have terabytes. `beat` is called now
    and then.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # a pipe may never end
        return
    with path.open("rb", buffering=0) as file:
        until = time.monotonic() + LONGEST
        place = _next_data(file, 0)
        while place is not None and time.monotonic() < until:
            file.seek(place)
            piece = file.read(PIECE)
            beat()
            place = _next_data(file, place + len(piece)) if piece else None  # none: it was made shorter


def _next_data(file: FileIO, place: int) -> int | None:
    """Where a file has its next bytes, at or behind a place: a hole may have terabytes. None at the end."""
    if place >= os.fstat(file.fileno()).st_size:
        return None
    try:
        return os.lseek(file.fileno(), place, os.SEEK_DATA)
    except (AttributeError, OSError) as error:  # not on Windows
        if getattr(error, "errno", 0) == errno.ENXIO:  # only a hole is left
            return None
        return place


@contextmanager
def open_plain_text(
    path: Path, largest: int, newline: str | None = None, encoding: str = "utf-8-sig"
) -> Iterator[TextIO]:
    """Open a text file as `open_plain` does; it may have a byte order mark."""
    with open_plain(path, largest) as file, TextIOWrapper(file, encoding=encoding, newline=newline) as text:
        yield text


def _check_plain(path: Path, status: os.stat_result, largest: int) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OtherFileError(f"{path} is a folder; give a file in it")
    if not stat.S_ISREG(status.st_mode):
        raise OtherFileError(f"{path} is a pipe or a device, not a plain file; save its content to a file")
    if status.st_size > largest:
        most, unit = (largest >> 30, "GiB") if largest >= 2**30 else (largest >> 20, "MiB")
        size = f"{status.st_size / 2**30:.1f} GiB" if status.st_size >= 2**30 else f"{status.st_size / 2**20:.1f} MiB"
        raise OtherFileError(f"{path} has {size}, and at most {most} {unit} are expected: is it another file?")


@contextmanager
def write_errors(path: Path, remedy: str = "") -> Iterator[None]:
    """Raise DataError "PATH cannot be written: REASON; `remedy`" for an OSError in the block, which writes `path`."""
    try:
        yield
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason(error)}" + (f"; {remedy}" if remedy else "")) from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`. On success flush it to disk and rename it to `path`; else remove it.

    OSError if there is a folder, pipe or device: root would replace even /dev/null.

    The temporary name is `.<name>.<pid>.tmp`, so the files that a killed process left can be recognised.
    """
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "there is a folder, a pipe or a device", str(path))
    temporary = _temporary(path)
    temporary.unlink(missing_ok=True)  # left by a killed process that had the same process id
    try:
        yield temporary
        sync(temporary)
        temporary.replace(path)
        sync_folder(path.parent)
    finally:
        with suppress(OSError):  # the error that led here is the one to report
            temporary.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def check_new_files(texts: Mapping[Path, str]) -> list[Path]:
    """The paths at which no file is yet. DataError for a path at which there is anything but a file of this text."""
    absent = []
    for path, text in texts.items():
        there = what_is_at(path)
        if not there and not path.is_symlink():
            absent.append(path)
        elif there != "file":
            kind = f"a {there}" if there else "a link to nothing"
            raise DataError(f"{path} is {kind}, but a file of this name is to be written: move it away")
        elif not _has_text(path, text):
            raise DataError(f"{path} is there and has another content: move it away, or write to another folder")
    return absent


def write_new_files(texts: Mapping[Path, str]) -> None:
    """Write text files, all or none; files that are there with the same text stay.

    DataError if one is there with another content, or cannot be written: then none is written, or the error names what
    cannot be removed again.
    """
    absent = check_new_files(texts)
    renamed: list[Path] = []
    try:
        for path in absent:
            with write_errors(path):
                _temporary(path).unlink(missing_ok=True)  # also a link, which would lead to another file
                _temporary(path).write_text(texts[path], encoding="utf-8")
                sync(_temporary(path))
        for path in absent:
            with write_errors(path):
                _temporary(path).replace(path)
            renamed.append(path)
        for folder in {path.parent for path in absent}:
            with write_errors(folder):
                sync_folder(folder)
    except BaseException as error:  # an interrupt, too
        left = [str(path) for path in renamed if not _is_removed(path)]
        if left and isinstance(error, DataError):
            raise DataError(f"{error}; delete {' and '.join(left)}, which was written before") from error
        raise
    finally:
        for path in absent:
            with suppress(OSError):  # the error that led here is the one to report
                _temporary(path).unlink(missing_ok=True)


def _is_removed(path: Path) -> bool:
    with suppress(OSError):
        path.unlink()
    return not os.path.lexists(path)


def _has_text(path: Path, text: str) -> bool:
    content = text.encode()
    try:
        return path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from None


def free_name(path: Path, what: str) -> Path:
    """`<name>.damaged` for `what` "damaged", or `<name>.damaged-2` and so on if there is such a file."""
    name, number = f"{path.name}.{what}", 1
    while os.path.lexists(path.with_name(name)):
        number += 1
        name = f"{path.name}.{what}-{number}"
    return path.with_name(name)


def sync(path: Path) -> None:
    """Flush the contents of a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to disk, where the file system can; some network file systems cannot."""
    try:
        sync(path)
    except OSError as error:
        if error.errno not in NO_SYNC:
            raise
