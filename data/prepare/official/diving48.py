"""Diving-48 V2: JSON lists of `{"vid_name", "label", "start_frame", "end_frame"}`; `Diving48_vocab.json` has the names.

Each video is already cut to one dive. The start and end frames refer to this video's frames, so they are not times to
cut at and are not written.
"""

import json
from pathlib import Path
from typing import Any

from common.errors import DataError
from common.text import quoted
from data.labels.csv_file import read_text
from data.labels.label_file import LabelRow, check_folder_name
from data.prepare.official.common import Official, annotation_folder, files_like, make_row, required_file

VOCABULARY = "Diving48_vocab.json"
ROWS = {"train": 15027, "val": 1970}  # of the second version
FILES = {"train": "Diving48*_train.json", "val": "Diving48*_test.json"}


def read_diving48(annotations: Path) -> Official:
    """Read both sets and the vocabulary's class order; the test set becomes `val`. Raises DataError."""
    folder = annotation_folder(annotations, list(FILES.values()))
    classes = _read_vocabulary(required_file(folder, VOCABULARY))
    official = Official({"diving48": []}, [folder / VOCABULARY], class_counts=(48,))
    official.class_index, official.class_index_name = classes, "diving48_classes.txt"
    for split, pattern in FILES.items():
        paths = sorted(files_like(folder, pattern), key=lambda path: "V2" not in path.name)
        if not paths:
            official.notes.append(f"{folder} holds no {pattern}")
            continue
        if "V2" not in paths[0].name:
            official.notes.append(f"{paths[0].name} is the first version; the second (V2) has corrected labels")
        else:
            official.row_counts[f"diving48_{split}"] = ROWS[split]
        official.notes += [f"{path.name} not read: {paths[0].name} is of the second version" for path in paths[1:]]
        official.sources.append(paths[0])
        official.rows["diving48"] += _read_set(paths[0], split, classes)
    return official


def _read_vocabulary(path: Path) -> tuple[str, ...]:
    """Join the four words of each class: ["Back", "15som", "05Twis", "FREE"] is Back_15som_05Twis_FREE."""
    entries = _read_json_list(path)
    for position, entry in enumerate(entries):
        if not isinstance(entry, list) or not entry or not all(isinstance(word, str) and word for word in entry):
            raise DataError(f"{path}: entry {position} is not a list of words: {quoted(entry)}")
    names = ["_".join(entry) for entry in entries]
    for position, name in enumerate(names):
        check_folder_name(name, "class", f"{path}, entry {position}")
        if names.index(name) != position:
            raise DataError(f"{path}: entries {names.index(name)} and {position} are the same class, {quoted(name)}")
    return tuple(names)


def _read_set(path: Path, split: str, classes: tuple[str, ...]) -> list[LabelRow]:
    rows: list[LabelRow] = []
    for position, entry in enumerate(_read_json_list(path)):
        place = f"{path}, entry {position}"
        if not isinstance(entry, dict) or not {"vid_name", "label"} <= entry.keys():
            raise DataError(f"{place}: no vid_name and label in {quoted(entry)}")
        name, label = entry["vid_name"], entry["label"]
        if not isinstance(name, str):
            raise DataError(f"{place}: vid_name {quoted(name)} is not text")
        if not isinstance(label, int) or isinstance(label, bool) or not 0 <= label < len(classes):
            raise DataError(
                f"{place}: label {quoted(label)} is not an index of the {len(classes)} classes in {VOCABULARY}"
            )
        check_folder_name(name, "vid_name", place)
        rows.append(make_row(classes[label], name, split, position))
    return rows


def _read_json_list(path: Path) -> list[Any]:
    try:
        content = json.loads(read_text(path))
    except RecursionError:
        raise DataError(f"{path}: JSON of lists within lists, as no annotations have them") from None
    except DataError:  # is a ValueError too
        raise
    except ValueError as error:  # not JSON, or a number of thousands of digits
        raise DataError(f"{path}: not JSON: {error}") from None
    if not isinstance(content, list):
        raise DataError(f"{path}: expected a JSON list, found {type(content).__name__}")
    return content
