"""The classes and splits of the videos of a folder by label files, or by lists of paths."""

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.text import quoted
from data.labels.label_file import LabelRow, read_unnamed
from data.labels.text import canonical_name, counted, first_names
from data.prepare.folder_layout import Layout, Video, label_problem
from data.prepare.folder_lists import Classes, Entry, is_list, labels_of, other_forms, read_list, two_numbers
from data.prepare.folder_tree import Tree
from data.prepare.labelled_sources import find_rows, in_two_classes
from data.prepare.path_index import PathIndex
from data.prepare.report import Problem
from data.prepare.sources import Source

LIKE_LABELS = re.compile(r"(?!\.).*\.(csv|tsv)|(?!\.).*(annot|label|class|train|test|split|list).*\.txt", re.IGNORECASE)


class LabelFile(NamedTuple):
    """A label file or list that the user names, and the split of all its videos, or "" if it may say that itself."""

    path: Path
    split: str


def by_files(tree: Tree, out: Path, files: Sequence[LabelFile], classes: Classes | None, pattern: str = "") -> Layout:
    """The layout that label files and lists describe. DataError if one cannot be read, or if they contradict.

    `pattern` is that of --frames.
    """
    index = PathIndex(map(tree.parts, tree.found))
    layout = Layout("", [], [], [])
    entries: list[Entry] = []
    rows: list[tuple[LabelFile, LabelRow]] = []
    lists = [file for file in files if is_list(file.path, index)]
    for file in files:
        if file in lists:
            read, missing = read_list(file.path, file.split, index)
            entries += read
            layout.problems.extend(Problem("missing", *each) for each in missing)
        else:
            read_rows, notes = read_unnamed(file.path)
            layout.notes.extend(notes)
            rows += [(file, _with_split(file, row)) for row in read_rows]
    how = "label files" if not lists else "lists of paths" if len(lists) == len(files) else "label files and lists"
    said = f"layout: {how} {', '.join(str(file.path) for file in files)}"
    if entries:
        labels, by = labels_of(entries, classes)
        layout.videos.extend(_of_list(tree, entries, labels))
        layout.notes.extend([*two_numbers(entries), *other_forms(entries)])
        said += f"; {by}"
    if rows:
        _add_rows(tree, out, rows, layout, pattern)
    if not layout.videos:
        first = f": {layout.problems[0].item}, {layout.problems[0].reason}" if layout.problems else ""
        raise DataError(f"none of the videos of {', '.join(str(file.path) for file in files)} can be taken{first}")
    _tell_of_others(tree, layout)
    return layout._replace(said=said)


def label_files_near(videos: Path) -> str:
    """The end of a message on folders that show no classes: files in VIDEOS or beside it that may be label files."""
    own = {"convert_failures.csv", "resize_failures.csv", "folder_names.csv"}
    found: list[str] = []
    for folder in (videos, videos.resolve().parent):
        try:
            names = sorted(path.name for path in folder.iterdir() if path.is_file())
        except OSError:
            continue
        found = found or [str(folder / name) for name in names if LIKE_LABELS.fullmatch(name) and name not in own]
    if not found:
        return ""
    more = f" (or {first_names(found[1:])})" if found[1:] else ""
    return f" If {found[0]}{more} names the classes, give it with --labels"


def _with_split(file: LabelFile, row: LabelRow) -> LabelRow:
    """The row with the split of its file. DataError if it names another one."""
    if file.split and row.split not in ("", file.split):
        raise DataError(
            f"{file.path}, line {row.line}: the split is {row.split}, but the file was given as that of {file.split}"
        )
    return row._replace(split=row.split or file.split)


def _of_list(tree: Tree, entries: Sequence[Entry], labels: Sequence[str]) -> list[Video]:
    by_parts = {tree.parts(each): each for each in tree.found}
    videos = []
    classes = set(map(canonical_name, labels))
    first: dict[tuple[str, ...], tuple[Entry, str]] = {}
    for entry, label in zip(entries, labels, strict=True):
        other, its_label = first.setdefault(entry.video, (entry, label))
        if its_label != label:
            raise DataError(
                f"{other.place}, and {entry.place}: {'/'.join(entry.video)} is of class {quoted(its_label)} and "
                f"{quoted(label)}: remove one"
            )
        if why := label_problem(label):
            raise DataError(f"{entry.place}: {quoted(entry.written)}: {why}")
        found = by_parts[entry.video]
        videos.append(Video(found.path, label, found.name, _folders(entry.video, classes), entry.split))
    return videos


def _folders(parts: tuple[str, ...], classes: Set[str]) -> tuple[str, ...]:
    """The folders of a path, without that of a class at the beginning: a label file may correct the class."""
    return parts[1:-1] if len(parts) > 1 and canonical_name(parts[0]) in classes else parts[:-1]


def _add_rows(tree: Tree, out: Path, rows: Sequence[tuple[LabelFile, LabelRow]], layout: Layout, pattern: str) -> None:
    """Add the videos of the rows of label files to a layout."""
    found, warnings, _ = find_rows(tree.videos, out, [row for _, row in rows], pattern)
    layout.problems.extend(warnings)
    sources = []
    classes = {canonical_name(row.label) for _, row in rows}
    for (file, row), source in zip(rows, found, strict=True):
        if isinstance(source, Source) and (why := label_problem(source.label)):
            raise DataError(f"{file.path}, line {row.line}: {why}")
        if isinstance(source, Source):
            sources.append(source)
            folders = _folders(source.path.relative_to(tree.videos).parts, classes)
            layout.videos.append(Video(source.path, row.label, source.video_id, folders, row.split, *source[3:]))
        else:
            layout.problems.append(source._replace(reason=f"{source.reason} ({file.path}, line {row.line})"))
    layout.problems.extend(dict.fromkeys(in_two_classes(sources, tree.videos)))


def _tell_of_others(tree: Tree, layout: Layout) -> None:
    """A note on the videos that no label file names."""
    named = {video.path for video in layout.videos}
    others = ["/".join(tree.parts(each)) for each in tree.found if each.path not in named]
    if others:
        layout.notes.append(
            f"left out, as no label file names them: {counted(len(others), 'video')}, {first_names(others)}"
        )


def splits_in(videos: Sequence[Video], tree: Tree) -> Mapping[str, int]:
    """The number of videos of each split. DataError if some have one and others have none."""
    numbers: dict[str, int] = {}
    for video in videos:
        numbers[video.split] = numbers.get(video.split, 0) + 1
    if "" in numbers and len(numbers) > 1:
        video = next(video for video in videos if not video.split)
        path = video.path.relative_to(tree.videos)
        raise DataError(f"{counted(numbers[''], 'video')}, such as {path}, have no split, but others have one")
    return numbers
