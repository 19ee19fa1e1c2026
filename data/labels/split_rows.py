"""Which rows of the label files are for training, and which for validation."""

import math
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.labels.label_file import (
    LabelRow,
    LabelsAndNotes,
    describe_clip,
    read_beside,
    read_labels_and_notes,
    read_together,
)
from data.labels.label_row import written_name
from data.labels.locate import LabelFiles
from data.labels.made_from import stem
from data.labels.text import are_from_youtube, counted, first_names, is_youtube_name, path_key


class SplitRows(NamedTuple):
    """The rows of both splits, and lines for the log: which files they are from and which rows are not used."""

    train: list[LabelRow]
    val: list[LabelRow]
    report: list[str]


def read_split_rows(files: LabelFiles) -> SplitRows:
    """Read the label files. Raises DataError if a split has no row, or if two videos would share a folder."""
    rows = _divide(files.train) if files.train == files.val else _read_both(files)
    return rows._replace(report=rows.report + _overlap(rows))


def read_val_rows(train: Path | None, val: Path, split: str = "val") -> tuple[list[LabelRow], list[str]]:
    """The rows that `read_split_rows` takes for validation, and lines for the log; train rows may be absent.

    With the `split` "test", the test rows, and no others.
    `train` and `val` are as `find_val_labels` returns them. A single label file in which no row has a split holds val
    rows. Raises DataError if there are none.
    """
    if train != val:
        read = read_labels_and_notes(val) if train is None else read_beside(val, train)
        rows, report = _rows_of_split(split, val, read)
        return rows, [f"labels: {val}", *report]
    rows, notes = read_labels_and_notes(val)
    if not any(row.split for row in rows):
        return rows, [f"labels: {val}", *notes]
    by_split, report = _by_split(val, rows, notes)
    if split == "test":
        if not by_split["test"]:
            raise DataError(f"{val} has no test rows")
        report = [f"labels: {val}", *notes]
        return by_split["test"], report + _overlap(SplitRows(by_split["train"], by_split["test"], []))
    if not by_split["val"]:
        raise DataError(
            f"{val} has neither val nor test rows: give the label file of the videos to evaluate by --labels"
        )
    overlap = _overlap(SplitRows(by_split["train"], by_split["val"], []))
    return by_split["val"], report + overlap


def _read_both(files: LabelFiles) -> SplitRows:
    of_train, of_val = read_together(files)
    train, train_report = _rows_of_split("train", files.train, of_train)
    val, val_report = _rows_of_split("val", files.val, of_val)
    return SplitRows(train, val, [f"labels: {files.train} and {files.val}", *train_report, *val_report])


def _rows_of_split(split: str, path: Path, read: LabelsAndNotes) -> tuple[list[LabelRow], list[str]]:
    """The rows of a split's own label file, without those whose column `split` names another split."""
    rows, notes = read
    chosen = [row for row in rows if row.split in ("", split)]
    if len(chosen) == len(rows):
        return rows, notes
    others = Counter(row.split for row in rows if row.split not in ("", split))
    unused = ", ".join(f"{number} {name}" for name, number in others.items())
    if chosen:
        return chosen, [*notes, f"{path} is the {split} label file: its {unused} rows are not used"]
    if split == "val" and set(others) == {"test"}:
        return rows, [*notes, f"the {unused} rows of {path} are used for validation"]
    raise DataError(f"{path} is the {split} label file, but the column split of its rows says otherwise: {unused}")


def _divide(path: Path) -> SplitRows:
    """Divide the rows of one label file by their split. Without val rows, its test rows are used for validation."""
    by_split, report = _by_split(path, *read_labels_and_notes(path))
    for split in ("train", "val"):
        if not by_split[split]:
            raise DataError(
                f"{path} has no {split} rows; --labels takes one file with the rows of both splits, or the folder that "
                "holds a file for each"
            )
    return SplitRows(by_split["train"], by_split["val"], report)


def _by_split(path: Path, rows: list[LabelRow], notes: list[str]) -> tuple[dict[str, list[LabelRow]], list[str]]:
    """The rows of a single label file by split, and lines for the log. DataError for a row without a split."""
    unclear = next((row for row in rows if not row.split), None)
    if unclear is not None:
        raise DataError(
            f"{path}, line {unclear.line}: no split; a single label file needs train or val in the column split of "
            "each row. Give the folder by --labels if train and val have a file each"
        )
    by_split = {split: [row for row in rows if row.split == split] for split in ("train", "val", "test")}
    report = [f"labels: {path}", *notes]
    if not by_split["val"] and by_split["test"]:
        report.append(f"{path} has no val rows: its {len(by_split['test'])} test rows are used for validation")
        by_split["val"] = by_split["test"]
    elif by_split["test"]:
        report.append(f"the {len(by_split['test'])} test rows of {path} are not used")
    return by_split, report


