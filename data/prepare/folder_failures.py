"""What becomes of the split of a folder if some of its videos could not be converted."""

import argparse
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

from common.errors import DataError
from data.labels.class_folders import in_threads
from data.labels.text import counted, first_names
from data.prepare.folder_layout import Video
from data.prepare.folder_splits import split_groups
from data.prepare.folder_state import Named
from data.prepare.frame_folder import find_frames
from data.prepare.report import Problem, Report
from data.store.video_file import VideoError


class Lost(NamedTuple):
    """Classes that lack a split, as its videos could not be converted: (class, split) pairs, and lines on them."""

    pairs: set[tuple[str, str]]
    lines: list[str]


def lost_sides(names: Sequence[Named], rows: Sequence[Named], is_random: bool) -> Lost:
    """The classes of whose videos `names` a split has some, of which none is in `rows`, those that are converted."""
    left = {(named.label, named.split) for named in rows}
    numbers = Counter(named.label for named in rows)
    found: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for named in names:
        if numbers[named.label] and (named.label, named.split) not in left:
            found[named.label, named.split].append(named.source)
    lines = []
    for split in dict.fromkeys(split for _, split in found):
        of_split = {label: sources for (label, each), sources in found.items() if each == split}
        which = first_names([f"{label} ({first_names(sources)})" for label, sources in of_split.items()], 160)
        remedy = "repair them, or give --replace-labels: it chooses others" if is_random else "repair them"
        lines.append(
            f"warning: without a {split} video, as it could not be converted: {counted(len(of_split), 'class')}, "
            f"{which}; {remedy}"
        )
    return Lost(set(found), lines)


def divided_again(
    names: Sequence[Named], rows: Sequence[Named], part: float, seed: int
) -> tuple[list[Named], list[Named]]:
    """All videos, and those that are converted, with other sides for the groups of the classes that lack a side.

    They lack it as its videos could not be converted. Classes of one group, and the groups of other classes, stay.
    """
    groups: defaultdict[str, set[str]] = defaultdict(set)
    for named in rows:
        groups[named.label].add(named.group)
    lacking = {label for label, _ in lost_sides(names, rows, is_random=True).pairs}
    free = {group for label in lacking for group in groups[label] if len(groups[label]) > 1}
    if not free:
        return list(names), list(rows)
    fixed = {named.group: named.split for named in rows if named.group not in free}
    sides = split_groups([named.label for named in rows], [named.group for named in rows], part, seed, fixed)
    chosen = {group: sides[group] for group in free}

    def moved(videos: Sequence[Named]) -> list[Named]:
        return [each._replace(split=chosen.get(each.group, each.split)) for each in videos]

    return moved(names), moved(rows)


def check_trainable(rows: Sequence[Named], names: Sequence[Named]) -> None:
    """DataError if the videos that are converted are of one class, though there are others."""
    labels = sorted({named.label for named in rows})
    others = sorted({named.label for named in names}.difference(labels))
    if len(labels) == 1 and others:
        raise DataError(
            f"only videos of one class, {labels[0]}, were converted, and none of {first_names(others)}: two are needed"
        )


def rows_without_video(problems: Collection[Problem]) -> str:
    """The end of a message on too few videos: those that were left out, and why the first was; empty if none was."""
    left = [problem for problem in problems if problem.kind in ("missing", "failed", "left out")]
    if not left:
        return ""
    return f"; left out: {counted(len(left), 'video')}, such as {left[0].item}: {left[0].reason}"


def that_can_be_read(
    videos: Sequence[Video], names: Sequence[Named], options: argparse.Namespace, report: Report
) -> list[Named]:
    """The videos without those folders of frames in which no series is found; these are added to the report."""

    def fault(video: Video) -> str:
        try:
            if video.path.is_dir():
                find_frames(video.path, options.keep_partial, options.frames or "")
        except (VideoError, OSError) as error:
            return str(error)
        return ""

    rows = []
    faults = in_threads("frames", fault, videos)
    for video, named, why in zip(videos, names, faults, strict=True):
        if why:
            report.add("failed", str(video.path.relative_to(options.videos)), why)
        else:
            rows.append(named)
    return rows
