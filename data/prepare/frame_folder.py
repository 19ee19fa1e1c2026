"""Finds the frames of a video in a folder of JPEG files: which files they are, in which order, and what is missing."""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from common.files import inode_of
from data.labels.text import counted, first_names
from data.prepare.file_names import is_hidden_folder, is_jpeg, is_other_image, is_picture, is_video
from data.store.video_file import VideoError

NUMBER = re.compile(r"([0-9]+)")
UNNAMED = "no suffix"  # the kind of a picture whose name does not say that it is one
NO_SUFFIX = re.compile(r"|\.[0-9]+")  # of a name such as img.0001
DEEPER = "move the videos one level below their class, or remove what is no frame"
STARTS = re.compile(rb"\xff\xd8\xff|\x89PNG|GIF8|II\*\0|MM\0\*|RIFF....WEBP", re.DOTALL)  # of pictures


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


def find_frames(folder: Path, keep_partial: bool = False) -> Frames:
    """The JPEG files of one numbered series, in the order of their numbers: frame_2.jpg before frame_10.jpg.

    A single file of another name, such as thumbnail.jpg, and the pictures in folders of the folder are left out with a
    warning. So are videos in these folders, but if there are as many videos as frames, these may be their posters:
    VideoError, as for several series, also of pictures without a suffix, a number that comes twice, names without
    numbers, and numbers that are missing or lie in such a folder; `keep_partial` closes these gaps with a warning.
    OSError if the folder cannot be read.
    """
    entries = sorted(folder.iterdir())
    others = [path for path in entries if not is_picture(path.name) and not is_hidden_folder(path.name)]
    names = [_split(path) for path in entries if is_picture(path.name)]
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
    if len(frames) == 1:
        left_out.append(f"has one frame: {frames[0].path.name} is the only picture of its series; is it a video?")
    videos: list[str] = []
    seen: set[tuple[int, int] | None] = set()
    for inner in (path for path in others if path.is_dir()):
        seen = seen or {inode_of(place) for place in (folder, *folder.resolve().parents)}
        within, more = _pictures_within(inner, seen, videos), ""
        if within and (first := _continues(frames, within)):
            more = f", such as {first}, which seem to be frames of the same series"
            if not keep_partial:
                remedy = "move them to the others, or out of this folder (--keep-partial leaves them out)"
                raise VideoError(f"holds {counted(len(within), 'picture')} in the folder {inner.name}{more}: {remedy}")
        if within:
            what = f"left out {counted(len(within), 'picture')} in the folder {inner.name}{more}"
            (gaps if more else left_out).append(what)
    if videos:
        what = f"{counted(len(videos), 'video')} in folders of this folder, such as {videos[0]}"
        if len(videos) >= len(frames):
            raise VideoError(f"holds {counted(len(frames), 'picture')}, and {what}: {DEEPER}")
        left_out.append(f"left out {what}")
    frames, numbers = _in_order(frames)
    if numbers and (gap := _gap(frames, numbers)):
        if not keep_partial:
            raise VideoError(f"{gap}; --keep-partial closes the gap")
        gaps.append(f"{gap}: closed up")
    return Frames([name.path for name in frames], left_out, gaps)


def _begins_as_picture(path: Path) -> bool:
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return STARTS.match(file.read(12)) is not None
    except OSError:  # a file without the name of a picture need not be readable
        return False


def _pictures_within(folder: Path, seen: set[tuple[int, int] | None], videos: list[str]) -> list[_Name]:
    """The pictures in a folder and in all below it, also through links; the names of videos are added to `videos`.

    Folders that were `seen` are not looked into. OSError if one cannot be listed.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[_Name] = []
    for place, folders, files in os.walk(folder, onerror=fail, followlinks=True):
        identity = inode_of(Path(place))
        if identity in seen:
            folders.clear()
            continue
        seen.add(identity)
        folders[:] = sorted(name for name in folders if not is_hidden_folder(name))
        paths = [Path(place, name) for name in sorted(files) if name[0] != "."]
        videos += [str(path.relative_to(folder.parent)) for path in paths if is_video(path.name)]
        found += [_split(path) for path in paths if is_picture(path.name)]
        bare = [path for path in paths if NO_SUFFIX.fullmatch(path.suffix) and _begins_as_picture(path)]
        found += [name._replace(texts=(*name.texts[:-1], "")) for name in (_split(path, UNNAMED) for path in bare)]
    return sorted(found)


def _continues(frames: Sequence[_Name], within: Sequence[_Name]) -> str:
    """The first name in another folder whose number the series lacks; empty if there is none.

    Small copies of the frames have the same numbers, and other series another name.
    """
    series = next(each for each in _series([*frames, *within]) if frames[0] in each)
    numbers = {tuple(map(int, name.numbers)) for name in frames}
    return next((name.path.name for name in series if tuple(map(int, name.numbers)) not in numbers), "")


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
