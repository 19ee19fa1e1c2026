"""The mark in a picture or film of this command, which tells it from other files that must not be replaced."""

from pathlib import Path

import av

from common.errors import DataError
from common.files import reason, what_is_at
from data.store.own_films import EXPLAIN

MADE_BY = EXPLAIN
PNG_START = b"\x89PNG\r\n\x1a\n"
HEAD = 4096  # bytes of a PNG before its pixels


def check_replaces_own(output: Path) -> None:
    """DataError if `output` is there and was not written by this command. An empty file may be replaced."""
    if what_is_at(output) == "file" and output.stat().st_size and not _is_own(output):
        raise DataError(f"--output {output} is there and was not written by this command: give another name")


def _is_own(path: Path) -> bool:
    try:
        if path.suffix.lower() == ".png":
            with path.open("rb") as file:
                start = file.read(HEAD)
            return start.startswith(PNG_START) and f"tEXtComment\0{MADE_BY}".encode() in start
        with av.open(str(path.absolute())) as container:
            return container.metadata.get("comment") == MADE_BY
    except (OSError, ValueError) as error:  # FFmpeg's errors are both
        if isinstance(error, PermissionError):
            raise DataError(f"--output {path}: {reason(error)}") from error
        return False
