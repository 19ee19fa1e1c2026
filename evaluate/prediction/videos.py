"""Which videos are meant: a file, the folder of a frames.db, or a folder that holds such at any depth."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from common.errors import DataError
from common.files import inode_of, reason, what_is_at
from data.store.frame_store import DATABASE, FRAME_COUNT
from data.store.video_suffixes import is_video


@dataclass
class Found:
    """The videos, and what else was met."""

    videos: dict[str, Path] = field(default_factory=dict)
    """By name: the path within the folder that was searched, or the path itself of a single one."""
    others: int = 0
    """Other files."""
    problems: dict[str, str] = field(default_factory=dict)
    """Folders that cannot be read, with the reason."""


def find_videos(place: Path, leave_out: Path | None = None) -> Found:
    """The videos of `place`, ordered by their names. `leave_out` is a file that is not taken for one.

    Folders may be links. Hidden files and folders are left out. DataError if there is no such place, or no video in it.
    """
    there = what_is_at(place)
    if there == "folder" and not what_is_at(place / DATABASE):
        found = Found()
        _search(place, place, leave_out, found, set())
        if not found.videos and not found.problems:
            others = f" ({found.others} other files)" if found.others else ""
            raise DataError(f"{place} holds neither video files nor {DATABASE}{others}")
        found.videos = dict(sorted(found.videos.items()))
        return found
    if there not in ("folder", "file"):
        what = f"is a {there}" if there else "does not exist"
        raise DataError(f"{place} {what}: give a video file, a folder of videos, or camera:0")
    path = place.parent if place.name == DATABASE else place
    return Found({str(path): path})


def _search(top: Path, folder: Path, leave_out: Path | None, found: Found, seen: set[tuple[int, int]]) -> None:
    key = inode_of(folder)
    if key is None or key in seen:  # a link that leads back
        return
    seen.add(key)
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        folders = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    except OSError as error:
        found.problems[_name(top, folder)] = f"{folder}: {reason(error)}"
        return
    if any(entry.name == DATABASE for entry in entries):
        found.videos[_name(top, folder)] = folder
        return
    for entry in entries:
        path = folder / entry.name
        if entry.name in folders or entry.name.startswith(".") or path == leave_out:
            continue
        if is_video(entry.name):
            found.videos[_name(top, path)] = path
        elif entry.name != FRAME_COUNT:
            found.others += 1
    for name in folders:
        _search(top, folder / name, leave_out, found, seen)


def _name(top: Path, path: Path) -> str:
    return path.relative_to(top).as_posix()
