"""The order of numbered files: series of names that differ in one number, their order by it, gaps in it, and times."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from data.labels.text import first_names
from data.prepare.file_names import is_jpeg
from data.prepare.frame_pattern import pattern_for
from data.store.video_file import VideoError

NUMBER = re.compile(r"([0-9]+)")
UNNAMED = "no suffix"  # the kind of a picture whose name does not say that it is one
DATE = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])([01]\d|2[0-3])[0-5]\d[0-5]\d")
DATE_DIGITS = 14
PICTURES = re.compile(r"(img|image|rgb|frame|colou?r)s?(?![a-z])", re.IGNORECASE)  # of which a user most likely means
CLOCK = 10**9  # seconds since 1970, of 2001; cameras also count milliseconds to nanoseconds


class Name(NamedTuple):
    """A file name without its suffix: texts and numbers in turn. `frame_07` is ("frame_", "") and ("07",).

    The last text is the kind of file: the suffix, empty for JPEG, which has several.
    """

    path: Path
    texts: tuple[str, ...]
    numbers: tuple[str, ...]

    def of_kind(self, kind: str) -> "Name":
        """The name as one of another kind of file."""
        return self._replace(texts=(*self.texts[:-1], kind))


def split(path: Path, kind: str = "") -> Name:
    """The parts of a file's name; with a `kind`, its suffix counts as a part of the name."""
    parts = NUMBER.split(path.name if kind else path.stem)
    kind = kind or ("" if is_jpeg(path.name) else path.suffix.lower())
    return Name(path, (*(text.casefold() for text in parts[::2]), kind), tuple(parts[1::2]))


def series_of(names: Sequence[Name]) -> list[list[Name]]:
    """The names in groups that differ in one number only, the last of those that differ, or in a time."""
    groups: dict[object, list[Name]] = {}
    for name in names:
        groups.setdefault(name.texts, []).append(name)
    series = []
    for group in groups.values():
        varying = _varying(group)
        if len(varying) < 2 or _are_times(group, varying):
            series.append(group)
            continue
        parts: dict[object, list[Name]] = {}
        for name in group:
            rest = tuple(number for place, number in enumerate(name.numbers) if place != varying[-1])
            parts.setdefault(rest, []).append(name)
        series += parts.values()
    return series


def in_order(frames: Sequence[Name]) -> tuple[list[Name], list[int]]:
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
    are_times = _are_times(frames, varying)
    return ordered, [] if are_times else [keys[name.path][0] for name in ordered]


def gap_in(frames: Sequence[Name], numbers: Sequence[int]) -> str:
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


def continues(frames: Sequence[Name], others: Sequence[Name]) -> str:
    """The first name among the others whose number the series lacks; empty if there is none.

    Small copies of the frames have the same numbers, and other series another name.
    """
    series = next(each for each in series_of([*frames, *others]) if frames[0] in each)
    numbers = {tuple(map(int, name.numbers)) for name in frames}
    return next((name.path.name for name in series if tuple(map(int, name.numbers)) not in numbers), "")


def several(series: Sequence[Sequence[Name]]) -> str:
    """The line about several series: the first name of each, and the number of files."""
    if all(len(each) == 1 for each in series):
        names = [each[0].path.name for each in series]
        return (
            f"holds {len(names)} pictures whose order is unknown: their names ({first_names(names)}) do not count them"
        )
    shown = [f"{each[0].path.name}... ({len(each)})" for each in series]
    chosen = next((each for each in series if PICTURES.match(each[0].path.name)), series[0])
    others = [name.path.name for each in series if each is not chosen for name in each]
    pattern = pattern_for([name.path.name for name in chosen], others)
    choice = f", or choose one, as with --frames '{pattern}'" if pattern else ""
    return f"holds {len(series)} series of pictures: {first_names(shown)}; keep one in each folder{choice}"


def _varying(group: Sequence[Name]) -> list[int]:
    """The places whose number is not the same in all names of a group."""
    columns = enumerate(zip(*(name.numbers for name in group), strict=True))
    return [place for place, column in columns if len({int(number) for number in column}) > 1]


def _are_times(group: Sequence[Name], varying: Sequence[int]) -> bool:
    """Whether the numbers that differ are times, such as 1305031102.175304 or 20240131_235959: they have no gaps."""
    first, last = varying[0], varying[-1]
    if len(varying) == 1:
        numbers = sorted(int(name.numbers[first]) for name in group)
        if numbers[0] >= CLOCK and min(after - before for before, after in pairwise(numbers)) > 1:
            return True
    elif len(varying) == 2 and last == first + 1 and group[0].texts[last] == "." and _width(group, last) >= 3:
        return True
    return any(_are_dates(group, varying, place) for place in range(first + 1))


def _are_dates(group: Sequence[Name], varying: Sequence[int], start: int) -> bool:
    """Whether the numbers from place `start` on are date and clock, and none behind these differs but a fraction."""
    end, digits = start, 0
    while digits < DATE_DIGITS:
        if end == len(group[0].numbers) or not (width := _width(group, end)):
            return False
        digits += width
        end += 1
    has_fraction = end < len(group[0].numbers) and group[0].texts[end] in (".", ",") and _width(group, end) > 0
    texts = ("".join(name.numbers[start:end])[:DATE_DIGITS] for name in group)
    return varying[-1] < end + has_fraction and all(DATE.fullmatch(text) for text in texts)


def _width(group: Sequence[Name], place: int) -> int:
    """The number of digits at a place; 0 if it differs."""
    widths = {len(name.numbers[place]) for name in group}
    return widths.pop() if len(widths) == 1 else 0
