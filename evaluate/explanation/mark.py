"""The mark in a picture or film of this command, which tells it from other files that must not be replaced."""

from pathlib import Path

from common.errors import DataError
from common.files import reason, what_is_at
from data.store.own_films import EXPLAIN, maker_named, maker_of

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
        with path.open("rb"):  # PermissionError
            return maker_of(path) == maker_named(MADE_BY)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise DataError(f"--output {path}: {reason(error)}") from error
        return False
