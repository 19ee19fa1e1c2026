"""The errors of a video file, and how damage is told from what the system did not give: of the disk, or of the memory.

FFmpeg often hides the latter. Of a read that fails, MP4 and others make a packet that is cut short; a decoder without
memory may say that the data is invalid. Some of its formats report a cut file as EIO, on the other hand. So after an
error the file is read plainly once, for some time: an error of the disk comes again there.
"""

import errno
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import DataError
from common.files import read_through, reason

# Errors that FFmpeg has from the system alone. EIO, EAGAIN and EINVAL it also makes itself.
OF_SYSTEM = {errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO, errno.ENODEV, errno.EMFILE, errno.ENFILE}
NEEDED = 2**30  # bytes that must be free: a decoder takes 0.9 GB for 17 frames of 33 million pixels


class VideoError(DataError):
    """A video that cannot be decoded to its end; the message says why."""


class UnreadableError(VideoError):
    """A video that the system does not give at the moment. The file may be whole: this says nothing of its bytes."""


@contextmanager
def told_from_damage(path: Path) -> Iterator[None]:
    """Within it, what the system did not give of a file is an UnreadableError, not damage (any other VideoError).

    An OSError without a number, as a caller's TimeoutError, is left as it is.
    """
    try:
        yield
    except UnreadableError:
        raise
    except VideoError as error:
        check_system(error.__cause__)
        check_readable(path)
        raise
    except MemoryError as error:
        check_system(error)
    except OSError as error:
        if error.errno is None:
            raise
        raise UnreadableError(f"cannot be read ({reason(error)})") from error


def check_system(error: BaseException | None) -> None:
    """Raise UnreadableError for an error, perhaps of FFmpeg, that is one of the system."""
    if isinstance(error, MemoryError):
        raise UnreadableError("needs more memory than there is") from error
    if isinstance(error, OSError) and error.errno in OF_SYSTEM:
        raise UnreadableError(f"cannot be read ({reason(error)})") from error


def check_readable(path: Path, beat: Callable[[], None] = lambda: None) -> None:
    """Raise UnreadableError if the system may be the reason of an error that looks like damage of the file.

    It reads the file once, as `read_through` does, with calls of `beat`.
    """
    try:
        mmap.mmap(-1, NEEDED).close()
    except (OSError, MemoryError) as error:
        what = f"cannot be read with so little memory: less than {NEEDED >> 30} GiB is left, and it may be whole"
        raise UnreadableError(what) from error
    try:
        read_through(path, beat)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise UnreadableError(f"cannot be read ({reason(error)})") from error