def _overlap(rows: SplitRows) -> list[str]:
    """Lines on videos that are in both splits, and on videos of which clips in both splits overlap in time."""
    val_rows = {(row.label, row.video_id): row for row in rows.val}
    val_ids = {row.video_id for row in rows.val}
    whole_ids = {row.youtube_id for row in rows.val}
    both: list[LabelRow] = []
    unlike: list[str] = []  # as both splits write them
    shared: list[LabelRow] = []
    for row in rows.train:
        if row.youtube_id in whole_ids:
            shared.append(row)
        if row.video_id in val_ids and (row.label, row.video_id) in val_rows:
            both.append(row)
            name, other = written_name(row), written_name(val_rows[row.label, row.video_id])
            unlike += [f"{row.label}/{name} and {row.label}/{other}"] if name != other else []
    lines = []
    if both:
        names = first_names([f"{row.label}/{row.video_id}" for row in both])
        unless = f", unless these are two videos: {first_names(unlike)}" if unlike else ""
        lines.append(f"in both the train and the val labels: {counted(len(both), 'video')}, {names}{unless}")
    return lines + _overlaps_in_time(shared, rows, {(row.label, row.video_id) for row in both})


def _overlaps_in_time(train: list[LabelRow], rows: SplitRows, told: set[tuple[str, str]]) -> list[str]:
    """A line on videos of which clips in both splits overlap in time; a row without times is the whole video.

    Two whole videos of one id are left out, as each class may have its own video of that id. So is the same clip in
    both splits, if its label and folder are `told`. Nothing tells whether seconds and frames overlap. `train` are the
    train rows with an id of the val rows.
    """
    if not train:
        return []
    wanted = {row.youtube_id for row in train}
    val = [row for row in rows.val if row.youtube_id in wanted]
    video = Recordings([*rows.train, *rows.val])
    val_clips: defaultdict[str, list[LabelRow]] = defaultdict(list)
    for row in val:
        val_clips[video(row)].append(row)
    spans = {
        (name, of_frames): (sorted(map(_start, clips)), sorted(map(_end, clips)))
        for name, all_clips in val_clips.items()
        for of_frames in (False, True)
        for clips in [[row for row in all_clips if not row.is_part or (row.frames is not None) == of_frames]]
    }
    whole = Counter(name for name, clips in val_clips.items() for row in clips if not row.is_part)
    first: dict[str, LabelRow] = {}  # of each such video, the first train clip
    for row in train:
        name = video(row)
        if not row.is_part:
            overlapping = len(val_clips.get(name, ())) - whole[name]
        else:
            starts, ends = spans.get((name, row.frames is not None), ([], []))
            overlapping = bisect_left(starts, _end(row)) - bisect_right(ends, _start(row))
            overlapping -= (row.label, row.video_id) in told
        if overlapping > 0:
            first.setdefault(name, row)
    if not first:
        return []
    pairs = [_overlapping_pair(row, val_clips[name]) for name, row in first.items()]
    have = "videos have" if len(first) > 1 else "video has"
    return [
        f"{len(first)} {have} clips in the train and the val labels that overlap in time: {first_names(pairs, 160)}"
    ]


class Recordings:
    """Tells the videos that rows are of: by their ids, or by their paths where files in several folders have one id.

    Two paths are of one file if one is the end of the other, with or without a suffix. An id of YouTube is one video
    in every folder.
    """

    def __init__(self, rows: Sequence[LabelRow]) -> None:
        from_youtube = are_from_youtube({row.youtube_id for row in rows})
        paths: defaultdict[str, set[str]] = defaultdict(set)
        for row in rows:
            if "/" in row.source and not (from_youtube and is_youtube_name(row.youtube_id)):
                paths[row.youtube_id].add(_path(row))
        files = {name: _shortest(found) for name, found in paths.items()}
        self._several = {name: found for name, found in files.items() if len(set(found.values())) > 1}

    def __call__(self, row: LabelRow) -> str:
        """What all rows of its recording have in common, and no others."""
        files = self._several.get(row.youtube_id)
        return files.get(_path(row), row.youtube_id) if files else row.youtube_id


def _path(row: LabelRow) -> str:
    return "/".join(path_key(stem(row.source)))


def _shortest(paths: Collection[str]) -> dict[str, str]:
    """For each path the shortest of them that is its end: it is of the same file."""
    found: dict[str, str] = {}
    for path in sorted(paths, key=lambda each: each.count("/")):
        names = path.split("/")
        ends = ("/".join(names[first:]) for first in range(len(names) - 1, 0, -1))
        found[path] = next((found[end] for end in ends if end in found), path)
    return found


def _overlapping_pair(row: LabelRow, val: list[LabelRow]) -> str:
    """A train clip and the first val clip that overlaps with it, for a message."""
    other = next(
        other
        for other in val
        if (_start(other) < _end(row) and _start(row) < _end(other))
        and (row.is_part or other.is_part)
        and not (row.is_part and other.is_part and (row.frames is None) != (other.frames is None))
        and (row.label, row.video_id) != (other.label, other.video_id)
    )
    return f"{row.label}/{describe_clip(row)} and {other.label}/{describe_clip(other)}"


def _start(row: LabelRow) -> float:
    return row.frames[0] if row.frames else row.time_start or 0.0


def _end(row: LabelRow) -> float:
    return row.frames[1] if row.frames else math.inf if row.time_end is None else row.time_end
