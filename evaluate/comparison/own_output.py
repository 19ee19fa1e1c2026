"""Where an output goes, and whether what would be replaced is an earlier output of the same command."""

import json
from pathlib import Path

from common.errors import DataError
from common.files import OtherFileError, check_output, open_plain, what_is_at
from evaluate.results.predictions import FILE, read_predictions

LARGEST = 2**28  # bytes that are read of a file to be replaced


def check_own_json(path: Path, kind: str) -> None:
    """DataError if there is a file at `path` that is not JSON with `"kind": kind`: it may be a run's or a user's."""
    if not what_is_at(path):
        return
    try:
        with open_plain(path, LARGEST) as file:
            content = json.load(file)
    except (OSError, OtherFileError, ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.get("kind") != kind:
        raise DataError(f"--output {path} is there and is no {kind}: give another name, or move it away")


def predictions_output(path: Path, field: str) -> Path:
    """The file to write predictions to: `path` if it ends in .npz, else the usual one in the folder `path`.

    DataError if there is a file that is not one of predictions whose `about` has this field, as an earlier output has,
    or a folder of something else: predictions in the folder of a run would be taken for its evaluation.
    """
    file = path if path.suffix.lower() == ".npz" else path / FILE
    there = what_is_at(path)
    if file is not path and there == "file":
        raise DataError(f"--output {path} is a file: give a name that ends in .npz, or a folder")
    if file is not path and there == "folder" and not what_is_at(file) and any(path.iterdir()):
        raise DataError(
            f"--output {path} is a folder of other files: give a new or empty one, or a name ending in .npz"
        )
    check_output(file, (".npz",), "--output")
    if what_is_at(file) and field not in read_predictions(file).about:
        raise DataError(f"--output {file} is there and is no earlier output: give another name, or move it away")
    return file
