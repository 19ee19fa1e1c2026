"""What the entries of a folder of videos are: folders, folders that systems add, links to nothing."""

import os
import re
from collections.abc import Collection

# Folders that file servers (Synology, QNAP, NetApp), Windows, disks and unpacked archives of macOS add. As they are
# written: `recycled` may be a class.
OF_SYSTEMS = {"@eaDir", "#recycle", "@Recycle", "@Recently-Snapshot", "#snapshot", "~snapshot"}
OF_SYSTEMS |= {"$RECYCLE.BIN", "$Recycle.Bin", "RECYCLER", "RECYCLED", "System Volume Information"}
OF_SYSTEMS |= {"lost+found", "__MACOSX"}
REPAIRED = re.compile(r"found\.\d{3}|lost\.dir", re.IGNORECASE)  # what chkdsk and Android save of a damaged disk

EVALUATION = {"summary.json", "predictions.npz"}  # what the folder of an evaluation holds

LOST = "a link to itself or to nothing"


def is_hidden_folder(name: str) -> bool:
    """Whether a folder of this name is never looked into."""
    return name.startswith(".") or name in OF_SYSTEMS or REPAIRED.fullmatch(name) is not None


def is_evaluation(names: Collection[str]) -> bool:
    """Whether a folder that holds `names` is that of an evaluation, whose pictures are no frames."""
    return EVALUATION.issubset(names)


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or into a folder without permission
        return False


def is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link to one."""
    try:
        return entry.is_file()
    except OSError:
        return False


def is_lost(entry: os.DirEntry[str]) -> bool:
    """Whether it is a link to itself or to nothing, such as a disk that is not mounted."""
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 (Path.exists raises for some loops)
