"""Where a dataset's class folders and its label files are."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.errors import DataError
from common.files import what_is_at
from data.labels.class_folders import list_names
from data.labels.dataset_spec import DatasetSpec
from data.labels.hints import hint_for_folder
from data.labels.text import near_name, some

VIDEOS = "videos"  # the folder of the class folders of video files

Found = TypeVar("Found")


class LabelFiles(NamedTuple):
    """The label files of a dataset: two, or the same one twice if it has a column `split`."""

    train: Path
    val: Path


def find_class_folders(dataset: Path, source: str = "frames") -> Path:
    """Return the folder that holds the class folders: `<dataset>/jpg`, or `<dataset>/videos` with the source "videos".

    That is `dataset` itself if it has this name. DataError if there is none.
    """
    if source == "frames":
        return find_jpg(dataset)
    if what_is_at(dataset / VIDEOS) == "folder":
        return dataset / VIDEOS
    if dataset.name == VIDEOS and what_is_at(dataset) == "folder":
        return dataset
    if what_is_at(dataset / "jpg") == "folder" or dataset.name == "jpg":
        raise DataError(
            f"{dataset} holds frames (jpg) and no folder {VIDEOS}, which --source videos reads: leave that flag out, "
            f"or put the videos there, as {VIDEOS}/<class>/<video id>.mp4"
        )
    if what_is_at(dataset) != "folder":
        return find_jpg(dataset)  # says what is wrong
    raise DataError(
        f"dataset folder {dataset} holds no folder {VIDEOS}, which should contain <class>/<video id>.mp4; it holds "
        f"{some(list_names(dataset), 'name')}. Put the videos there, or make both them and the label files with python "
        f"-m data.prepare.folder VIDEOS DATASET --source {source}"
    )


def find_jpg(dataset: Path) -> Path:
    """Return the folder that holds the class folders: `<dataset>/jpg`, or `dataset` itself if its name is jpg.

    Raises DataError, which says what is there instead, if there is no such folder.
    """
    try:
        there = what_is_at(dataset)
    except DataError as error:
        raise DataError(f"{error}{_closed_folder(dataset)}") from None
    if not there:
        raise DataError(f"dataset folder {dataset} does not exist; {_nearest_folder(dataset)}")
    if there != "folder":
        raise DataError(f"{dataset} is a {there}; a dataset is a folder that holds jpg/<class>/<video id>/frames.db")
    if what_is_at(dataset / "jpg") == "folder":
        return dataset / "jpg"
    if dataset.name == "jpg":
        return dataset
    if what_is_at(dataset / VIDEOS) == "folder":
        raise DataError(
            f"{dataset} holds video files ({VIDEOS}) and no frames (jpg): add --source videos, or convert them: "
            f"python -m data.prepare.convert {dataset / VIDEOS} {dataset}"
        )
    hint = hint_for_folder(dataset, dataset)
    for parent in dataset.absolute().parents:
        if parent.name == "jpg":
            hint = f". Hint: this folder is inside of a dataset: give {parent.parent}"
    raise DataError(
        f"dataset folder {dataset} holds no folder jpg, which should contain <class>/<video id>/frames.db; "
        f"it holds {some(list_names(dataset), 'name')}{hint}"
    )


def _nearest_folder(path: Path) -> str:
    """The nearest folder above a missing path, and what it holds."""
    path = path.absolute()
    parent = next(parent for parent in path.parents if what_is_at(parent))
    try:
        names = list_names(parent) if what_is_at(parent) == "folder" else []
    except DataError as error:
        return str(error)
    near = near_name(path.relative_to(parent).parts[0], names, cutoff=0.6)
    return f"{parent} holds {some(names, 'name')}" + (f"; did you mean {parent / near}?" if near else "")


def _closed_folder(path: Path) -> str:
    """The folder on the way to `path` that this user may not enter, for a message."""
    closed = next((parent for parent in reversed(path.absolute().parents) if not _may_enter(parent)), None)
    return f"; this user may not enter the folder {closed}" if closed else ""


def _may_enter(folder: Path) -> bool:
    return os.access(folder, os.X_OK, effective_ids=os.access in os.supports_effective_ids)


def find_label_files(
    dataset: Path, spec: DatasetSpec, labels: Path | None = None, source: str = "frames"
) -> LabelFiles:
    """Return the label files that `labels` names, or those in the usual places. Raises DataError if there are none.

    `labels` is a label file or a folder. The usual places are `<dataset>/labels` and `<dataset>/../../labels`.
    """
    if labels is not None and _is_label_file(labels):
        return LabelFiles(labels, labels)
    return _search(dataset, spec, labels, source, _both_label_files)


def find_val_labels(
    dataset: Path, spec: DatasetSpec, labels: Path | None = None, source: str = "frames"
) -> tuple[Path | None, Path]:
    """Return the train label file, if there is one, and the file with the val labels; as `find_label_files` does.

    The places are searched in the same order, so that an evaluation takes the labels of the training. Only the train
    labels may be absent. A label file that `labels` names is both: it holds the val labels, perhaps among others.
    """
    if labels is not None and _is_label_file(labels):
        return labels, labels
    return _search(dataset, spec, labels, source, _val_label_file)


def _is_label_file(labels: Path) -> bool:
    """Whether `--labels` names a file; False for a folder. DataError for anything else."""
    there = what_is_at(labels)
    if there not in ("file", "folder"):
        problem = f" is a {there}, not a" if there else ": no such"
        raise DataError(f"{labels}{problem} label file or folder")
    return there == "file"


def _search(
    dataset: Path,
    spec: DatasetSpec,
    labels: Path | None,
    source: str,
    in_place: Callable[[Path, DatasetSpec], Found | None],
) -> Found | LabelFiles:
    """What `in_place` finds in the first place that has label files. DataError if none has."""
    places = _usual_places(dataset) if labels is None else [labels]
    for place in places:
        files: Found | LabelFiles | None = in_place(place, spec)
        if files is None and place == places[0]:  # the other places are shared with other datasets
            files = _single_label_file(place)
        if files is not None:
            return files
    looked = "; ".join(
        f"{place} holds {some(map(str, csv_files(place)), 'CSV file')}"
        if what_is_at(place) == "folder"
        else f"{place} does not exist"
        for place in places
    )
    flag = "" if source == "frames" else f" VIDEOS DATASET --source {source}"
    raise DataError(
        f"no label files of {spec.name}: looked for {spec.train_labels} and {spec.val_labels}: {looked}. Make them "
        f"with python -m data.prepare.labels, those of your own videos with python -m data.prepare.folder{flag}, or "
        "say with --labels where they are"
    )


def _usual_places(dataset: Path) -> list[Path]:
    # If the dataset is a link, `<dataset>/../..` may be meant from the link or from its target.
    above = (Path(os.path.abspath(dataset)).parents, dataset.resolve().parents)  # noqa: PTH100 (keeps links)
    return [dataset / "labels", *dict.fromkeys(parents[1] / "labels" for parents in above if len(parents) > 1)]


def _val_label_file(place: Path, spec: DatasetSpec) -> tuple[Path | None, Path] | None:
    train, val = place / spec.train_labels, place / spec.val_labels
    if what_is_at(val) != "file":
        return _both_label_files(place, spec)
    return (train if what_is_at(train) == "file" else None), val


def _both_label_files(place: Path, spec: DatasetSpec) -> LabelFiles | None:
    files = LabelFiles(place / spec.train_labels, place / spec.val_labels)
    present = [what_is_at(path) == "file" for path in files]
    if all(present):
        return files
    if any(present):
        there, absent = (files.train, files.val) if present[0] else (files.val, files.train)
        raise DataError(f"{there} is there but {absent.name} is not beside it; both are needed")
    return None


def _single_label_file(place: Path) -> LabelFiles | None:
    """The only CSV file of a folder, unless its name says that it is for one split."""
    names = csv_files(place) if what_is_at(place) == "folder" else []
    if len(names) != 1 or re.search(r"train|val|test", Path(names[0]).stem, re.IGNORECASE):
        return None
    return LabelFiles(place / names[0], place / names[0])


def csv_files(folder: Path) -> list[str]:
    """The names of the CSV files of a folder."""
    # `._train.csv` is what macOS writes beside a file on other file systems.
    return [name for name in list_names(folder) if name.endswith(".csv") and not name.startswith("._")]
