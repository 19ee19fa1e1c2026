"""The scan of a dataset: from label files and class folders to the videos of both splits.

`jpg` is the folder that holds the class folders: jpg, or videos with the source "videos".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.garbage import no_garbage_collection
from data.labels.class_folders import ClassFolders
from data.labels.class_order import class_order
from data.labels.dataset_spec import DatasetSpec
from data.labels.hints import (
    explain_empty_classes,
    explain_missing,
    hint_for_rows,
    hint_for_segments,
    hint_for_spelling,
)
from data.labels.label_counts import LabelCounts
from data.labels.label_file import LabelRow, read_labels
from data.labels.locate import LabelFiles
from data.labels.split_rows import read_split_rows, read_val_rows
from data.labels.text import counted, did_you_mean, first_names, is_or_are, is_youtube_name, some, spelling_notes
from data.labels.video_list import FoundVideo, VideoList, pack


class Scan(NamedTuple):
    """The result of a scan."""

    train: VideoList
    val: VideoList
    report: tuple[str, ...]  # lines for the log: what is missing and why
    unusable: tuple[FoundVideo, ...]  # videos that are on disk but are left out
    present: tuple[str, ...]  # the folders in jpg
    folder_times: Mapping[str, tuple[int, int]]  # of each class folder, read before its names


# Millions of label rows make no cyclic garbage, but each collection would visit them all.
@no_garbage_collection()
def scan_dataset(jpg: Path, files: LabelFiles, spec: DatasetSpec, source: str = "frames") -> Scan:
    """Find the videos of the label files in the class folders of `jpg`. Raises DataError as `load_splits` does."""
    rows = read_split_rows(files)
    classes, order = class_order(files, spec, {row.label for row in rows.train} | {row.label for row in rows.val})
    folders, unread = _class_folders(jpg, classes, source, files)
    train, train_unusable, train_notes = _find_split("train", files.train, rows.train, folders, classes)
    val, val_unusable, val_notes = _find_split("val", files.val, rows.val, folders, classes)
    lacking = _check_classes(train, val, folders, both := (*rows.train, *rows.val))
    complete = f" (a complete copy has {spec.num_classes})" if spec.num_classes not in (None, len(classes)) else ""
    videos = f"{len(train)} train and {len(val)} val videos in {jpg}"
    summary = f"{spec.name}: {counted(len(classes), 'class')}{complete}, {videos}"
    notes = (*spelling_notes(classes), *_shared_ids(both), *folders.twice(both))
    report = (*rows.report, *notes, order, summary, *train_notes, *val_notes, *lacking, *folders.remarks, *unread)
    return Scan(train, val, report, (*train_unusable, *val_unusable), tuple(folders.present), folders.times)


@no_garbage_collection()
def scan_val(
    jpg: Path,
    files: tuple[Path | None, Path],
    spec: DatasetSpec,
    classes: Sequence[str] | None = None,
    source: str = "frames",
    split: str = "val",
) -> tuple[VideoList, tuple[str, ...]]:
    """Find the videos of the split "val" or "test" alone.

    `files` are the train label file, if there is one, and the split's.

    Raises DataError if a label is not among `classes`, the class order of a network. Without `classes` the order is
    that of `scan_dataset`.
    """
    train, val = files
    rows, report = read_val_rows(train, val, split)
    names = {row.label for row in rows}
    if classes is None:
        names |= {row.label for path in {train or val, val} for row in read_labels(path)}
        classes, order = class_order(LabelFiles(train or val, val), spec, names)
        report.append(order)
    unknown = sorted(names.difference(classes))
    if unknown:
        raise DataError(
            f"{some(unknown, 'class')} of {val} {is_or_are(unknown)} not among the {len(classes)} that the network was "
            "trained on" + did_you_mean(unknown[0], classes)
        )
    folders, unread = _class_folders(jpg, classes, source, LabelFiles(train or val, val))
    videos, _, notes = _find_split(split, val, rows, folders, classes)
    report += [*spelling_notes(names), *_shared_ids(rows), *folders.twice(rows)]
    report.append(f"{spec.name}: {counted(len(classes), 'class')}, {len(videos)} {split} videos in {jpg}")
    lacking = len(classes) - len(set(videos.labels.tolist()))
    if lacking:
        notes.append(f"no {split} video of {lacking} of the {len(classes)} classes")
    return videos, (*report, *notes, *folders.remarks, *unread)


def _class_folders(
    jpg: Path, classes: Sequence[str], source: str, files: LabelFiles
) -> tuple[ClassFolders, Sequence[str]]:
    """The class folders of databases, or of video files, and a list that gets a line on a file that is not read."""
    unread: list[str] = []

    def all_rows() -> Iterator[LabelRow]:
        for path in dict.fromkeys(files):
            try:
                yield from read_labels(path)
            except DataError as error:  # of a train label file beside the videos of an evaluation
                unread.append(f"a folder may be that of another row, as a label file cannot be read: {error}")

    if source == "frames":
        return ClassFolders(jpg, classes, all_rows), unread
    from data.labels.video_files import VideoFolders  # loads FFmpeg, which databases do not need

    return VideoFolders(jpg, classes, [jpg.parent, files.train.parent], all_rows), unread


def _shared_ids(rows: Sequence[LabelRow]) -> list[str]:
    """A line on ids of YouTube (with their times) that rows of different classes have; 001 may be in each class."""
    if len({row.video_id for row in rows}) == len(rows):  # the usual case, in a third of the time
        return []
    label_of: dict[str, str] = {}
    shared = {row.video_id: row.label for row in rows if label_of.setdefault(row.video_id, row.label) != row.label}
    shared = {name: label for name, label in shared.items() if is_youtube_name(name)}
    if not shared:
        return []
    examples = [f"{name} ({label_of[name]} and {label})" for name, label in shared.items()]
    return [f"{counted(len(shared), 'id')} of the labels {is_or_are(shared)} in two classes: {first_names(examples)}"]


def _find_split(
    split: str, path: Path, rows: Sequence[LabelRow], folders: ClassFolders, classes: Sequence[str]
) -> tuple[VideoList, list[FoundVideo], list[str]]:
    """The usable videos of a split, the unusable ones, and lines on what is missing. Raises DataError if all are."""
    class_indices = {name: index for index, name in enumerate(classes)}
    found = folders.find_all(rows)
    usable = [(row, video) for row, video in zip(rows, found, strict=True) if video and video.frames]
    videos = f"{counted(len(rows), 'video')} of the {split} labels {path}"
    if not usable:
        raise DataError(explain_missing(videos, rows, folders, found))
    unusable = [video for video in found if video and not video.frames]
    missing = [row for row, video in zip(rows, found, strict=True) if video is None]
    lines = []
    if missing:
        names = first_names([f"{row.label}/{row.video_id}" for row in missing])
        hint = hint_for_segments(missing, folders)
        hint = hint or (hint_for_rows if len(missing) > len(rows) // 2 else hint_for_spelling)(missing, folders)
        lines.append(f"{len(missing)} of {videos} {is_or_are(missing)} not on disk: {names}{hint}")
    if unusable:
        names = first_names([f"{video.class_folder}/{video.name} {video.problem}" for video in unusable], 300)
        lines.append(f"{len(unusable)} of {videos} {is_or_are(unusable)} on disk but cannot be used: {names}")
    counts = LabelCounts.of(len(rows), len(missing), (video.problem for video in unusable))
    videos_of = pack(folders.jpg, classes, [(class_indices[row.label], video) for row, video in usable])
    sampled = tuple(_with_part(usable[index][0]) for index in videos_of.sample())
    return replace(videos_of, counts=counts, sampled_rows=sampled if any(sampled) else ()), unusable, lines


def _with_part(row: LabelRow) -> LabelRow | None:
    return row if row.is_part else None


def _check_classes(train: VideoList, val: VideoList, folders: ClassFolders, rows: Sequence[LabelRow]) -> list[str]:
    """Lines on classes that have videos in only one split. Raises DataError for a class without videos."""
    with_video = {"train": set(train.labels.tolist()), "val": set(val.labels.tolist())}
    with_any = with_video["train"] | with_video["val"]
    empty = [name for index, name in enumerate(train.classes) if index not in with_any]
    if empty:
        of_first = [row for row in rows if row.label == empty[0]]
        raise DataError(explain_empty_classes(empty, folders) + hint_for_segments(of_first, folders))
    lines = []
    for split, present in with_video.items():
        lacking = [name for index, name in enumerate(train.classes) if index not in present]
        if lacking:
            number = f"{len(lacking)} of the {len(train.classes)} classes"
            lines.append(f"no {split} video of {number}: {first_names(lacking)}")
    return lines
