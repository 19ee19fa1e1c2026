"""Finds the frames of a video in a folder of JPEG files: which files they are, in which order, and what is missing."""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from data.labels.text import first_names
from data.store.video_file import VideoError

JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}
OTHER_IMAGES = {".avif", ".bmp", ".heic", ".heif", ".png", ".ppm", ".tif", ".tiff", ".webp"}
NUMBER = re.compile(r"([0-9]+)")


class Frames(NamedTuple):
    """The JPEG files of a video in order, and what to warn of: pictures that are no frames, and missing frames."""

    files: list[Path]
    left_out: list[str]
    gaps: list[str]


class _Name(NamedTuple):
    """A file name without its suffix: texts and numbers in turn. `frame_07` is ("frame_", "") and ("07",)."""

    path: Path
    texts: tuple[str, ...]
    numbers: tuple[str, ...]


def is_jpeg(name: str) -> bool:
    """Whether a file of this name is taken for a JPEG frame."""
    return _suffix(name) in JPEG_SUFFIXES and name[0] != "."


def is_other_image(name: str) -> bool:
    """Whether a file of this name is a picture that is not read."""
    return _suffix(name) in OTHER_IMAGES and name[0] != "."


def find_frames(folder: Path, keep_partial: bool = False) -> Frames:
    """The JPEG files of one numbered series, in the order of their numbers: frame_2.jpg before frame_10.jpg.

    A single file of another name, such as thumbnail.jpg, is left out with a warning. VideoError for several series,
    a number that comes twice, names without numbers, and numbers that are missing; `keep_partial` closes these gaps
    with a warning. OSError if the folder cannot be read.
    """
    entries = sorted(folder.iterdir())
    names = [_split(path) for path in entries if is_jpeg(path.name) or is_other_image(path.name)]
    series = sorted(_series(names), key=len, reverse=True)
    if not series:
        raise VideoError("holds no JPEG frames")
    frames, odd = series[0], [each[0].path.name for each in series[1:]]
    if len(series) > 1 and (len(series[1]) > 1 or len(odd) >= len(frames)):
        raise VideoError(_several(series))
    if is_other_image(frames[0].path.name):
        raise VideoError(f"holds {frames[0].path.suffix[1:].upper()} frames, which are not read; write them as JPEG")
    left_out = [f"left out {' and '.join(odd)}: not of the series of {frames[0].path.name}"] if odd else []
    gaps: list[str] = []
    frames, numbers = _in_order(frames)
    if numbers and (gap := _gap(frames, numbers)):
        if not keep_partial:
            raise VideoError(f"{gap}; --keep-partial closes the gap")
        gaps.append(f"{gap}: closed up")
    return Frames([name.path for name in frames], left_out, gaps)


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for each file of a dataset)


def _split(path: Path) -> _Name:
    parts = NUMBER.split(path.stem)
    kind = "" if is_jpeg(path.name) else path.suffix.lower()
    return _Name(path, (*(text.casefold() for text in parts[::2]), kind), tuple(parts[1::2]))


def _series(names: Sequence[_Name]) -> list[list[_Name]]:
    """The names in groups that differ in one number only, the last of those that differ."""
    groups: dict[object, list[_Name]] = {}
    for name in names:
        groups.setdefault(name.texts, []).append(name)
    series = []
    for group in groups.values():
        varying = _varying(group)
        if len(varying) < 2 or _are_times(group, varying):
            series.append(group)
            continue
        parts: dict[object, list[_Name]] = {}
        for name in group:
            rest = tuple(number for place, number in enumerate(name.numbers) if place != varying[-1])
            parts.setdefault(rest, []).append(name)
        series += parts.values()
    return series


def _varying(group: Sequence[_Name]) -> list[int]:
    """The places whose number is not the same in all names of a group."""
    columns = enumerate(zip(*(name.numbers for name in group), strict=True))
    return [place for place, column in columns if len({int(number) for number in column}) > 1]


def _are_times(group: Sequence[_Name], varying: Sequence[int]) -> bool:
    """Whether the names hold seconds and their fraction, such as 1305031102.175304."""
    if len(varying) != 2 or varying[1] != varying[0] + 1 or group[0].texts[varying[1]] != ".":
        return False
    widths = {len(name.numbers[varying[1]]) for name in group}
    return len(widths) == 1 and min(widths) >= 3


def _in_order(frames: Sequence[_Name]) -> tuple[list[_Name], list[int]]:
    """The frames of a series in order, and their numbers; no numbers if these are times or there is one frame."""
    varying = _varying(frames)
    if not varying:
        if len(frames) > 1:
            raise VideoError(f"{frames[0].path.name} and {frames[1].path.name} have the same number; remove one")
        return list(frames), []
    keys = {name.path: tuple(int(name.numbers[place]) for place in varying) for name in frames}
    ordered = sorted(frames, key=lambda name: keys[name.path])
    for one, other in pairwise(ordered):
        if keys[one.path] == keys[other.path]:
            raise VideoError(f"{one.path.name} and {other.path.name} have the same number; remove one")
    return ordered, [keys[name.path][0] for name in ordered] if len(varying) == 1 else []


def _gap(frames: Sequence[_Name], numbers: Sequence[int]) -> str:
    """The first gap in the numbers, and how many are missing; empty if there is none.

    Numbers in even steps, of every fifth frame for example, have no gap.
    """
    steps = [after - before for before, after in pairwise(numbers)]
    step = min(steps) if len(steps) > 1 else 1
    if all(each == step for each in steps):
        return ""
    place = next(place for place, each in enumerate(steps) if each != step)
    missing = sum(-(-each // step) - 1 for each in steps)
    more = f" ({missing} frames are missing in all)" if step == 1 else ""
    return f"{frames[place].path.name} is followed by {frames[place + 1].path.name}{more}"


def _several(series: Sequence[Sequence[_Name]]) -> str:
    """The line about several series: the first name of each, and the number of files."""
    if all(len(each) == 1 for each in series):
        names = [each[0].path.name for each in series]
        return (
            f"holds {len(names)} pictures whose order is unknown: their names ({first_names(names)}) do not count them"
        )
    shown = [f"{each[0].path.name}... ({len(each)})" for each in series]
    return f"holds {len(series)} series of pictures: {first_names(shown)}; keep one in each folder"
