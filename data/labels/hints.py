"""Why nothing is found: what to tell a user whose labels and folders do not match."""

import itertools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path

from data.labels.class_folders import ClassFolders, FoundVideo, list_names
from data.labels.label_row import LabelRow, clip_name
from data.labels.text import counted, first_names, letters, locale_hint, near_name, some

VIDEO_SUFFIXES = {".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
VIDEO = re.compile(f"(?i:{'|'.join(map(re.escape, sorted(VIDEO_SUFFIXES)))})$")
TIMES = re.compile(r"_\d+_\d+$")
CONVERT = "python -m data.prepare.convert VIDEOS OUT"
FOLDER = "python -m data.prepare.folder VIDEOS DATASET"  # converts and writes label files
HINT = ". Hint: "  # the beginning of each
SEARCHED = 1000  # rows, or names of one folder, that are compared
LISTED, DEPTH = 10, 4  # folders of each level that are listed, and levels

# (regular expression for a path below the dataset folder, hint about the part of it that is in brackets)
PATH_HINTS = (
    (r"([^/]+)/jpg", "the dataset is one level deeper: give {}"),
    (r"(jpg/[^/]+)/.+/.+/frames\.db", "the class folders are one level too deep, in {}: move them up into jpg"),
    (r"(jpg/[^/]+)/frames\.db", "{} is a video: put the videos into folders named after their classes"),
    (r"(?!jpg/)([^/]+)/[^/]+/frames\.db", "the class folders are here without jpg: move {} and the others into jpg"),
    (rf"(.+{VIDEO.pattern})", f"{{}} is a video that was not converted yet: {CONVERT}, or {FOLDER}"),
    (r"(.+\.(?i:jpe?g))", f"{{}} is a frame as JPEG file, which is to be put into frames.db: {CONVERT}"),
)


def explain_missing(
    videos: str, rows: Sequence[LabelRow], folders: ClassFolders, found: Sequence[FoundVideo | None]
) -> str:
    """Say why none of a split's `videos` can be used: where one was looked for, what is there, what may be wrong."""
    pairs = zip(rows, found, strict=True)  # explain the row that came closest to a usable video
    row, video = max(pairs, key=lambda pair: (pair[1] is not None, bool(folders.of_class[pair[0].label])))
    class_folder = video.class_folder if video else next(iter(folders.of_class[row.label]), row.label)
    looked = folders.jpg / class_folder / row.video_id
    nearest = next(place for place in (looked, looked.parent, folders.jpg) if os.path.isdir(place))  # noqa: PTH112 (Path.is_dir raises for a name that is too long)
    problem = f", but {looked} {video.problem}" if video else ""
    classes = "" if any(folders.of_class.values()) else f", the labels have {some(folders.of_class, 'class')}"
    hint = hint_for_rows(rows, folders) if video is None else ""
    if video is not None and not folders.reads_files:
        hint = hint_for_folder(looked, looked)
    there = f"{nearest} holds {some(list_names(nearest), 'name')}{classes}"
    return f"none of the {videos} can be used: looked for {folders.sought(looked)}{problem}; {there}{hint}"


def explain_empty_classes(empty: Sequence[str], folders: ClassFolders) -> str:
    """Say which classes of the labels have no video, and where those of the first should be."""
    place = folders.jpg / next(iter(folders.of_class[empty[0]]), empty[0])
    near = None if place.name in folders.present else near_name(empty[0], folders.present)
    similar = f"; there is a folder {near!r}: rename it to the class's name" if near else ""
    if os.path.islink(place) and place.name not in folders.present:  # noqa: PTH114 (raises for a name that is too long)
        similar = ", which is a link that leads nowhere"
    which = f"{counted(len(empty), 'class')} of the labels: {first_names(list(map(repr, empty)))}"
    if hint := locale_hint(empty):
        return f"no usable video of {which}; looked in {place}. Hint: {hint}"
    remedy = f"{folders.remedy}, or remove the rows of the class from the label files"
    return f"no usable video of {which}; looked in {place}{similar}. {remedy}"


def hint_for_spelling(rows: Sequence[LabelRow], folders: ClassFolders) -> str:
    """What to do if a folder's name differs from an id in what cannot be seen; else an empty string.

    These are spaces at its ends, which no label file can name, and accents that are characters of their own.
    """
    spelled: dict[str, dict[str, str]] = {}  # class folder -> {name as it looks: name on disk}
    for row in rows:
        for folder in folders.of_class[row.label]:
            if folder not in spelled:
                names = (name for name in folders.videos[folder] if name != name.strip() or not name.isascii())
                spelled[folder] = {unicodedata.normalize("NFC", name.strip()): name for name in names}
            name = spelled[folder].get(unicodedata.normalize("NFC", row.video_id), row.video_id)
            place = folders.jpg / folder
            if name.strip() != row.video_id:
                return (
                    f". Hint: {place} holds {name!a}, and the labels {row.video_id!a}: the accents are "
                    "encoded in two ways; rename it, or write the label file as it is named"
                )
            if name != row.video_id:
                return (
                    f". Hint: {place} holds {name!r}, but spaces at the ends are ignored: rename it to {row.video_id!r}"
                )
    return ""


def hint_for_segments(rows: Sequence[LabelRow], folders: ClassFolders) -> str:
    """What to do if clips with names in milliseconds have a folder in whole seconds; else an empty string.

    It may hold another clip, as it was made with fewer label files.
    """
    places = [
        folders.jpg / folder / name
        for row in rows
        if row.time_start is not None and row.time_end is not None
        if row.video_id != (name := clip_name(row.youtube_id, row.time_start, row.time_end))
        if (folder := folders.locate(row.label, name))
    ]
    if not places:
        return ""
    return (
        f". Hint: {places[0]} may be of another clip with the same whole seconds: convert again with all label files, "
        f"which names both with milliseconds: {CONVERT} --labels FILE --labels FILE"
    )


def hint_for_rows(rows: Sequence[LabelRow], folders: ClassFolders) -> str:
    """What may be wrong if these rows have no video."""
    if hint := locale_hint(name for row in rows for name in (row.label, row.video_id)):
        return f". Hint: {hint}"
    if hint := hint_for_segments(rows, folders) or hint_for_spelling(rows, folders):
        return hint
    similar: dict[str, dict[str, str]] = {}  # class folder -> {video id: name on disk}
    with_folder = ((row, folder) for row in rows for folder in folders.of_class[row.label])
    for row, folder in itertools.islice(with_folder, SEARCHED):
        if folder not in similar:
            names = sorted(folders.videos[folder], reverse=True)
            similar[folder] = {TIMES.sub("", VIDEO.sub("", name)).removeprefix("v_"): name for name in names}
        if name := similar[folder].get(VIDEO.sub("", row.youtube_id).removeprefix("v_")):
            return _hint_for_name(row, name, folders.jpg / folder / name)
    if similar:
        return ". Hint: the class folders hold no video of the labels: are the labels of another split or version?"
    spelled = {letters(folder): folder for folder in folders.present}
    for label in dict.fromkeys(row.label for row in rows):
        if near := spelled.get(letters(label)):
            return f". Hint: folder {near!r} is spelled unlike class {label!r}: rename the folders or the labels"
    if folders.reads_files:
        return ". Hint: the videos go into folders named after their classes"
    default = "are the labels of another dataset?" if folders.present else f"convert the videos first: {CONVERT}"
    return hint_for_folder(folders.jpg, folders.jpg.parent) or f". Hint: {default}"


def _hint_for_name(row: LabelRow, name: str, place: Path) -> str:
    """What is wrong with the name of a video that is similar to what was looked for."""
    timed, has_times = row.time_start is not None, TIMES.search(name)
    hints = (
        (VIDEO.search(name), f"is a video that was not converted yet: {CONVERT}"),
        (timed and not has_times, "has no times: convert with the label file, or remove the times from it"),
        (timed, f"has other times, or other digits for them, than {row.video_id}"),
        (has_times, "has times: the label file needs the columns time_start and time_end"),
        (True, f"is there for {row.video_id}: write the ids in the label file as the folders are named"),
    )
    return f". Hint: {place} {next(hint for fits, hint in hints if fits)}"


def hint_for_folder(folder: Path, dataset: Path) -> str:
    """What may be wrong with a folder without videos. PATH_HINTS apply to paths relative to `dataset`."""
    paths = [path.relative_to(dataset).as_posix() for path in _walk(folder)]
    matches = ((re.fullmatch(pattern, path), hint) for pattern, hint in PATH_HINTS for path in paths)
    return next((f". Hint: {hint.format(dataset / match[1])}" for match, hint in matches if match), "")


def _walk(folder: Path) -> Iterator[Path]:
    """The first files and folders of each level, which takes little time in a large dataset."""
    level = [folder]
    for _ in range(DEPTH):
        folders = list(itertools.islice(filter(os.path.isdir, level), LISTED))
        level = [path for folder in folders for path in sorted(folder.glob("*"))[:SEARCHED]]
        yield from level
