"""The weights that a run started from: what its checkpoints keep of their file, and what a resume makes of it."""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from common.errors import DataError, NetworkError
from common.files import changed_at
from common.logs import LOG
from common.text import shortened
from network.weights.averages import weights_to_use
from network.weights.facts import is_own
from network.weights.inflating import flat_weights
from network.weights.recognising import recognise
from network.weights.tensors import checksum
from train.checkpoint.files import Checkpoint

LONGEST_PATH = 300  # characters of a path in a message


def source_facts(path: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """{"path", "size", "mtime_ns", "checksum"} of the file of weights `path`, whose content is `checkpoint`."""
    size, changed = _status(path)
    return {"path": _absolute(path), "size": size, "mtime_ns": changed, "checksum": _checksum(checkpoint)}


def saved_source(checkpoint: Checkpoint) -> Path | None:
    """The file that the run of a checkpoint started from, as its command named it; None if there is none."""
    path = checkpoint["options"].get("pretrained_3d")
    return Path(path) if isinstance(path, str) else None


def check_source(
    path: Path,
    checkpoint: Checkpoint,
    given: Path,
    content: Checkpoint | None,
    flags: str,
    flag: str = "--pretrained-3d",
) -> None:
    """DataError if the run of `checkpoint`, the file `path`, started from other weights than those of the file `given`.

    It is not loaded, and the user may take the run for one that started from it. `content` is that of `given`, None if
    there is no such file; it may have been moved or deleted since. `flag` gives it; `flags` are those to leave out.
    A warning if `given` is a checkpoint of this run, was written again since, or if an older version saved `checkpoint`
    and nothing tells the weights.
    """
    source = checkpoint.get("source")
    if source is None:
        _check_path(path, checkpoint, given, flags, flag)
        return
    is_path = source.get("path") == _absolute(given)
    if content is None and not is_path:
        raise _missing(path, given, flags, flag)
    if content is None or _is_source(source, given, is_path, content):
        return
    if _is_of_run(path, checkpoint, given, content):
        LOG.warning(
            "%s %s is a checkpoint of the run to resume, which goes on from %s: to go on from another one, give "
            "--resume-epoch N",
            flag, given, path,
        )  # fmt: skip
    elif is_path:
        LOG.warning(
            "%s %s has other weights now than when the run of %s started from it; they are not loaded: to start from "
            "them, give another --task-name",
            flag, given, path,
        )  # fmt: skip
    else:
        before = f"from {shortened(source['path'], LONGEST_PATH)}, which has others" if source else "from new weights"
        raise DataError(
            f"{flag} {given} has not the weights of the run to resume: that of {path} started {before}. To "
            f"start from this file, give another --task-name; to go on, leave {flags} out"
        )


def _is_source(source: Mapping[str, Any], given: Path, is_path: bool, content: Checkpoint) -> bool:
    """Whether the file `given` has the weights that the run started from. Those of an unchanged file are not read."""
    if is_path and (source["size"], source["mtime_ns"]) == _status(given):
        return True
    return source.get("checksum") == _checksum(content)


def _check_path(path: Path, checkpoint: Checkpoint, given: Path, flags: str, flag: str) -> None:
    """As `check_source` for a checkpoint that has only the path, and not that if the run was resumed without it."""
    before = saved_source(checkpoint)
    if before is not None and _absolute(before) == _absolute(given):
        return
    if not given.exists() and (before is None or before.name != given.name):
        raise _missing(path, given, flags, flag)
    known = "it does not say from which weights its run started"
    if before is not None:
        known = f"the run to resume has --pretrained-3d {shortened(str(before), LONGEST_PATH)}"
    LOG.warning(
        "%s %s is not loaded, as %s is resumed: %s; to start from another file, give another --task-name",
        flag, given, path, known,
    )  # fmt: skip


def _missing(path: Path, given: Path, flags: str, flag: str) -> DataError:
    """The file would tell the network and its gates. Without it, the flags may lead to the folder of another run."""
    return DataError(
        f"{flag} {given} does not exist, and {path} is of a run that did not start from it: leave "
        f"{flags} out if this run is meant, else give --network, --gates and --placement too"
    )


def _is_of_run(path: Path, checkpoint: Checkpoint, given: Path, content: Checkpoint) -> bool:
    key = checkpoint.get("run_key")
    return (key is not None and content.get("run_key") == key) or given.parent.resolve() == path.parent.resolve()


def _checksum(checkpoint: Checkpoint) -> int | None:
    """Of the weights alone, in any order: `last` and `best` of one state, and its export, are the same weights.

    None if there are no weights of a network.
    """
    try:
        weights = weights_to_use(checkpoint)[0] if is_own(checkpoint) else _weights_of(checkpoint)
    except NetworkError:
        return None
    return checksum(dict(sorted(weights.items())))


def _weights_of(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Those of another project's network, or of a 2D network for --inflate."""
    try:
        return recognise(checkpoint).state_dict
    except NetworkError:
        return flat_weights(checkpoint)


def _status(path: Path) -> tuple[int, int]:
    with suppress(OSError):
        status = path.stat()
        return status.st_size, changed_at(status)  # checks.py lets no larger number pass
    return 0, 0


def _absolute(path: Path) -> str:
    return os.path.abspath(path)  # noqa: PTH100 - without `..`, and of a file that may be gone
