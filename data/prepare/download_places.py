"""Where `download` puts its videos: OUT/<class>/<id>.<ext>."""

import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from data.labels.hints import VIDEO_SUFFIXES
from data.labels.label_file import check_name_length
from data.store.folder_entries import is_file, is_folder

PARTIAL = ".download_partial"  # the folder in OUT that holds unfinished files, and is deleted
OTHERS_PARTIAL = ".partial"  # of older versions, and the usual folder of `rsync --partial-dir`: left alone
FAILURES = "download_failures.csv"  # the list in OUT of what could not be downloaded
LONGEST_SUFFIX = max(map(len, VIDEO_SUFFIXES))


def downloaded_ids(out: Path) -> tuple[set[str], dict[str, list[Path]]]:
    """The ids of the videos in all class folders, and the empty files of other ids: a copy of OUT was cut short."""
    with os.scandir(out) as entries:
        folders = [each.path for each in entries if each.name not in (PARTIAL, OTHERS_PARTIAL) and is_folder(each)]
    there: set[str] = set()
    empty: dict[str, list[Path]] = {}
    for entry in (entry for folder in folders for entry in _files_in(folder)):
        video_id, suffix = os.path.splitext(entry.name)  # noqa: PTH122 (there are hundreds of thousands)
        if suffix.lower() not in VIDEO_SUFFIXES:
            continue
        if entry.stat().st_size:
            there.add(video_id)
        else:
            empty.setdefault(video_id, []).append(Path(entry.path))
    return there, {video_id: paths for video_id, paths in empty.items() if video_id not in there}


def remove_empty(paths: Iterable[Path]) -> None:
    """Delete the files that are still empty: beside the video, `convert` would not know which file is meant."""
    for path in paths:
        with suppress(OSError):
            if not path.stat().st_size:
                path.unlink()


def _files_in(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if is_file(entry)]
    except PermissionError:  # `folder_problem` says so if it is a class's
        return []


def folder_problem(out: Path, label: str) -> str:
    """Why OUT/<class> can hold no video; empty if it can, or if it is still to be made."""
    if label in (PARTIAL, OTHERS_PARTIAL, FAILURES):
        return f"class {label} has the name of a file or folder of `download` itself; rename the class"
    folder = out / label
    try:
        check_name_length(label, "class")
        kind = what_is_at(folder)
    except DataError as error:
        return str(error)
    if kind == "folder":
        return "" if os.access(folder, os.W_OK | os.X_OK) else f"{folder}: Permission denied"
    if kind or folder.is_symlink():
        return f"{folder} is {f'a {kind}' if kind else 'a link to nothing'}, not the folder of the class; move it away"
    return ""


def id_problem(youtube_id: str) -> str:
    """Why no video of this id can be stored; empty if it can."""
    try:
        check_name_length(youtube_id + LONGEST_SUFFIX * "x", "file")
    except DataError:
        return f"id {quoted(youtube_id)} is too long for the name of a file"
    return ""
