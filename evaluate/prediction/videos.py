"""Which videos are meant: a file, the folder of a frames.db, or a folder that holds such at any depth."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError
from common.files import inode_of, reason, what_is_at
from data.store.frame_store import DATABASE
from evaluate.left_out import LeftOut


@dataclass
class Found:
    """The videos, and what else was met."""

    videos: dict[str, Path] = field(default_factory=dict)
    """By name: the path within the folder that was searched, or the path itself of a single one."""
    left_out: list[str] = field(default_factory=list)
    """A line on each kind of what is none."""
    problems: dict[str, str] = field(default_factory=dict)
    """Folders that cannot be read, and links to nothing, with the reason."""


def find_videos(place: Path, leave_out: Path | None = None) -> Found:
    """The videos of `place`, ordered by their names. `leave_out` is a file that is not taken for one.

    Folders may be links. Hidden files and folders, and folders of systems, are left out. DataError if there is no such
    place, or no video in it.
    """
    there = what_is_at(place)
    if there == "folder" and not what_is_at(place / DATABASE):
        found, others = Found(), LeftOut(place)
        _search(place, leave_out, found, others, set())
        found.left_out = others.lines
        found.problems |= others.lost
        if not found.videos and not found.problems:
            what = "".join(f"; {line}" for line in found.left_out)
            raise DataError(f"{place} holds neither video files nor {DATABASE}{what}")
        found.videos = dict(sorted(found.videos.items()))
        return found
    if there not in ("folder", "file"):
        what = f"is a {there}" if there else "does not exist"
        raise DataError(f"{place} {what}: give a video file, a folder of videos, or camera:0")
    path = place.parent if place.name == DATABASE else place
    return Found({str(path): path})


def _search(folder: Path, leave_out: Path | None, found: Found, others: LeftOut, seen: set[tuple[int, int]]) -> None:
    key = inode_of(folder)
    if key is None or key in seen:  # a link that leads back
        return
    seen.add(key)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        found.problems[_name(others.top, folder)] = f"{folder}: {reason(error)}"
        return
    if any(entry.name == DATABASE for entry in entries):
        found.videos[_name(others.top, folder)] = folder
        return
    folders, files = others.sort(folder, [entry for entry in entries if folder / entry.name != leave_out])
    found.videos |= {_name(others.top, folder / name): folder / name for name in files}
    for name in folders:
        _search(folder / name, leave_out, found, others, seen)


def _name(top: Path, path: Path) -> str:
    return path.relative_to(top).as_posix()
