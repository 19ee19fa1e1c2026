"""What earlier runs of data.prepare.folder wrote into a dataset: names, splits and label files.

<dataset>/folder_names.csv    a row for each video: label, id, split, group, and the source that it is made from
<dataset>/folder_state.json   how the split was made, the class order, and digests of the label files, which tell a
                              user's changes
<dataset>/labels/             train.csv, val.csv, perhaps test.csv, and the class order custom_classes.txt
"""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import DataError
from common.files import atomic_file, open_plain_text, reason, what_is_at, write_errors
from data.labels.csv_file import read_table
from data.prepare.folder_names import Key

NAMES = "folder_names.csv"
STATE = "folder_state.json"
CLASSES = "custom_classes.txt"
LABEL_FILES = {"train": "train.csv", "val": "val.csv", "test": "test.csv"}
COLUMNS = ["label", "id", "split", "group", "source", "times"]
VERSION = 1
LARGEST = 2**24  # bytes of folder_state.json


class Named(NamedTuple):
    """A row of the list of names."""

    label: str
    video_id: str
    split: str
    group: str
    source: str  # below VIDEOS, as a list has it
    times: str

    @property
    def key(self) -> Key:
        """What tells the video from the others."""
        return self.label, self.source, self.times


class State(NamedTuple):
    """What is there already."""

    names: list[Named]
    split: Mapping[str, Any]  # how the split was made
    written: Mapping[str, list[str]]  # digests of each label file, of the last two versions
    labelled: Mapping[tuple[str, str], str]  # the split of each (class, id) in the label files
    text: str  # of folder_state.json, to notice another run
    classes: list[str]  # in the order of custom_classes.txt, or of folder_state.json if that is not there


def read_state(dataset: Path) -> State:
    """Read what earlier runs wrote. DataError if a label file is there that no run wrote, or was changed since."""
    if (there := what_is_at(dataset / "labels")) not in ("", "folder"):
        raise DataError(f"{dataset / 'labels'} is a {there}, but the label files go there; move it away")
    text = _read(dataset / STATE)
    plain = _parsed(dataset / STATE, text) if text else {"split": {}, "written": {}, "classes": []}
    labelled: dict[tuple[str, str], str] = {}
    classes: list[str] = plain["classes"]
    for split, name in (*LABEL_FILES.items(), ("", CLASSES)):
        path = dataset / "labels" / name
        there = what_is_at(path)
        if not there and not path.is_symlink():
            continue
        if there != "file" or _digest(_bytes(path)) not in plain["written"].get(name, []):
            raise DataError(_not_known(dataset, path, bool(text)))
        if split:
            # As it was written: in an id of older versions, a suffix of videos would be taken for that of a file.
            labelled |= {(label, video_id): split for _, (label, video_id) in read_table(path)[1]}
        else:
            classes = _bytes(path).decode().split("\n")[:-1]
    return State(read_names(dataset / NAMES), plain["split"], plain["written"], labelled, text, classes)


def _not_known(dataset: Path, path: Path, has_state: bool) -> str:
    """What is told of a label file that does not have one of the digests in folder_state.json, or of its absence."""
    if has_state:
        what = "is there and was not written by this command, or was changed since"
        return f"{path} {what}: move it away, or give another DATASET"
    what = f"{path} is there, but {STATE} is not, which tells whether this command has written it"
    end = (
        f"{NAMES} still has the splits"
        if what_is_at(dataset / NAMES)
        else f"without {NAMES}, the videos are then divided anew"
    )
    return f"{what}: put that back; or move {dataset / 'labels'} away ({end}), or give another DATASET"


def write_state(
    dataset: Path, before: State, split: Mapping[str, Any], names: Sequence[Named], files: Mapping[str, str | None]
) -> None:
    """Write the names, the state and the label files; a file whose text is None is removed. DataError.

    The state is written before the label files: a run that is killed between them leaves files that the next one knows.
    """
    if _read(dataset / STATE) != before.text:
        raise DataError(f"{dataset / STATE}: another run has changed it; give the same command again")
    known = {name: list(digests) for name, digests in before.written.items()}
    for name, text in files.items():
        if text is not None:
            known[name] = list(dict.fromkeys([_digest(text.encode()), *known.get(name, [])]))[:2]
    classes = (files.get(CLASSES) or "").split("\n")[:-1]
    plain = {"version": VERSION, "split": split, "written": known, "classes": classes}
    _write(dataset / NAMES, _names_text(names))
    _write(dataset / STATE, json.dumps(plain, indent=1) + "\n")
    labels = dataset / "labels"
    with write_errors(labels):
        labels.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        if text is not None:
            _write(labels / name, text)
        else:
            with write_errors(labels / name):
                (labels / name).unlink(missing_ok=True)


def label_text(rows: Iterable[tuple[str, str]]) -> str:
    """The text of a label file of (class, id)."""
    return _csv([("label", "id"), *rows])


def _names_text(names: Sequence[Named]) -> str:
    return _csv([COLUMNS, *names])


def _csv(rows: Iterable[Sequence[str]]) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def read_names(path: Path) -> list[Named]:
    """The rows of the list of names; none if there is no such file. DataError if it is of another program."""
    if not what_is_at(path):
        return []
    columns, rows = read_table(path)
    if columns != COLUMNS:
        raise DataError(f"{path}: the header is not {','.join(COLUMNS)}: it is of another program; move it away")
    return [Named(*fields) for _, fields in rows]


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        plain = json.loads(text)
    except (ValueError, RecursionError):
        plain = None
    if not isinstance(plain, dict) or plain.get("version") != VERSION:
        raise DataError(f"{path} is not as this version of the command writes it: move it and {NAMES} away")
    split, written, classes = plain.get("split"), plain.get("written"), plain.get("classes", [])  # older: no classes
    if not isinstance(split, dict) or not isinstance(written, dict) or not isinstance(classes, list):
        raise DataError(f"{path} is damaged: move it and {NAMES} away")
    if not all(isinstance(each, list) for each in written.values()) or not all(
        isinstance(each, str) for each in classes
    ):
        raise DataError(f"{path} is damaged: move it and {NAMES} away")
    return {"split": split, "written": written, "classes": classes}


def _read(path: Path) -> str:
    if not what_is_at(path):
        return ""
    try:
        with open_plain_text(path, LARGEST) as file:
            return file.read()
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is damaged: move it and {NAMES} away") from None


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None


def _write(path: Path, text: str) -> None:
    with write_errors(path), atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=16).hexdigest()
