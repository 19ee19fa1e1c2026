"""Lists of paths without a header, a line for each video: `waving/a.mp4`, `waving/a.mp4 3` or `waving/a 120 3`."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import composed, quoted, shortened
from data.labels.csv_file import SEPARATOR_LINE, SEPARATORS, read_lines
from data.labels.text import counted, did_you_mean, first_names, some
from data.prepare.file_names import is_video
from data.prepare.path_index import PathIndex, parts_of

LOOKED_AT = 50  # lines
# Names of a column of classes, perhaps beside one of numbers, and comments.
HEADER = re.compile(
    r"#.*|((id|index|idx|number|no|code)[\s,;]+)?(class|label|action|activit|gesture|event|verb|sign|categor|name)"
    r"(|y|es|s|ies)([ _-]?(name|label)s?)?"
    r"([\s,;]+(id|index|idx|number|no|code))?",
    re.IGNORECASE,
)
NO_NAME = re.compile(r"""(["']).*\1|.*[^\s,],|[-*] .*|[{}\[\]].*|.*:""")  # of CSV, JSON, YAML or Markdown
NUMBERED = re.compile(r"([0-9]{1,6})[\s,;:=|]+(\S.*)")
NUMBER_LAST = re.compile(r".*\S[\s,;:=|]+([0-9]{1,6})")


class Entry(NamedTuple):
    """A line of a list: the path as written, the video that it means (its names below the folder), its number."""

    written: str
    video: tuple[str, ...]
    number: int | None  # the last on the line, which is that of the class
    place: str  # file and line, for messages
    split: str
    has_two: bool = False  # numbers, of which the first is not `number`


class Classes(NamedTuple):
    """The names of --classes in their order; `numbers` has them by number if the file itself numbers them."""

    path: Path
    names: list[str]
    numbers: Mapping[int, str]


def is_list(path: Path, index: PathIndex) -> bool:
    """Whether a file is a list of paths, and no label file: its first line tells, or the next ones."""
    try:
        lines = [text for _, text in islice(read_lines(path), LOOKED_AT)]
    except DataError:
        return False  # such as UTF-16; who reads it as a label file says what is wrong
    if not lines or SEPARATOR_LINE.fullmatch(lines[0]):
        return False
    if any(is_video(text) or index.find(text) for text, _ in _readings(lines[0])):
        return True
    # Another first line with separators is the header of a table. Else it may be a folder of frames that is missing.
    is_table = any(separator in lines[0] for separator in SEPARATORS)
    return not is_table and any(index.find(text) for line in lines[1:] for text, _ in _readings(line))


def read_list(path: Path, split: str, index: PathIndex) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The lines of a list, and (path, reason) of those without a video. DataError if there is none, or one twice."""
    entries: list[Entry] = []
    missing: list[tuple[str, str]] = []
    first: dict[tuple[str, ...], Entry] = {}
    texts: dict[tuple[str, ...], str] = {}  # the first line of each video
    for line, text in read_lines(path):
        place = f"{path}, line {line}"
        written, number, has_two, found = _read_line(text, index)
        if len(found) != 1:
            several = " or ".join("/".join(each) for each in found[:3])
            missing.append((written, f"{place}: " + (f"may be {several}" if found else _no_video(written))))
            continue
        above = parts_of(written)[: -len(found[0])]
        if any(separator in name for name in above for separator in SEPARATORS):
            missing.append((written, f"{place}: no such video under VIDEOS; a label file has a header"))
            continue
        entry = Entry(written, found[0], number, place, split, has_two)
        other = first.setdefault(entry.video, entry)
        before = texts.setdefault(entry.video, text)
        if other is not entry and (other.written, other.number) != (written, number):
            what = "of different classes" if other.number != number else "written in two ways"
            raise DataError(
                f"{other.place} and line {line}, {quoted(before)} and {quoted(text)}, are one video, "
                f"{'/'.join(entry.video)}, {what}: remove one"
            )
        entries.append(entry)
    if not entries and not missing:
        raise DataError(f"{path}: the file is empty")
    return entries, missing


def _no_video(written: str) -> str:
    """Why a line names no video: a table without a header has more columns than a list."""
    if not any(separator in written for separator in "\t;,"):
        return "no such video under VIDEOS"
    header = "label,filename or label,filename,time_start,time_end"
    return f"no such video under VIDEOS. If the line has several columns, the file lacks their header, such as {header}"


def two_numbers(entries: Sequence[Entry]) -> list[str]:
    """A line on the lines that have two numbers: a list of segments or of several labels may look the same."""
    have = [entry for entry in entries if entry.has_two]
    if not have:
        return []
    which = f"{counted(len(have), 'line')}, such as {have[0].place} ({shortened(have[0].written)})"
    return [
        f"the first of the two numbers is taken for the number of frames, the second for that of the class: {which}"
    ]


def other_forms(entries: Sequence[Entry]) -> list[str]:
    """A line on the lines that write accents in another Unicode form than the files have."""
    have = [entry for entry in entries if not entry.written.isascii() and not _is_as_written(entry)]
    if not have:
        return []
    return [
        f"accents in another Unicode form than the files have: {counted(len(have), 'line')}, such as {have[0].place}"
    ]


def _is_as_written(entry: Entry) -> bool:
    pairs = zip(reversed(parts_of(entry.written)), reversed(entry.video), strict=False)
    spaced = ((written.replace("_", " "), name.replace("_", " ")) for written, name in pairs)
    return all(name.startswith(written) for written, name in spaced)  # a suffix may be missing


def _read_line(text: str, index: PathIndex) -> tuple[str, int | None, bool, list[tuple[str, ...]]]:
    """The path, the number, whether two follow, and the videos that may be meant: a name may end in a number."""
    readings = _readings(text)
    for place, (written, number) in enumerate(readings):
        if found := index.find(written):
            return written, number, place == 2, found
    with_suffix = [each for each in readings if is_video(each[0])]
    return (*(with_suffix or readings)[-1], False, [])


def _readings(text: str) -> list[tuple[str, int | None]]:
    """A line as (path, number), with none, one or two numbers behind the path."""
    found: list[tuple[str, int | None]] = [(text, None)]
    rest = text
    number: int | None = None
    for _ in range(2):
        match = re.fullmatch(r"(.*[^\s,;])\s*[\s,;]\s*([0-9]{1,9})", rest)
        if not match:
            break
        rest = match[1]
        number = int(match[2]) if number is None else number
        found.append((rest, number))
    return found


def labels_of(entries: Sequence[Entry], classes: Classes | None) -> tuple[list[str], str]:
    """The class of each line, and how it was found: the folder, or the number by --classes, or the number itself.

    DataError if lines contradict each other.
    """
    folders = [_folder(entry) for entry in entries]
    numbered = [(folder, entry) for folder, entry in zip(folders, entries, strict=True) if entry.number is not None]
    if all(folders) and (not numbered or _agree(numbered)):
        return folders, "the class is the first folder of the path"
    if len(numbered) < len(entries):
        entry = next(entry for entry in entries if entry.number is None)
        raise DataError(
            f"{entry.place}: {quoted(entry.written)} lies in no folder of its class and has no number of one"
            if not all(folders)
            else f"{entry.place} has no number of a class, but other lines have, which do not go with the folders"
        )
    numbers = [entry.number for entry in entries if entry.number is not None]
    if classes is None:
        return list(map(str, numbers)), "the class is the number behind the path"
    names = _names_of(numbers, folders, classes)
    return [names[number] for number in numbers], f"the class is the number behind the path, with {classes.path}"


def _folder(entry: Entry) -> str:
    """The first folder that the path as written and the video's own have in common, or that one of them has alone."""
    paths = sorted((parts_of(entry.written), entry.video), key=len)
    return next((parts[0] for parts in paths if len(parts) > 1), "")


def _agree(numbered: Sequence[tuple[str, Entry]]) -> bool:
    """Whether each folder has its number. DataError if nearly all have: then a line is wrong."""
    pairs = Counter((folder, entry.number) for folder, entry in numbered)
    of_folder: dict[str, int | None] = {}
    of_number: dict[int | None, str] = {}
    for (folder, number), _ in pairs.most_common():
        of_folder.setdefault(folder, number)
        of_number.setdefault(number, folder)
    others = [
        (folder, entry)
        for folder, entry in numbered
        if of_folder[folder] != entry.number or of_number[entry.number] != folder
    ]
    if others and len(others) * 10 < len(numbered) and len(of_folder) > 1:
        folder, entry = others[0]
        raise DataError(
            f"{entry.place}: number {entry.number}, but other videos of folder {quoted(folder)} have "
            f"{of_folder[folder]}, and number {entry.number} is mostly of {quoted(of_number[entry.number])}"
        )
    return not others


def names_of_numbers(labels: Sequence[str], classes: Classes) -> list[str]:
    """The labels, or their names in --classes if all are numbers that it does not have as names. DataError."""
    if not all(label.isascii() and label.isdecimal() for label in labels) or set(labels) <= set(classes.names):
        return list(labels)
    names = _names_of(list(map(int, labels)), [""] * len(labels), classes, "the numbers of --class-from")
    return [names[int(label)] for label in labels]


def _names_of(
    numbers: Sequence[int], folders: Sequence[str], classes: Classes, what: str = "the numbers behind the paths"
) -> Mapping[int, str]:
    """The class name of each number. DataError if it cannot be told whether they count from 0 or 1, or a header."""
    names, present = classes.names, set(numbers)
    if classes.numbers:
        possible = [classes.numbers]
    else:
        _check_plain(classes)
        possible = [dict(enumerate(names, start=base)) for base in (0, 1)]
    possible = [each for each in possible if present <= each.keys()]
    if not possible:
        raise DataError(
            f"{what} go from {min(present)} to {max(present)}, but {classes.path} has {counted(len(names), 'class')}"
        )
    is_certain = len(possible) == 1 and max(possible[0]) in present  # a header would leave the last name over
    if classes.numbers or is_certain:
        return possible[0]
    known = [(number, folder) for number, folder in zip(numbers, folders, strict=True) if folder in names]
    agreeing = [each for each in possible if all(each[number] == folder for number, folder in known)]
    if known and len(agreeing) == 1:
        return agreeing[0]
    why = (
        "from 0 or from 1"
        if len(possible) > 1
        else f"from 0, without a video of {quoted(names[-1])}, or have the header {quoted(names[0])}"
    )
    raise DataError(
        f"{what}, {min(present)} to {max(present)}, may count the {len(names)} lines of {classes.path} {why}: write "
        "the number before each name there, as `0 name`, and remove a header"
    )


def _check_plain(classes: Classes) -> None:
    """DataError if lines that are to name numbers, in their order, may hold other things than names alone."""
    names = classes.names
    _check_first(classes)
    odd = [name for name in names if NO_NAME.fullmatch(name)]
    if 2 * len(odd) > len(names):
        raise DataError(
            f"{classes.path} does not hold a name alone on each line, as {quoted(odd[-1])}: remove all but the names"
        )
    numbered = [name for name in names if NUMBERED.fullmatch(name)]
    last = [int(found[1]) for name in names if (found := NUMBER_LAST.fullmatch(name))]
    is_count = last in (_count(0, len(names)), _count(1, len(names)))  # as `step 1`, `step 2`
    if 2 * len(numbered) > len(names) or (len(set(last)) == len(names) and not is_count):
        raise DataError(
            f"{classes.path} has lines with a number, as {quoted((numbered or names)[0])}, but they do not count from "
            "0 or 1 with a name each: write the number before each name, as `0 name`"
        )


def _check_first(classes: Classes) -> None:
    """DataError if the first line seems to be a header: it would take the number of the first class."""
    first, *others = classes.names
    if HEADER.fullmatch(first) or (
        len(others) > 1 and not NUMBERED.fullmatch(first) and all(map(NUMBERED.fullmatch, others))
    ):
        raise DataError(
            f"{classes.path}: the first line, {quoted(first)}, seems to be a header; remove it, or, if it is a class, "
            "write the number before each name, as `0 name`"
        )


def read_classes(path: Path) -> Classes:
    """Read --classes: a class name on each line, in the order; or a number and a name, as `1 ApplyEyeMakeup`."""
    lines: dict[str, int] = {}
    for line, name in read_lines(path):
        if name in lines:
            raise DataError(f"{path}: class {quoted(name)} is on lines {lines[name]} and {line}")
        lines[name] = line
    if not lines:
        raise DataError(f"{path}: the file is empty")
    pairs = [NUMBERED.fullmatch(text) for text in lines]
    numbers = {int(pair[1]): pair[2] for pair in pairs if pair}
    if len(numbers) == len(lines) and sorted(numbers) in (_count(0, len(lines)), _count(1, len(lines))):
        names = [numbers[number] for number in sorted(numbers)]
        if len(set(names)) == len(names):
            return Classes(path, names, numbers)
    return Classes(path, list(lines), {})


def _count(first: int, number: int) -> list[int]:
    return list(range(first, first + number))


def ordered(labels: set[str], classes: Classes | None, before: Sequence[str] = ()) -> tuple[list[str], list[str]]:
    """The class order, and lines on it: that of --classes, else numbers by value, else names as text. DataError.

    Without --classes, the order of an earlier run, `before`, stays, and new classes come at its end.
    """
    if classes is None:
        if before and (new := ordered(labels.difference(before), None)[0]):
            what = f"{some(new, 'class')} at the end of the class order, so that the others keep their numbers"
            return [*before, *new], [f"new: {what}"]
        if before:
            return list(before), []
        if all(label.isascii() and label.isdecimal() for label in labels):
            return sorted(labels, key=lambda label: (int(label), label)), []
        return sorted(labels, key=lambda label: (composed(label), label)), []
    if unknown := sorted(labels.difference(classes.names)):
        raise DataError(
            f"class {quoted(unknown[0])}{f' and {len(unknown) - 1} more' if len(unknown) > 1 else ''} of the videos "
            f"{'is' if len(unknown) == 1 else 'are'} not in {classes.path}{did_you_mean(unknown[0], classes.names)}"
        )
    if classes.names[0] not in labels and not classes.numbers:
        _check_first(classes)
    empty = [shortened(name) for name in classes.names if name not in labels]
    notes = (
        [f"without a video: {counted(len(empty), 'class')} of {classes.path}, {first_names(empty)}"] if empty else []
    )
    return classes.names, notes
