"""From label files and folders to the train and validation videos of a dataset, and what there is to say about them."""

import gc
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.labels.csv_file import read_lines
from data.labels.dataset_spec import DatasetSpec
from data.labels.hints import counted, explain_empty_classes, explain_missing, find_jpg, hint_for_rows, near_name, some
from data.labels.label_file import LabelRow, describe_clip, read_labels, write_labels
from data.labels.scan_cache import Look, index_key, remembered
from data.labels.video_list import ClassFolders, FoundVideo, VideoList, look_up, pack

__all__ = ["LabelFiles", "LabelRow", "Splits", "VideoList", "find_label_files", "load_splits", "read_labels"]
__all__ += ["read_class_index", "write_labels"]

SHOWN = 3  # names in a line of the report
SMALL = 1_000_000  # bytes of label files, some 30,000 videos: what is looked at anew at each start, without an index


class LabelFiles(NamedTuple):
    """The label files of a dataset: two, or one and the same with a column `split`."""

    train: Path
    val: Path


class Splits(NamedTuple):
    """The videos to train and to validate on, with the same classes, and lines for the log: what is missing and why."""

    train: VideoList
    val: VideoList
    report: tuple[str, ...]


def load_splits(dataset: Path, spec: DatasetSpec, labels: Path | None = None) -> Splits:
    """Find label files and videos of a dataset.

    `dataset` holds the folder jpg, or is it. `labels` is a label file or a folder with the two that `spec` names; else
    they are looked for in `<dataset>/labels` and `<dataset>/../../labels`. Videos that are not on disk or cannot be
    used are left out and reported. Raises DataError if labels or folders make no sense, if a split has no video at all,
    or if a class has none.
    """
    jpg = find_jpg(dataset)
    files = find_label_files(jpg.parent, spec, labels)
    if sum(path.stat().st_size for path in set(files)) < SMALL:
        found = _look(jpg, files, spec)
    else:
        paths = list(dict.fromkeys(files)) + ([files.train.parent / spec.class_index] if spec.class_index else [])
        key = index_key(paths, jpg, asdict(spec))
        found = remembered([jpg.parent, files.train.parent], spec.name, key, lambda: _look(jpg, files, spec))
    return Splits(found.train, found.val, found.report)


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of cyclic garbage inside: millions of rows make none, but each collection would walk over them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@_uncollected()
def _look(jpg: Path, files: LabelFiles, spec: DatasetSpec) -> Look:
    """Look for the videos of the label files."""
    train_rows, val_rows, report = _read_splits(files)
    classes, order = _class_order(files, spec, {row.label for row in train_rows} | {row.label for row in val_rows})
    report.append(order)
    folders = ClassFolders(jpg, classes)
    positions = {name: position for position, name in enumerate(classes)}
    lists: list[VideoList] = []
    problems: list[str] = []
    unusable: list[FoundVideo] = []
    for split, path, rows in (("train", files.train, train_rows), ("val", files.val, val_rows)):
        found = look_up(folders, rows)
        usable = [
            (positions[row.label], video) for row, video in zip(rows, found, strict=True) if video and video.frames
        ]
        if not usable:
            raise DataError(explain_missing(split, path, rows, folders, found))
        lists.append(pack(jpg, classes, usable))
        unusable += [video for video in found if video and not video.frames]
        problems += _describe_losses(split, path, rows, folders, found)
    train, val = lists
    problems += _check_classes(classes, train, val, train_rows + val_rows, folders)
    complete = f" (a complete copy has {spec.num_classes})" if spec.num_classes not in (None, len(classes)) else ""
    report.append(
        f"{spec.name}: {counted(len(classes), 'class')}{complete}, {len(train)} train and {len(val)} val videos "
        f"in {jpg}"
    )
    report += problems
    return Look(train, val, tuple(report), tuple(unusable), tuple(folders.present), folders.times)


