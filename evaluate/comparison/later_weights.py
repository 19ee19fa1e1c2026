"""Whether the checkpoint of an evaluation has other weights by now: the run was trained anew, or further."""

import zlib
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from common.errors import DataError, NetworkError
from common.files import OtherFileError, open_plain

EXPORTED = (".onnx", ".pt2")
LARGEST = 2**35  # bytes of an exported file that is read: a minute
BLOCK = 2**20


def later_weights(about: Mapping[str, Any], run: Path, time: float) -> str | None:
    """A line if the checkpoint that `about` names is there and its weights are not those that were evaluated.

    It is looked for by its name in the folder `run`, else by its path. A file that is not newer than the evaluation, at
    `time` (seconds since 1970), is not read. None also if it cannot be told.
    """
    digest, checkpoint = about.get("weights_digest"), about.get("checkpoint")
    if not isinstance(digest, str) or not isinstance(checkpoint, str) or not digest or not checkpoint:
        return None
    for path in (run / Path(checkpoint).name, Path(checkpoint)):
        with suppress(OSError, ValueError):
            if not path.is_file():
                continue
            state = path.stat()
            now = _digest(path, state.st_mtime_ns) if state.st_mtime > time else None
            if now is None or now == digest:
                return None
            on = datetime.fromtimestamp(state.st_mtime).strftime("%Y-%m-%d %H:%M")
            what = "content" if path.suffix.lower() in EXPORTED else "weights"
            return (
                f"{path.name} was written again after this evaluation, on {on}, and has other {what} now: the scores "
                f"are of {what} that it no longer has"
            )
    return None


@cache
def _digest(path: Path, _mtime_ns: int) -> str | None:
    """The digest of a file's weights; None if it cannot be read."""
    if path.suffix.lower() in EXPORTED:  # the digest is one of its bytes; loading it takes long and may log errors
        with suppress(OSError, OtherFileError), open_plain(path, LARGEST) as file:
            checksum = 0
            while block := file.read(BLOCK):
                checksum = zlib.crc32(block, checksum)
            return f"{checksum:08x}"
        return None
    from evaluate.model import load_model  # loads the networks, which few comparisons need

    try:
        return load_model(path).weights_digest()
    except (DataError, NetworkError, OSError, RuntimeError, ValueError):
        return None
