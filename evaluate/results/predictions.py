"""The predictions of an evaluation, a row a video, and their file predictions.npz."""

import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from common.archives import read_arrays, unpacks_to_far_more
from common.errors import DataError
from common.files import OtherFileError, atomic_file, open_plain, what_is_at, write_errors
from common.json_text import json_text
from common.text import quoted, shortened

FILE = "predictions.npz"
LARGEST = 2**34  # bytes of such a file; 100,000 videos of 700 classes have less than 0.3 GB
MOST_UNPACKED = 64  # times the bytes of the file; short names beside a long one are mostly zeros
SMALL = 2**30  # bytes that any file may unpack to
FARTHEST = 0.02  # of the logarithm of a video's sum of probabilities from 0; copies in half precision need 0.004
BLOCK = 4096  # videos whose sums are taken at a time
ARRAYS = {"ids": "U", "labels": "i", "classes": "U", "log_probabilities": "f", "about": "U"}
"""The arrays of the file, and the kinds of their values."""
DAMAGE = (
    OSError, ValueError, KeyError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error,
    RuntimeError, RecursionError, MemoryError,
)  # fmt: skip
"""What zipfile, zlib, numpy and json raise for damaged files."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """The log-probabilities of N videos over C classes, and what they are of. Videos are in the order of their ids."""

    ids: np.ndarray
    """str (N,): `<class folder>/<video>`, each once."""
    labels: np.ndarray
    """int64 (N,), into `classes`; -1 if the class is not known."""
    classes: tuple[str, ...]
    """C names, in the order of the logits."""
    log_probabilities: np.ndarray
    """float32 (N, C), of the mean of the probabilities of a video's views."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What was evaluated: "checkpoint", "network", "split", "views", "options" of the run ... plain types."""

    def __len__(self) -> int:
        return len(self.ids)


def write_predictions(path: Path, predictions: Predictions) -> None:
    """Write a file that `read_predictions` reads; numpy alone reads it too. DataError if it cannot be written."""
    with write_errors(path), atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file,
            ids=np.asarray(predictions.ids, dtype=str),
            labels=predictions.labels.astype(np.int64),
            classes=np.asarray(predictions.classes, dtype=str),
            log_probabilities=predictions.log_probabilities.astype(np.float32),
            about=np.asarray(json_text(dict(predictions.about))),
        )


def read_predictions(path: Path) -> Predictions:
    """The predictions of a file, or of a folder that has one under its usual name. DataError if it is no such file."""
    if what_is_at(path) == "folder":
        path = path / FILE
    try:
        with open_plain(path, LARGEST) as content:
            if content.read(2) != b"PK":
                raise ValueError("it is no .npz")
            content.seek(0)
            arrays = _arrays(path, content, ARRAYS)
        about = json.loads(str(arrays["about"]))
    except OtherFileError:
        raise
    except FileNotFoundError:
        raise DataError(f"there is no {path}: an evaluation writes it") from None
    except DAMAGE as error:
        raise DataError(f"{path} is damaged, or no file of predictions ({shortened(str(error), 150)})") from error
    _check(path, arrays, about)
    classes = tuple(map(str, arrays["classes"]))
    # In the machine's byte order and the types that torch takes.
    ids, labels = arrays["ids"], np.ascontiguousarray(arrays["labels"], np.int64)
    ids = ids.astype(ids.dtype.newbyteorder("="))
    return Predictions(ids, labels, classes, _as_float32(arrays["log_probabilities"]), about)


def read_about(folder: Path) -> dict[str, Any]:
    """What the predictions in an evaluation's folder are of, without reading them; empty if that cannot be told."""
    with suppress(OtherFileError, *DAMAGE), open_plain(folder / FILE, LARGEST) as content:
        about = json.loads(str(_arrays(folder / FILE, content, ["about"])["about"]))
        return about if isinstance(about, dict) else {}
    return {}


def _arrays(path: Path, content: BinaryIO, names: Iterable[str]) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(content) as archive:
        if unpacks_to_far_more(archive, path.stat().st_size, MOST_UNPACKED, SMALL):
            raise ValueError("it unpacks to far more bytes than it has")
        return read_arrays(archive, names)


def _as_float32(scores: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # of less than -3.4e38, which is -inf then
        return np.ascontiguousarray(scores, np.float32)


def _check(path: Path, arrays: Mapping[str, np.ndarray], about: object) -> None:
    """DataError if the arrays do not fit each other."""
    ids, labels, classes, scores = (arrays[name] for name in ("ids", "labels", "classes", "log_probabilities"))
    problem = ""
    if any(arrays[name].dtype.kind != kind for name, kind in ARRAYS.items()) or not isinstance(about, dict):
        problem = "its arrays are of other types"
    elif ids.ndim != 1 or labels.shape != ids.shape or scores.shape != (len(ids), *classes.shape) or not len(classes):
        problem = f"its arrays do not fit: {ids.shape} ids, {labels.shape} labels, {scores.shape} scores"
    elif len(np.unique(ids)) < len(ids) or len(np.unique(classes)) < len(classes):
        problem = "it names a video or a class twice"
    elif len(labels) and not -1 <= labels.min() <= labels.max() < len(classes):
        problem = "it has labels that are no classes"
    elif np.isnan(scores).any() or (len(scores) and scores.max() > 1e-3):
        problem = "its scores are no log-probabilities"
    elif len(wrong := _wrong_sums(scores)):
        problem = (
            f"its scores are no log-probabilities: of {len(wrong)} of {len(ids)} videos, such as "
            f"{quoted(str(ids[wrong[0]]))}, the probabilities do not add up to 1"
        )
    if problem:
        raise DataError(f"{path} is damaged, or no file of predictions: {problem}")


def _wrong_sums(scores: np.ndarray) -> np.ndarray:
    """The videos whose probabilities do not add up to 1."""
    starts = range(0, len(scores), BLOCK)
    sums = [np.exp(_as_float32(scores[start : start + BLOCK])).sum(axis=1, dtype=np.float64) for start in starts]
    with np.errstate(divide="ignore"):
        return np.flatnonzero(np.abs(np.log(np.concatenate(sums or [np.ones(0)]))) > FARTHEST)