def find_label_files(dataset: Path, spec: DatasetSpec, labels: Path | None = None) -> LabelFiles:
    """Find the label files that `labels` names, or else those in the places where they are kept. Raises DataError."""
    if labels is not None:
        if labels.is_file():
            return LabelFiles(labels, labels)
        if not labels.is_dir():
            raise DataError(f"{labels}: no such label file or folder")
        places = [labels]
    else:
        # The literal and, where the dataset is a link, the linked place: either may be meant by `<dataset>/../..`.
        above = (Path(os.path.abspath(dataset)).parents, dataset.resolve().parents)  # noqa: PTH100 (keeps links)
        places = [dataset / "labels", *dict.fromkeys(parents[1] / "labels" for parents in above if len(parents) > 1)]
    for place in places:
        files = _label_files_in(place, spec)
        if files is None and place == places[0]:  # the others are not this dataset's own
            files = _single_label_file(place)
        if files is not None:
            return files
    looked = "; ".join(
        f"{place} holds {some([path.name for path in place.glob('*.csv')], 'CSV file')}"
        if place.is_dir()
        else f"{place} does not exist"
        for place in places
    )
    raise DataError(
        f"no label files of {spec.name}: looked for {spec.train_labels} and {spec.val_labels}: {looked}. Make them "
        "with python -m data.prepare.labels, or say with --labels where they are"
    )


def _label_files_in(place: Path, spec: DatasetSpec) -> LabelFiles | None:
    files = LabelFiles(place / spec.train_labels, place / spec.val_labels)
    present = [path.is_file() for path in files]
    if all(present):
        return files
    if any(present):
        there, absent = (files.train, files.val) if present[0] else (files.val, files.train)
        raise DataError(f"{there} is there but {absent.name} is not beside it; both are needed")
    return None


def _single_label_file(place: Path) -> LabelFiles | None:
    """A folder's only CSV file, unless its name says that it is one split's."""
    paths = sorted(place.glob("*.csv"))
    if len(paths) != 1 or re.search(r"train|val|test", paths[0].stem, re.IGNORECASE):
        return None
    return LabelFiles(paths[0], paths[0])


def read_class_index(path: Path) -> tuple[str, ...]:
    """Read a class index file: one class name a line, in class order. Raises DataError for an empty or double one."""
    lines: dict[str, int] = {}
    for line, name in read_lines(path):
        if name in lines:
            raise DataError(f"{path}: class {name!r} is on lines {lines[name]} and {line}")
        lines[name] = line
    if not lines:
        raise DataError(f"{path}: the file is empty")
    return tuple(lines)


def _class_order(files: LabelFiles, spec: DatasetSpec, names: set[str]) -> tuple[tuple[str, ...], str]:
    """The classes of the labels in the order of the dataset's index, or sorted; and a line that says which."""
    path = files.train.parent / spec.class_index if spec.class_index else None
    if path is None or not path.is_file():
        reason = f": there is no class index {path}" if path else ""
        return tuple(sorted(names)), f"classes in the order of their sorted names{reason}"
    index = read_class_index(path)
    unknown = sorted(names.difference(index))
    if unknown:
        near = near_name(unknown[0], index)
        raise DataError(
            f"{some(unknown, 'class')} of the labels {files.train} and {files.val} "
            f"{_are(unknown)} not among the {len(index)} of the class index {path}"
            + (f"; did you mean {near!r}?" if near else "")
        )
    return tuple(name for name in index if name in names), f"classes in the order of {path}"


def _read_splits(files: LabelFiles) -> tuple[list[LabelRow], list[LabelRow], list[str]]:
    """The rows of both splits, and lines that say which file they are from and which rows are left out."""
    if files.train == files.val:
        train, val, report = _divide(files.train)
    else:
        report = [f"labels: {files.train} and {files.val}"]
        train, train_lines = _select("train", files.train)
        val, val_lines = _select("val", files.val)
        report += train_lines + val_lines
    report += _overlap(files, train, val)
    return train, val, report


