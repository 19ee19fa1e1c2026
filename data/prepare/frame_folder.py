"""Finds the frames of a video in a folder of JPEG files: which files they are, in which order, and what is missing."""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from data.labels.text import counted, first_names
from data.store.video_file import VideoError

JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}
OTHER_IMAGES = {".avif", ".bmp", ".heic", ".heif", ".png", ".ppm", ".tif", ".tiff", ".webp"}
NUMBER = re.compile(r"([0-9]+)")
UNNAMED = "no suffix"  # the kind of a picture whose name does not say that it is one
STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|RIFF....WEBP", re.DOTALL)  # of pictures
THUMBNAILS = "@eaDir"  # a folder that file servers of Synology add to each


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

    A single file of another name, such as thumbnail.jpg, and the pictures in folders of the folder are left out with a
    warning. VideoError for several series, also of pictures without a suffix, a number that comes twice, names without
    numbers, and numbers that are missing or lie in such a folder; `keep_partial` closes these gaps with a warning.
    OSError if the folder cannot be read.
    """
    entries = sorted(folder.iterdir())
    others = [path for path in entries if not _is_image(path.name) and path.name[0] != "." and path.name != THUMBNAILS]
    names = [_split(path) for path in entries if _is_image(path.name)]
    names += [_split(path, UNNAMED) for path in others if _begins_as_picture(path)]
    series = sorted(_series(names), key=len, reverse=True)
    if not series:
        raise VideoError("holds no JPEG frames")
    frames, odd = series[0], [each[0].path.name for each in series[1:]]
    if len(series) > 1 and (len(series[1]) > 1 or len(odd) >= len(frames)):
        raise VideoError(_several(series))
    if frames[0].texts[-1] == UNNAMED:
        what = f"holds {len(frames)} pictures without a suffix such as .jpg, which are not read"
        raise VideoError(f"{what}: {frames[0].path.name}...; rename them")
    if is_other_image(frames[0].path.name):
        raise VideoError(f"holds {frames[0].path.suffix[1:].upper()} frames, which are not read; write them as JPEG")
    left_out = [f"left out {' and '.join(odd)}: not of the series of {frames[0].path.name}"] if odd else []
    gaps: list[str] = []
    for inner in (path for path in others if path.is_dir()):
        within, more = _pictures_within(inner), ""
        if within and (first := _continues(frames, within)):
            more = f", such as {first}, which seem to be frames of the same series"
            if not keep_partial:
                remedy = "move them to the others, or out of this folder (--keep-partial leaves them out)"
                raise VideoError(f"holds {counted(len(within), 'picture')} in the folder {inner.name}{more}: {remedy}")
        if within:
            what = f"left out {counted(len(within), 'picture')} in the folder {inner.name}{more}"
            (gaps if more else left_out).append(what)
    frames, numbers = _in_order(frames)
    if numbers and (gap := _gap(frames, numbers)):
        if not keep_partial:
            raise VideoError(f"{gap}; --keep-partial closes the gap")
        gaps.append(f"{gap}: closed up")
    return Frames([name.path for name in frames], left_out, gaps)


def _is_image(name: str) -> bool:
    return is_jpeg(name) or is_other_image(name)


def _begins_as_picture(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return STARTS.match(file.read(12)) is not None
    except OSError:  # a file without the name of a picture need not be readable
        return False


def _pictures_within(folder: Path) -> list[_Name]:
    """The pictures in a folder and in all below it. OSError if one cannot be listed."""

    def fail(error: OSError) -> None:
        raise error

    found: list[Path] = []
    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = [name for name in folders if name[0] != "." and name != THUMBNAILS]
        found += [Path(place, name) for name in files if _is_image(name)]
    return [_split(path) for path in sorted(found)]


def _continues(frames: Sequence[_Name], within: Sequence[_Name]) -> str:
    """The first name in another folder whose number the series lacks; empty if there is none.

    Small copies of the frames have the same numbers, and other series another name.
    """
    series = next(each for each in _series([*frames, *within]) if frames[0] in each)
    numbers = {tuple(map(int, name.numbers)) for name in frames}
    return next((name.path.name for name in series if tuple(map(int, name.numbers)) not in numbers), "")


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122 (called for each file of a dataset)


def _split(path: Path, kind: str = "") -> _Name:
    parts = NUMBER.split(path.name if kind else path.stem)
    kind = kind or ("" if is_jpeg(path.name) else path.suffix.lower())
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
