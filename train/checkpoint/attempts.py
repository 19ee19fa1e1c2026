"""Which checkpoints are of one run, and of one attempt: copies of a run that went on apart are others."""

import struct
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.files import read_through, reason, what_is_at
from network.weights.reading import read_plainly
from train.checkpoint.checks import FIELDS, check_fields, check_progress_fields
from train.checkpoint.progress import same_attempt

HEAD = 2**20
"""Bytes at the start of a checkpoint. They hold its plain part, which torch writes first."""


def is_resumable(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this project wrote the checkpoint, so that training can be resumed from it."""
    return "format" in checkpoint and "position" in checkpoint


def read_plain_part(path: Path) -> Mapping[str, Any] | None:
    """A checkpoint of a run, to look at its position and counts: no tensor is read. None if there is none.

    DataError if the disk gives an error: the file may be whole.
    """
    try:
        if what_is_at(path) != "file":
            return None
        checkpoint = read_plainly(path)
        check_fields("", checkpoint, {name: FIELDS[name] for name in ("position", "progress")})
        check_progress_fields(checkpoint["progress"])
    except Exception:  # `read_plainly` documents few errors
        _check_readable(path)
        return None
    return dict(checkpoint)


def _check_readable(path: Path) -> None:
    """DataError if the system does not give a file: torch and zipfile may then call it damaged."""
    try:
        with suppress(FileNotFoundError):
            read_through(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {reason(error)}") from error


def is_foreign(path: Path, checkpoint: Mapping[str, Any]) -> bool:
    """Whether `path` is a whole file that the run of `checkpoint` has not written: of another run, or weights alone.

    False if the file is damaged or does not tell, or `checkpoint` does not: older versions saved nothing that tells it.
    """
    head = _head(path) if checkpoint.get("run_key") is not None else None
    return head is not None and _is_foreign(path, head, checkpoint)


def is_of_other_attempt(path: Path, epoch: int, checkpoint: Mapping[str, Any]) -> bool:
    """Whether the file of a finished epoch is foreign, or of a copy of the run of `checkpoint` that went on apart.

    False if it is no whole checkpoint of a run, or is of an older version.
    """
    losses = [entry[1] for entry in checkpoint["progress"].get("reported", []) if entry[0] == epoch]
    if not losses and checkpoint.get("run_key") is None:
        return False
    head = _head(path)
    if head is None:
        return False
    if _is_foreign(path, head, checkpoint):
        return True
    if not losses or struct.pack(">d", losses[0]) in head:  # as pickle has a float; see `_is_foreign`
        return False
    saved = read_plain_part(path)
    return saved is not None and not are_of_one_attempt(saved, checkpoint)


def may_be_of_its_end(path: Path, checkpoint: Mapping[str, Any]) -> bool:
    """Whether the file of an epoch may be what a run saved when it was killed, so that `checkpoint` stayed its `last`.

    Before a validation, `last` is saved with the steps that the file of the epoch then has. Another file may be of an
    attempt that went on from here, as one before a backup of the run was copied back. So may that of an epoch without
    a validation, whose `last` is saved after it: nothing tells the two apart.
    """
    saved = read_plain_part(path)
    return saved is None or saved["progress"]["global_step"] == checkpoint["progress"]["global_step"]


def _is_foreign(path: Path, head: bytes, checkpoint: Mapping[str, Any]) -> bool:
    key = checkpoint.get("run_key")
    try:
        if key is None or key.encode() in head:  # torch takes a hundred times as long
            return False
        saved = read_plainly(path)
    except Exception:  # `read_plainly` documents few errors
        return False
    return not isinstance(saved, dict) or not is_resumable(saved) or not _are_of_one_run(saved, checkpoint)


def _head(path: Path) -> bytes | None:
    """The first bytes of a file; None if it is none, or cannot be read."""
    with suppress(OSError, ValueError):
        if what_is_at(path) == "file":
            with path.open("rb") as file:
                return file.read(HEAD)
    return None


def _are_of_one_run(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two checkpoints may be of one run; older versions saved nothing that tells it."""
    keys = one.get("run_key"), other.get("run_key")
    return None in keys or keys[0] == keys[1]


def are_of_one_attempt(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two checkpoints may be of one run, and not of copies of it that went on apart; both have a progress."""
    return _are_of_one_run(one, other) and same_attempt(one["progress"], other["progress"])
