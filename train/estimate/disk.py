"""The disk that the run writes to: whether it may, the room, and the time of a checkpoint. Nothing is left there."""

import errno
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import torch

from common.errors import TrainingError
from common.files import reason, write_errors


class Saved(NamedTuple):
    """A checkpoint that was written for a measurement."""

    size: int = 0  # bytes
    copy: float = 0.0  # seconds to copy the state, for which the run waits
    write: float = 0.0  # seconds to write the file
    is_elsewhere: bool = False  # whether that was on another disk, as the run's has no room


def check_place(folder: Path) -> Path:
    """The folder itself or the nearest above it that exists. DataError if the run cannot write there.

    A run locks its folder, which creates it; here a file without a name tells.
    """
    with write_errors(folder, "give another --model-dir or --task-name"):
        there = next(each for each in (folder.absolute(), *folder.absolute().parents) if _exists(each))
        if not there.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{there} is not a folder", str(there))
        with tempfile.TemporaryFile(dir=there):
            return there


def _exists(path: Path) -> bool:
    """As `Path.exists`, but an OSError for what can neither be there nor be made."""
    try:
        path.stat()
    except FileNotFoundError:
        if path.is_symlink():
            raise FileNotFoundError(errno.ENOENT, f"{path} is a link to nothing", str(path)) from None
        return False
    return True


def free_bytes(place: Path) -> int:
    """The bytes that are free on a folder's disk."""
    return shutil.disk_usage(place).free


def write_time(state: dict[str, Any], place: Path) -> tuple[int, float, bool]:
    """Bytes and seconds of a file of `state`, and whether it was written elsewhere than in `place`.

    The file has no name. TrainingError if it can be written nowhere.
    """
    try:
        return *_written(state, place), False
    except (OSError, RuntimeError):  # torch raises the second where the disk is full
        pass
    try:
        return *_written(state, Path(tempfile.gettempdir())), True
    except (OSError, RuntimeError) as error:
        why = reason(error) if isinstance(error, OSError) else str(error).splitlines()[0]
        raise TrainingError(f"a checkpoint can be written neither in {place} nor as a temporary file: {why}") from error


def _written(state: dict[str, Any], place: Path) -> tuple[int, float]:
    started = time.perf_counter()
    with tempfile.TemporaryFile(dir=place) as file:
        torch.save(state, file)
        size = file.tell()
        file.flush()
        os.fsync(file.fileno())
    return size, time.perf_counter() - started
