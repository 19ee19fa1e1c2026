"""HMDB-51: one file for each class and split, `<class>_test_split<1-3>.txt`, with lines `<file>.avi <code>`."""

import re
from pathlib import Path

from common.errors import DataError
from common.text import quoted
from data.labels.csv_file import read_lines
from data.labels.label_file import LabelRow, check_folder_name
from data.prepare.official.common import (
    Dropped,
    Official,
    annotation_folder,
    check_splits_found,
    files_like,
    have_suffixes,
    make_row,
    video_id_of,
)

FILE_NAME = re.compile(r"(?P<label>.+)_test_split(?P<split>[123])\.txt")
UNUSED = "0"
ROWS = {"train": 51 * 70, "val": 51 * 30}  # of complete annotations in each split
CODES = {"1": "train", "2": "val"}  # the dataset calls code 2 the test set


def read_hmdb51(annotations: Path, split: int | None) -> Official:
    """Read one of the three splits, or all that are there if None; the test set becomes `val`. Raises DataError."""
    folder = annotation_folder(annotations, ["*_test_split[123].txt"])
    files: dict[int, list[tuple[str, Path]]] = {}
    for path in files_like(folder, "*_test_split[123].txt"):
        match = FILE_NAME.fullmatch(path.name)
        if match:
            files.setdefault(int(match["split"]), []).append((match["label"], path))
    official = Official({}, [], class_counts=(51,))
    official.notes += check_splits_found(sorted(files), split, folder, "*_test_split files")
    for number in sorted(files) if split is None else [split]:
        official.sources += [path for _, path in files[number]]
        official.row_counts |= {f"hmdb_split{number}_{name}": rows for name, rows in ROWS.items()}
        official.rows[f"hmdb_split{number}"] = [
            row for label, path in files[number] for row in _read_class(path, label, number, official.dropped)
        ]
        lacking = {label for labels in files.values() for label, _ in labels} - {label for label, _ in files[number]}
        if lacking:
            official.notes.append(f"split {number} has no file of {sorted(lacking)[0]}, which other splits have")
    return official


def _read_class(path: Path, label: str, number: int, dropped: Dropped) -> list[LabelRow]:
    check_folder_name(label, "class", str(path))
    rows: list[LabelRow] = []
    lines = list(read_lines(path))
    with_suffixes = have_suffixes(word for _, text in lines for word in text.rsplit(maxsplit=1))
    for line, text in lines:
        place = f"{path}, line {line}"
        name, code = text.rsplit(maxsplit=1) if " " in text else (text, "")  # a file name may hold any other character
        if code != UNUSED and code not in CODES:
            raise DataError(f"{place}: {quoted(text)} is not a file name and 0, 1 or 2")
        video_id = video_id_of(name, place, with_suffixes)
        if code == UNUSED:
            dropped.add(f"not used in split {number} (code 0)", f"{path.name}, line {line}: {name}")
        else:
            rows.append(make_row(label, video_id, CODES[code], line))
    return rows
