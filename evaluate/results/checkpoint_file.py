"""How an evaluation found the file of its checkpoint, by which one that was written again since is known."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

CHECKPOINT_FILE = "checkpoint_file"  # the fact of an evaluation


def checkpoint_facts(path: Path) -> dict[str, Any]:
    """The fact that tells a file's size and time. To be taken before the file is read: a run may write it meanwhile."""
    with suppress(OSError, ValueError):
        state = path.stat()
        return {CHECKPOINT_FILE: {"size": state.st_size, "changed": state.st_mtime_ns}}
    return {}


def is_told(about: Mapping[str, Any]) -> bool:
    """Whether an evaluation tells how it found the file; those of older versions do not."""
    return isinstance(about.get(CHECKPOINT_FILE), Mapping)


def is_as_found(about: Mapping[str, Any], path: Path) -> bool:
    """Whether a file has the size and time that an evaluation found."""
    return is_told(about) and checkpoint_facts(path) == {CHECKPOINT_FILE: about[CHECKPOINT_FILE]}
