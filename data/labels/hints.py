"""Why nothing is found: what a user needs to read when labels and folders do not meet."""

import difflib
import itertools
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from common.errors import DataError
from data.labels.label_file import LabelRow
from data.labels.video_list import ClassFolders, FoundVideo, list_names

VIDEO_SUFFIXES = {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
CONVERT = "python -m data.prepare.convert VIDEOS OUT"
TIMES = re.compile(r"_\d{6}_\d{6}$")
LOOKED_AT = 1000  # rows or names that a hint is looked for in


def find_jpg(dataset: Path) -> Path:
    """Return the folder that holds the class folders: `jpg` in `dataset`, or `dataset` itself if it is that folder.

    Raises DataError, saying what is there instead, if neither is so.
    """
    if not dataset.exists():
        raise DataError(f"dataset folder {dataset} does not exist{_nearest_folder(dataset)}")
    if not dataset.is_dir():
        raise DataError(f"{dataset} is a file; a dataset is a folder that holds jpg/<class>/<video id>/frames.db")
    if (dataset / "jpg").is_dir():
        return dataset / "jpg"
    if dataset.name == "jpg":
        return dataset
    raise DataError(
        f"dataset folder {dataset} holds no folder jpg, where jpg/<class>/<video id>/frames.db should be; "
        f"it holds {some(list_names(dataset), 'name')}{_hint(_misplaced_jpg(dataset))}"
    )


def explain_missing(
    split: str, source: Path, rows: Sequence[LabelRow], folders: ClassFolders, found: Sequence[FoundVideo | None]
) -> str:
    """Say in one line why none of a split's rows has a video: where it looked, what is there, what may be wrong."""
    first = next((row for row in rows if folders.of_class[row.label]), rows[0])
    folder = next(iter(folders.of_class[first.label]), first.label)
    others = f" and {len(rows) - 1} more like it" if len(rows) > 1 else ""
    looked = f"looked for {folders.jpg / folder / first.video_id / 'frames.db'}{others}"
    none = f"none of the {counted(len(rows), 'video')} of the {split} labels {source}"
    unusable = [video for video in found if video is not None]
    if unusable:
        place = folders.jpg / unusable[0].class_folder / unusable[0].name
        return (
            f"{none} can be used: {looked}; {len(unusable)} of these folders exist, but {place} {unusable[0].problem} "
            f"and holds {some(_names_if_folder(place), 'name')}{_hint(_not_converted(place))}"
        )
    there, hint = _what_is_there(folders, first.label), _hint(hint_for_rows(rows, folders))
    return f"{none} is on disk: {looked}; {there}{hint}"


def explain_empty_classes(empty: Sequence[str], rows: Mapping[str, int], folders: ClassFolders) -> str:
    """Say in one line which classes of the labels have no video; `rows` counts the label rows of each class."""
    shown = ", ".join(repr(name) for name in empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
    what = f"class {shown} of the labels has" if len(empty) == 1 else f"{len(empty)} classes of the labels have"
    name = empty[0]
    place = folders.jpg / next(iter(folders.of_class[name]), name)
    near = near_name(name, folders.present)
    if folders.of_class[name]:
        state = f"{place} holds none of the class's {rows[name]} videos"
    else:
        state = f"there is no folder {place}" + (
            f", but there is {near!r}: rename it to the class's name" if near else ""
        )
    return (
        f"{what} no usable video in {folders.jpg}{'' if len(empty) == 1 else f' ({shown})'}: {state}. Convert the "
        f"videos ({CONVERT}), or take the class's rows out of the label files"
    )


def hint_for_rows(rows: Sequence[LabelRow], folders: ClassFolders) -> str:
    """What may be wrong when rows find no video, or an empty string."""
    for row in itertools.islice((row for row in rows if folders.of_class[row.label]), LOOKED_AT):
        for folder in folders.of_class[row.label]:
            hint = _misnamed_video(row, folders.videos[folder], folders.jpg / folder)
            if hint:
                return hint
    labels = list(dict.fromkeys(row.label for row in rows))
    if any(folders.of_class[label] for label in labels):
        return "the classes are right but the videos are others: are the labels of another split or version?"
    return _misplaced_classes(labels, rows, folders)


def _misnamed_video(row: LabelRow, names: frozenset[str], folder: Path) -> str:
    """Compare a row with the names in its class folder."""
    timed = row.time_start is not None
    for suffix in VIDEO_SUFFIXES:
        for name in (row.video_id, row.youtube_id, f"v_{row.youtube_id}"):
            if name + suffix in names:
                return f"{folder / (name + suffix)} is a video that was not converted yet: {CONVERT}"
    stem, suffix = os.path.splitext(row.video_id)  # noqa: PTH122
    if suffix.lower() in VIDEO_SUFFIXES and stem in names:
        return f"the ids in the label file end in {suffix!r}, the folders do not: write the ids without it"
    for name in (row.youtube_id, f"v_{row.youtube_id}"):
        if timed and name in names:
            return (
                f"{folder / name} is there without the times: the label file has times, so each clip is a folder of "
                f"its own, {row.video_id}; cut the clips out by converting with the label file, or, if the videos are "
                "the clips already, take the time columns out of it"
            )
    if f"v_{row.video_id}" in names:
        return f"{folder} holds v_{row.video_id} for {row.video_id}: write the ids as the folders are named"
    if not timed:
        other = next((name for name in names if TIMES.sub("", name) == row.youtube_id), None)
        if other:
            return f"{folder / other} has times in its name: the label file needs the columns time_start and time_end"
    other = next((name for name in names if timed and name.startswith(f"{row.youtube_id}_")), None)
    if other:
        return f"{folder} holds {other} where {row.video_id} is looked for: other times, or other digits for them"
    return ""


def _misplaced_classes(labels: Sequence[str], rows: Sequence[LabelRow], folders: ClassFolders) -> str:
    """Compare the labels with folder names of another spelling, depth or dataset."""
    for label in labels[:LOOKED_AT]:
        near = near_name(label, folders.present, exact=True)
        if near:
            return f"folder {near!r} is spelled unlike class {label!r}: rename the folders, or write the labels so"
    wanted = {label.replace("_", " ") for label in labels}
    for folder in folders.present[:10]:
        inside = {name.replace("_", " ") for name in _names_if_folder(folders.jpg / folder)}
        if wanted & inside:
            return (
                f"the class folders are one level too deep, in {folders.jpg / folder}: move them up into {folders.jpg}"
            )
    ids = {name for row in rows[:LOOKED_AT] for name in (row.video_id, row.youtube_id)}
    flat = next((name for name in folders.present if name in ids), None)
    if flat:
        return f"{folders.jpg / flat} is a video: put the videos into folders named after their classes"
    videos = _video_file(folders.jpg)
    if videos:
        return f"{videos} is a video that was not converted yet: {CONVERT}"
    return "are these the labels of another dataset?" if folders.present else f"convert the videos first: {CONVERT}"


def _what_is_there(folders: ClassFolders, label: str) -> str:
    for folder in folders.of_class[label]:
        return f"{folders.jpg / folder} holds {some(folders.videos[folder], 'name')}"
    if folders.present:
        return (
            f"{folders.jpg} holds {some(folders.present, 'folder')}, none of them for the labels' "
            f"{some(folders.of_class, 'class')}"
        )
    names = list_names(folders.jpg)
    return f"{folders.jpg} " + (f"holds no folders but {some(names, 'file')}" if names else "is empty")


def _misplaced_jpg(dataset: Path) -> str:
    """Say where the jpg folder may be instead, or what `dataset` is."""
    for parent in dataset.absolute().parents:
        if parent.name == "jpg":
            return f"this folder is inside a dataset: give {parent.parent}"
    children = [child for child in itertools.islice(sorted(dataset.iterdir()), LOOKED_AT) if child.is_dir()]
    for child in children:
        if (child / "jpg").is_dir():
            return f"the dataset is one level deeper: give {child}"
    for child in children[:10]:
        for video in itertools.islice(child.iterdir(), 10):
            if (video / "frames.db").exists():
                return f"the class folders are here without jpg: make {dataset / 'jpg'} and move them into it"
    return _not_converted(dataset)


def _not_converted(folder: Path) -> str:
    """Recognise videos, or JPEG files, that were never put into a database."""
    video = _video_file(folder)
    if video:
        return f"{video} is a video that was not converted yet: {CONVERT}"
    if any(name.lower().endswith((".jpg", ".jpeg")) for name in _names_if_folder(folder)):
        return f"frames as JPEG files go into frames.db first: {CONVERT}"
    return ""


def _video_file(folder: Path) -> Path | None:
    """A video file in a folder or in one of its first folders, if there is one."""
    for place in [folder, *(folder / name for name in _names_if_folder(folder)[:10])]:
        for name in _names_if_folder(place)[:LOOKED_AT]:
            if Path(name).suffix.lower() in VIDEO_SUFFIXES:
                return place / name
    return None


def _names_if_folder(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except OSError:
        return []


def near_name(name: str, others: Sequence[str], exact: bool = False) -> str | None:
    """The one of other names with the same letters and digits, or else (unless `exact`) the most similar one."""
    squeezed = {re.sub(r"[\W_]", "", other).casefold(): other for other in others}
    same = squeezed.get(re.sub(r"[\W_]", "", name).casefold())
    if same or exact:
        return same
    return next(iter(difflib.get_close_matches(name, others, n=1, cutoff=0.8)), None)


def _nearest_folder(path: Path) -> str:
    """What to say about the place where `path` should be."""
    parent = next(parent for parent in path.absolute().parents if parent.exists())
    if parent != path.absolute().parent:
        return f"; {parent} does, and holds {some(_names_if_folder(parent), 'name')}"
    near = difflib.get_close_matches(path.name, _names_if_folder(parent), n=1)
    return (
        f"; did you mean {parent / near[0]}?" if near else f"; {parent} holds {some(_names_if_folder(parent), 'name')}"
    )


def some(names: Iterable[str], noun: str) -> str:
    """The number of names and the first few of them."""
    ordered = sorted(names)
    if not ordered:
        return "nothing"
    dots = ", ..." if len(ordered) > 3 else ""
    return f"{counted(len(ordered), noun)} ({', '.join(ordered[:3])}{dots})"


def counted(number: int, noun: str) -> str:
    """A number and its noun: "1 class", "2 classes"."""
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("s") else "s")


def _hint(text: str) -> str:
    return f". Hint: {text}" if text else ""
