"""The class order: which class index each class name of the labels has."""

from pathlib import Path

from common.errors import DataError
from common.files import what_is_at
from data.labels.csv_file import read_lines
from data.labels.dataset_spec import DatasetSpec
from data.labels.locate import LabelFiles
from data.labels.text import did_you_mean, is_or_are, some


def class_order(files: LabelFiles, spec: DatasetSpec, names: set[str]) -> tuple[tuple[str, ...], str]:
    """Return the class names of the labels in class order, and a line for the log that says where the order is from.

    The position of a name is its class index. The order is that of the dataset's own class index file, if `spec` names
    one and it lies beside the train labels; else the names are sorted, exactly as the label files write them. Raises
    DataError if the class index file lacks a name.
    """
    path = class_index_file(files, spec)
    if path is None or not what_is_at(path):
        reason = f": there is no class index {path}" if path else ""
        return tuple(sorted(names)), f"classes in the order of their sorted names{reason}"
    index = read_class_index(path)
    unknown = sorted(names.difference(index))
    if unknown:
        raise DataError(
            f"{some(unknown, 'class')} of the labels {files.train} and {files.val} "
            f"{is_or_are(unknown)} not among the {len(index)} of the class index {path}"
            + did_you_mean(unknown[0], index)
            + "; correct the label files or the class index"
        )
    return tuple(name for name in index if name in names), f"classes in the order of {path}"


def class_index_file(files: LabelFiles, spec: DatasetSpec) -> Path | None:
    """Where the dataset's own class index should be; None if it has none."""
    return files.train.parent / spec.class_index if spec.class_index else None


def read_class_index(path: Path) -> tuple[str, ...]:
    """Read a class index file: one class name a line, in class order. DataError if it is empty or repeats a name."""
    lines: dict[str, int] = {}
    for line, name in read_lines(path):
        if name in lines:
            raise DataError(f"{path}: class {name!r} is on lines {lines[name]} and {line}")
        lines[name] = line
    if not lines:
        raise DataError(f"{path}: the file is empty")
    return tuple(lines)
