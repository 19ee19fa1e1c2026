"""The result of the readers of official annotations, and how they find their files."""

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from data.labels.csv_file import find_form, read_table
from data.labels.label_file import LabelRow, check_folder_name, clip_name
from data.store.video_suffixes import is_video

ALL_SPLITS = (1, 2, 3)


@dataclass
class Dropped:
    """The number of rows left out for each reason, and the first of them."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, str] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        """Count one row left out."""
        self.counts[reason] = self.counts.get(reason, 0) + 1
        self.examples.setdefault(reason, example)


@dataclass
class Official:
    """The content of official annotations.

    `rows` maps the beginning of a label file's name ("ucf101_split1") to its rows; the row's split completes the name.
    `class_index` is the dataset's class order, if it defines one. `class_counts` are the numbers of classes in complete
    annotations, one for each version of the dataset; `row_counts` those of rows of a label file, if they are known.
    """

    rows: dict[str, list[LabelRow]]
    sources: list[Path]
    class_counts: tuple[int, ...]
    dropped: Dropped = field(default_factory=Dropped)
    notes: list[str] = field(default_factory=list)
    class_index: tuple[str, ...] | None = None
    class_index_name: str = ""
    row_counts: dict[str, int] = field(default_factory=dict)


def make_row(label: str, youtube_id: str, split: str, line: int) -> LabelRow:
    """The row of a whole video."""
    return LabelRow(label, youtube_id, split, youtube_id, None, None, line)


def make_clip_row(label: str, youtube_id: str, times: tuple[float, float], split: str, line: int) -> LabelRow:
    """The row of a clip between two times in seconds."""
    return LabelRow(label, clip_name(youtube_id, *times), split, youtube_id, *times, line)


def annotation_folder(annotations: Path, names: Sequence[str]) -> Path:
    """Find the folder with a file that matches one of the glob patterns: `annotations`, or one folder in it.

    (Official archives unpack to a folder inside.) Raises DataError if there is no such folder, or more than one.
    """
    what = " or ".join(names)
    kind = what_is_at(annotations)
    if not kind:
        raise DataError(f"{annotations}: no such file or folder")
    if kind != "folder":
        raise DataError(f"{annotations} is a {kind}; give the folder that holds {what}")

    def has_one(folder: Path) -> bool:
        return any(files_like(folder, name) for name in names)

    if has_one(annotations):
        return annotations
    folders = [folder for folder in sorted(annotations.iterdir()) if folder.is_dir() and has_one(folder)]
    if len(folders) > 1:
        raise DataError(f"{annotations}: both {folders[0].name} and {folders[1].name} hold {what}; give one of them")
    if not folders:
        names_there = sorted(path.name for path in annotations.iterdir())
        there = ", ".join(names_there[:5]) + (", ..." if len(names_there) > 5 else "")
        raise DataError(f"{annotations} holds no {what}; it holds {there or 'nothing'}")
    return folders[0]


def files_like(folder: Path, pattern: str) -> list[Path]:
    """The sorted files of a folder that match a glob pattern, without those that macOS writes beside others, `._*`."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("._"))


def table_of(path: Path, columns: Collection[str]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """As read_table, with the separators by which the header has these columns: a spreadsheet may have changed them."""
    return read_table(path, find_form(path, set(columns).issubset))


def required_file(folder: Path, name: str) -> Path:
    """The path of a file that must exist. Raises DataError."""
    path = folder / name
    if what_is_at(path) != "file":
        raise DataError(f"{path} is missing, or no plain file; it belongs to the official annotations")
    return path


def check_splits_found(found: Sequence[int], split: int | None, folder: Path, names: str) -> list[str]:
    """Raise DataError if the wanted split was not found; else return a note on missing splits."""
    if split is not None and split not in found:
        raise DataError(f"{folder} holds no {names} of split {split}")
    absent = [str(number) for number in ALL_SPLITS if number not in found]
    if split is not None or not absent:
        return []
    return [f"{folder} holds no {names} of split {' and '.join(absent)}"]


def have_suffixes(names: Iterable[str]) -> bool:
    """Whether any name in a list is that of a video file. Lists of folders of frames have no suffixes at all."""
    return any(is_video(PurePosixPath(name).name) for name in names)


def video_id_of(name: str, place: str, has_suffixes: bool) -> str:
    """The id of a video by its file's name in a list, of which others have suffixes of videos or not.

    DataError for a name that ends too early, as in a cut file: it alone has no such suffix.
    """
    file = PurePosixPath(name)
    if has_suffixes and not is_video(file.name):
        raise DataError(
            f"{place}: {quoted(name)} does not end as a video file, such as .avi: is the line or the file cut short?"
        )
    video_id = file.stem if has_suffixes else file.name
    check_folder_name(video_id, "file name", place)
    return video_id


def parse_index(text: str) -> int | None:
    """The whole number, 0 or more, that a text is; None if it is none, or larger than any index."""
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else None