def _divide(path: Path) -> tuple[list[LabelRow], list[LabelRow], list[str]]:
    """Divide the rows of one label file by their split; test rows validate where there are no others."""
    rows = read_labels(path)
    unclear = next((row for row in rows if not row.split), None)
    if unclear is not None:
        raise DataError(
            f"{path}, line {unclear.line}: no split; a single label file needs train or val in the column split of "
            "each row. Give the folder by --labels if train and val have a file each"
        )
    by_split = {split: [row for row in rows if row.split == split] for split in ("train", "val", "test")}
    report = [f"labels: {path}"]
    if not by_split["val"] and by_split["test"]:
        report.append(f"{path} has no val rows: its {len(by_split['test'])} test rows are used for validation")
        by_split["val"] = by_split["test"]
    elif by_split["test"]:
        report.append(f"the {len(by_split['test'])} test rows of {path} are not used")
    for split in ("train", "val"):
        if not by_split[split]:
            raise DataError(
                f"{path} has no {split} rows; --labels takes one file with the rows of both splits, or the folder that "
                "holds a file for each"
            )
    return by_split["train"], by_split["val"], report


def _select(split: str, path: Path) -> tuple[list[LabelRow], list[str]]:
    """The rows of a label file that stands for one split: those that do not say another."""
    rows = read_labels(path)
    chosen = [row for row in rows if row.split in ("", split)]
    if len(chosen) == len(rows):
        return rows, []
    others = Counter(row.split for row in rows if row.split not in ("", split))
    said = ", ".join(f"{number} {name}" for name, number in others.items())
    if chosen:
        return chosen, [f"{path} is the {split} label file: its {said} rows are not used"]
    if split == "val" and set(others) == {"test"}:
        return rows, [f"the {said} rows of {path} are used for validation"]
    raise DataError(f"{path} is the {split} label file, but the column split of its rows says otherwise: {said}")


def _overlap(files: LabelFiles, train: Sequence[LabelRow], val: Sequence[LabelRow]) -> list[str]:
    """A line on videos in both splits. Raises DataError for two clips that would share a folder."""
    others = {(row.label, row.video_id): row for row in val}
    both: list[str] = []
    for row in train:
        other = others.get((row.label, row.video_id))
        if other is None:
            continue
        if (row.youtube_id, row.time_start, row.time_end) != (other.youtube_id, other.time_start, other.time_end):
            raise DataError(
                f"line {row.line} of {files.train} and line {other.line} of {files.val} are two clips of one folder: "
                f"{describe_clip(row)} and {describe_clip(other)} of class {row.label!r} are both {row.video_id} in "
                "whole seconds; remove one"
            )
        both.append(f"{row.label}/{row.video_id}")
    return [f"in both the train and the val labels: {counted(len(both), 'video')}, {_first(both)}"] if both else []


def _describe_losses(
    split: str, path: Path, rows: Sequence[LabelRow], folders: ClassFolders, found: Sequence[FoundVideo | None]
) -> list[str]:
    """Lines on the videos of a split that are not on disk, and on those that are but cannot be used."""
    of = f"of {counted(len(rows), 'video')} of the {split} labels {path}"
    missing = [row for row, video in zip(rows, found, strict=True) if video is None]
    lines = []
    if missing:
        names = _first([f"{row.label}/{row.video_id}" for row in missing])
        hint = hint_for_rows(missing, folders) if len(missing) > len(rows) // 2 else ""
        lines.append(f"{len(missing)} {of} {_are(missing)} not on disk: {names}" + (f". Hint: {hint}" if hint else ""))
    broken = [f"{video.class_folder}/{video.name} {video.problem}" for video in found if video and not video.frames]
    if broken:
        lines.append(f"{len(broken)} {of} {_are(broken)} on disk but cannot be used: {_first(broken)}")
    return lines


def _check_classes(
    classes: Sequence[str], train: VideoList, val: VideoList, rows: Sequence[LabelRow], folders: ClassFolders
) -> list[str]:
    """Lines on classes that only one split has videos of. Raises DataError for a class without any."""
    have = [set(videos.labels.tolist()) for videos in (train, val)]
    empty = [name for position, name in enumerate(classes) if position not in have[0] | have[1]]
    if empty:
        raise DataError(explain_empty_classes(empty, Counter(row.label for row in rows), folders))
    lines = []
    for split, present in zip(("train", "val"), have, strict=True):
        lacking = [name for position, name in enumerate(classes) if position not in present]
        if lacking:
            lines.append(f"no {split} video of {len(lacking)} of the {len(classes)} classes: {_first(lacking)}")
    return lines


def _are(things: Sequence[object]) -> str:
    return "is" if len(things) == 1 else "are"


def _first(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f", and {more} more" if more > 0 else "")
