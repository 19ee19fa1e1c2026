"""Deletes the files of broken videos: only what is proved damaged, and nothing through a link."""

import os
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from common.files import reason
from common.lock import is_being_written
from data.store.frame_store import DATABASE, FRAME_COUNT, leftovers

BESIDE = ("-journal", "-wal", "-shm")  # files of SQLite that mean nothing without their database


class Deletion(NamedTuple):
    """What was deleted of a video folder, and what was left, with the reason."""

    deleted: list[Path]
    left: list[str]


def identity(path: Path) -> tuple[int, ...]:
    """Numbers that change when a file is written or replaced; none if it cannot be found."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def delete_broken(jpg: Path, folder: Path, kinds: set[str], checked: tuple[int, ...]) -> Deletion:
    """Delete what convert makes again of a video folder with problems of these kinds, and the folder if it is empty.

    `checked` is the database's identity when it was found broken: if it has changed since, it is left.
    """
    deletion = Deletion([], [])
    if jpg.is_symlink():  # a dataset that somebody gave may lead to any other; who names that one means it
        place = Path(os.path.realpath(jpg))  # Path.resolve raises for a loop of links
        how = f"to delete there, verify {place.parent}" if place.name == "jpg" else f"it leads to {place}"
        deletion.left.append(f"{folder} is reached through the link {jpg}: {how}")
        return deletion
    if os.path.realpath(folder) != os.path.join(os.path.realpath(jpg), folder.relative_to(jpg)):  # noqa: PTH118
        deletion.left.append(f"{folder} is reached through a link")
        return deletion
    if "leftover" in kinds:
        for path in leftovers(folder):
            if is_being_written(path):
                deletion.left.append(f"{path} is being written")
            else:
                _unlink(path, deletion)
    count_is_wrong = bool(kinds & {"empty", "wrong count"})
    if "broken" in kinds:
        database = folder / DATABASE
        if identity(database) != checked:
            deletion.left.append(f"{database} was changed meanwhile")
        elif _unlink(database, deletion):
            count_is_wrong = True
            for suffix in BESIDE:
                _unlink(folder / (DATABASE + suffix), deletion)
    if count_is_wrong:
        _unlink(folder / FRAME_COUNT, deletion)
    if deletion.deleted or "empty" in kinds:
        with suppress(OSError):  # the folder is not empty
            folder.rmdir()
            deletion.deleted.append(folder)
    return deletion


def _unlink(path: Path, deletion: Deletion) -> bool:
    """Delete a plain file, if there is one; whether it was deleted."""
    if path.is_symlink():
        deletion.left.append(f"{path} is a link")
    elif path.is_file():
        try:
            path.unlink()
        except OSError as error:
            deletion.left.append(f"{path} cannot be deleted ({reason(error)})")
        else:
            deletion.deleted.append(path)
            return True
    return False
