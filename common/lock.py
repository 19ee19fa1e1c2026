"""Who writes a file or folder: locks against a second process, and a look for other programs."""

import errno
import fcntl
import logging
import os
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from common.errors import DataError
from common.files import reason
from common.owner_file import OwnedError, is_owned, owned

SQLITE_LOCKS = 0x40000000, 512  # place and number of the bytes that SQLite locks in each file (PENDING_BYTE)
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)

LOG = logging.getLogger("srtg.lock")


@contextmanager
def locked(path: Path, work: str, remedy: str = "wait for it") -> Iterator[None]:
    """Hold the lock file `path` while the block runs. The folder is created; the file stays, and names its holder.

    DataError if another process holds it: "FOLDER: another `work` is running there (process 12 on HOST); `remedy`". The
    lock ends with its process, also when that is killed. Where the file system has no locks, `owned` stands in, with a
    warning.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _check_plain_file(path)
        # By a machine on which the file system has no locks. Some versions of filelock empty the file.
        if is_owned(path) and not is_named_in(path):
            raise Timeout(str(path))
        # A soft lock, which filelock would take where there are no others, would outlive a killed process.
        lock = FileLock(path, blocking=False, fallback_to_soft=False)
        lock.acquire()
        if is_owned(path) and not is_named_in(path):  # since then
            lock.release()
            raise Timeout(str(path))
    except Timeout:
        raise _is_held(path, work, remedy) from None
    except OSError as error:
        if error.errno in NO_LOCKS:
            LOG.warning(
                "%s: this file system has no locks (%s): another %s there is noticed only by what %s says",
                path.parent, reason(error), work, path.name,
            )  # fmt: skip
            yield from _owned(path, work, remedy)
            return
        if isinstance(error, PermissionError) and os.path.lexists(path):
            remedy = "another user left this lock file: delete it if nothing runs there, or have it made writable"
        elif path.parent.is_symlink() and not path.parent.exists():
            remedy = f"{path.parent} is a link to nothing: is a disk not mounted?"
        else:
            remedy = f"is {path.parent} a folder that you may write to?"
        raise DataError(f"{path}: {reason(error)}; {remedy}") from error
    try:
        _name_holder(path)
        yield
    finally:
        lock.release()


def _owned(path: Path, work: str, remedy: str) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(owned(path, _own_name()))
        except OwnedError:
            raise _is_held(path, work, remedy) from None
        except OSError as error:
            raise DataError(f"{path} cannot be written: {reason(error)}") from error
        yield


def _is_held(path: Path, work: str, remedy: str) -> DataError:
    return DataError(f"{path.parent}: another {work} is running there{_holder(path)}; {remedy}")


def is_named_in(path: Path) -> bool:
    """Whether the lock file `path` names this process as its holder."""
    return _holder(path) == f" ({_own_name()})"


def _own_name() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _check_plain_file(path: Path) -> None:
    """Create the file if it is missing; DataError for a link (it is another file too) or a pipe (it waits)."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            os.close(os.open(path, flags, 0o666))
        except FileExistsError:  # another process was faster
            return _check_plain_file(path)
        return
    if stat.S_ISLNK(status.st_mode):
        raise DataError(f"{path} is a link, which no lock is taken through: delete it")
    if not stat.S_ISREG(status.st_mode):
        raise DataError(f"{path} is not a plain file: delete it")
    if status.st_nlink > 1:  # the holder's name would replace the content of the other
        raise DataError(f"{path} is a hard link to another file: delete it")


def _name_holder(path: Path) -> None:
    try:
        path.write_text(_own_name() + "\n", encoding="utf-8")
    except OSError:  # a full disk: the lock holds without the name
        return


def _holder(path: Path) -> str:
    """` (process 12 on HOST)`, if the lock file says so."""
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.readline(200).strip()
    except OSError:
        return ""
    return f" ({text})" if text else ""


def is_being_written(path: Path) -> bool:
    """Whether a program has the file open for writing, or has locked it as SQLite does to write.

    False where the file system has neither leases nor locks.
    """
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        if hasattr(fcntl, "F_SETLEASE"):  # Linux refuses a lease if any program has the file open for writing
            fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)  # for a program that opens it now; ignored by default
            try:
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
                fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            except BlockingIOError:
                return True
            except OSError:  # a file of another user, or a file system without leases
                pass
        fcntl.lockf(file, fcntl.LOCK_SH | fcntl.LOCK_NB, SQLITE_LOCKS[1], SQLITE_LOCKS[0])
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # a file system without locks
        return False
    finally:
        os.close(file)
    return False
