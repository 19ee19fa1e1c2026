"""Moments in Time: CSV files without a header, `class/file.mp4,label,positive,negative`, and a list of categories."""

import csv
from pathlib import Path, PurePosixPath

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from data.labels.csv_file import read_lines
from data.labels.label_file import LabelRow, check_folder_name
from data.prepare.official.common import Dropped, Official, annotation_folder, make_row, parse_index, required_file

CATEGORIES = "moments_categories.txt"
FILES = {"train": "trainingSet.csv", "val": "validationSet.csv"}


def read_moments(annotations: Path) -> Official:
    """Read both sets and the categories, whose indices give the class order. Raises DataError."""
    folder = annotation_folder(annotations, list(FILES.values()))
    categories = required_file(folder, CATEGORIES)
    classes = _read_categories(categories)
    official = Official({"Moments_in_Time": []}, [categories], class_counts=(339, 305))
    official.class_index, official.class_index_name = classes, "Moments_in_Time_classes.txt"
    for split, name in FILES.items():
        if what_is_at(folder / name) == "file":
            official.sources.append(folder / name)
            official.rows["Moments_in_Time"] += _read_set(folder / name, split, set(classes), official.dropped)
        else:
            official.notes.append(f"{folder} holds no {name}")
    return official


def _read_categories(path: Path) -> tuple[str, ...]:
    """Read `name,index` lines, in the order of the index."""
    names: dict[int, str] = {}
    for line, text in read_lines(path):
        name, _, number = (part.strip() for part in text.rpartition(","))
        index = parse_index(number)
        if not name or index is None:
            raise DataError(f"{path}, line {line}: {quoted(text)} is not name,index")
        check_folder_name(name, "class", f"{path}, line {line}")
        if names.setdefault(index, name) != name:
            raise DataError(f"{path}, line {line}: index {index} already belongs to {quoted(names[index])}")
    if sorted(names) != list(range(len(names))) or len(set(names.values())) != len(names):
        raise DataError(f"{path}: the indices are not 0 to {len(names) - 1} with a name each")
    return tuple(names[number] for number in range(len(names)))


def _read_set(path: Path, split: str, classes: set[str], dropped: Dropped) -> list[LabelRow]:
    rows: list[LabelRow] = []
    for line, text in read_lines(path):
        place = f"{path}, line {line}"
        # Split from the right: the file name may hold commas, the other fields do not.
        fields = next(csv.reader([text])) if text.startswith('"') else text.rsplit(",", 3)
        if len(fields) != 4:
            raise DataError(f"{place}: {quoted(text)} is not class/file.mp4,label,positive,negative")
        video, label = PurePosixPath(fields[0]), fields[1].strip()
        if len(video.parts) < 2:
            raise DataError(f"{place}: {quoted(str(video))} names no class folder")
        # The folder names the class; version 2 and copies of the dataset write some labels with spaces for `+`.
        if _plain(video.parent.name) != _plain(label):
            dropped.add("the label is not that of the video's folder", f"{path.name}, line {line}: {video},{label}")
            continue
        if video.parent.name not in classes:
            raise DataError(
                f"{place}: class {quoted(video.parent.name)} is not in {CATEGORIES}; are both files of one version of "
                "the dataset (339 classes, 305 in version 2)?"
            )
        check_folder_name(video.stem, "file name", place)
        rows.append(make_row(video.parent.name, video.stem, split, line))
    return rows


def _plain(name: str) -> str:
    return name.replace("+", " ").replace("_", " ").lower()
