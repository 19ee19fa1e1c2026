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
from evaluate.results.checkpoint_file import is_as_found, is_told

EXPORTED = (".onnx", ".pt2")
LARGEST = 2**35  # bytes of an exported file that is read: a minute
BLOCK = 2**20


def later_weights(about: Mapping[str, Any], run: Path, time: float) -> str | None:
    """A line if the checkpoint that `about` names is there and its weights are not those that were evaluated.

    It is looked for by its name in the folder `run`, else by its path: a run may have been moved, or its evaluation
    copied into another folder. A file that is as the evaluation found it is not read, nor, if an older version does not
    tell how that was, one that is not newer than the evaluation, at `time` (seconds since 1970). None also if it cannot
    be told.
    """
    digest, checkpoint = about.get("weights_digest"), about.get("checkpoint")
    if not isinstance(digest, str) or not isinstance(checkpoint, str) or not digest or not checkpoint:
        return None
    places = run / Path(checkpoint).name, Path(checkpoint)
    for path in places:
        with suppress(OSError, ValueError):
            if not path.is_file():
                continue
            state = path.stat()
            if is_as_found(about, path):
                return None
            is_newer = state.st_mtime > time
            if not is_newer and not is_told(about):
                return None
            now = _digest(path, state.st_mtime_ns, about.get("weights") == "raw")
            if now is None or now == digest:
                return None
            if not is_newer and is_as_found(about, places[-1]):
                return f"the scores are of {checkpoint}, and {path}, which has the same name, has other weights"
            on = datetime.fromtimestamp(state.st_mtime).strftime("%Y-%m-%d %H:%M")
            dated = f", on {on}," if is_newer else f" (its time, {on}, is older)"
            what = "content" if path.suffix.lower() in EXPORTED else "weights"
            return (
                f"{path.name} was written again after this evaluation{dated} and has other {what} now: the scores "
                f"are of {what} that it no longer has"
            )
    return None


@cache
def _digest(path: Path, _mtime_ns: int, is_raw: bool) -> str | None:
    """The digest of a file's weights, or of those without averages if `is_raw`; None if it cannot be read."""
    if path.suffix.lower() in EXPORTED:  # the digest is one of its bytes; loading it takes long and may log errors
        with suppress(OSError, OtherFileError), open_plain(path, LARGEST) as file:
            checksum = 0
            while block := file.read(BLOCK):
                checksum = zlib.crc32(block, checksum)
            return f"{checksum:08x}"
        return None
    from evaluate.model import load_model  # loads the networks, which few comparisons need

    try:
        return _raw_digest(path) if is_raw else load_model(path).weights_digest()
    except (DataError, NetworkError, OSError, RuntimeError, ValueError):
        return None


def _raw_digest(path: Path) -> str:
    """Of the weights that training goes on with, as `--weights raw` evaluates them."""
    from network import create_network, load_checkpoint
    from network.weights.averages import without_averages
    from network.weights.reading import read_checkpoint
    from network.weights.recognising import network_facts
    from network.weights.tensors import checksum

    checkpoint = without_averages(read_checkpoint(path))
    network = create_network(**network_facts(checkpoint))
    load_checkpoint(network, checkpoint, strict=True)
    return f"{checksum(network.state_dict()):08x}"
