"""Whether the folder of an evaluation can be moved away for another, and what happens to one that finds no place."""

import errno
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from common.errors import DataError
from common.files import free_name, reason

KEPT = "new"  # how the name of an evaluation ends that could not be put in its place
FIXED = (errno.EBUSY, errno.EXDEV, errno.EPERM, errno.EACCES, errno.EROFS)


def check_movable(folder: Path, flag: str) -> None:
    """DataError if a folder cannot be renamed, as a mount point; `flag` names another. Nothing is moved.

    The trial is to rename it to a folder that is not empty: that fails in any case, and the error says whether the
    folder itself was why.
    """
    full = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        (full / "trial").touch()
        folder.rename(full)
    except OSError as error:
        shutil.rmtree(full, ignore_errors=True)
        if error.errno in FIXED:
            raise DataError(
                f"{folder} cannot be replaced, as a mount point cannot ({reason(error)}): give a folder in it with "
                f"{flag}, such as {folder / 'evaluation'}"
            ) from error
    else:  # a file system that replaces full folders
        full.rename(folder)


def keep(partial: Path, folder: Path) -> Path | None:
    """Keep a finished evaluation that could not be moved to `folder`, beside it. Returns where; None if it cannot."""
    with suppress(OSError):
        return partial.rename(free_name(folder, KEPT))
    return None
