"""Where `download` puts its videos: OUT/<class>/<id>.<ext>."""

import os
from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from data.labels.hints import VIDEO_SUFFIXES
from data.labels.label_file import check_name_length

PARTIAL = ".partial"  # the folder in OUT that holds unfinished files
FAILURES = "download_failures.csv"  # the list in OUT of what could not be downloaded
LONGEST_SUFFIX = max(map(len, VIDEO_SUFFIXES))


def downloaded_ids(out: Path) -> set[str]:
    """The ids of the videos in all class folders."""
    with os.scandir(out) as entries:
        folders = [entry.path for entry in entries if entry.name != PARTIAL and entry.is_dir()]
    names = [Path(entry.name) for folder in folders for entry in _files_in(folder)]
    return {name.stem for name in names if name.suffix.lower() in VIDEO_SUFFIXES}


def _files_in(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if entry.is_file()]
    except PermissionError:  # `folder_problem` says so if it is a class's
        return []


def folder_problem(out: Path, label: str) -> str:
    """Why OUT/<class> can hold no video; empty if it can, or if it is still to be made."""
    if label in (PARTIAL, FAILURES):
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
