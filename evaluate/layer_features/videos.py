"""The videos whose features are taken, of a dataset or below a folder, with their classes and splits."""

import os
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.errors import DataError
from common.files import inode_of, reason, what_is_at
from data.labels.label_row import LabelRow
from data.labels.locate import VIDEOS, LabelFiles, find_label_files
from data.labels.split_rows import SplitRows, read_split_rows
from data.labels.text import are_from_youtube, canonical_name, counted, first_names, is_youtube_name, path_key
from data.open import CUSTOM
from data.store.folder_entries import is_folder
from data.store.frame_store import DATABASE
from evaluate.left_out import LeftOut

Key = TypeVar("Key", bound=Hashable)
SEVERAL = -1  # in place of a place: more than one video may be meant


class FoundVideo(NamedTuple):
    """A video file, or the folder of a frames.db."""

    path: Path
    name: str  # its path below the root, with "/"

    @property
    def source(self) -> Path:
        """The file that holds its frames."""
        return self.path / DATABASE if self.is_database else self.path

    @property
    def is_database(self) -> bool:
        """Whether it is the folder of a frames.db."""
        return self.path.is_dir()

    @property
    def id(self) -> str:
        """The name of its folder, or of its file without suffix."""
        return self.path.name if self.is_database else self.path.stem


@dataclass(frozen=True)
class Root:
    """The folder whose videos are taken."""

    path: Path
    dataset: Path
    """Where label files are looked for: the folder that holds `path`, or `path` itself."""
    is_dataset: bool
    """Whether the folders in it are classes: it is the folder jpg or videos of a dataset."""


def find_root(folder: Path) -> Root:
    """The folder jpg of a dataset, else its folder videos, else the folder itself. DataError if there is none."""
    there = what_is_at(folder)
    if there != "folder":
        what = f"is a {there}" if there else "does not exist"
        raise DataError(f"{folder} {what}: give a dataset (with a folder jpg), or a folder of videos")
    for name in ("jpg", VIDEOS):
        if what_is_at(folder / name) == "folder":
            return Root(folder / name, folder, True)
    if folder.name == "jpg":
        return Root(folder, folder.parent, True)
    return Root(folder, folder, False)


def find_videos(root: Path) -> tuple[list[FoundVideo], LeftOut]:
    """All video files and folders of a frames.db below `root`, by name, and what is none. DataError if there are none.

    A folder that several links lead to is read once. Names that begin with a point are left out.
    """
    found, waiting, seen = list[FoundVideo](), [root], set[tuple[int, int] | None]()
    others = LeftOut(root)
    while waiting:
        folder = waiting.pop(0)
        if (identity := inode_of(folder)) in seen:
            continue
        seen.add(identity)
        try:
            with os.scandir(folder) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            raise DataError(f"{folder} cannot be read: {reason(error)}") from None
        if folder != root and any(entry.name == DATABASE and not is_folder(entry) for entry in listed):
            found.append(FoundVideo(folder, folder.relative_to(root).as_posix()))
            continue
        folders, files = others.sort(folder, listed)
        inner = [folder / name for name in folders]
        waiting += sorted(inner, key=lambda path: path.is_symlink())  # what a link leads to keeps its own name
        found += [
            FoundVideo(folder / name, (folder / name).relative_to(root).as_posix())
            for name in files
            if (folder / name).is_file()
        ]
    if not found:
        if others.lost:
            raise DataError(f"{root} holds no videos, but {next(iter(others.lost.values()))}: is its disk mounted?")
        is_video_folder = (root / DATABASE).is_file()
        holds = f"; it is itself the folder of a {DATABASE}: give the folder above" if is_video_folder else ""
        raise DataError(f"{root} holds no video files and no folders with a {DATABASE}{holds}")
    return sorted(found, key=lambda video: video.name), others


def read_rows(root: Root, labels: Sequence[Path]) -> SplitRows:
    """The train and val rows of one label file or folder, of two label files, or (for none) of the dataset itself."""
    if len(labels) > 2:
        raise DataError(f"--knn takes one label file or folder, or a train and a val label file, not {len(labels)}")
    if len(labels) == 2:
        for path in labels:
            if what_is_at(path) != "file":
                raise DataError(f"--knn {path}: there is no such label file")
        return read_split_rows(LabelFiles(labels[0], labels[1]))
    return read_split_rows(find_label_files(root.dataset, CUSTOM, labels[0] if labels else None))


class Labels:
    """Which label row a video has: by class and id, or by its path, or by an id that only one video has.

    `rows` are all label rows. A video in the folder of another of their classes is not taken by its id alone, but for
    the ids of YouTube, which name one video wherever it lies.
    """

    def __init__(self, videos: Sequence[FoundVideo], is_dataset: bool, rows: Sequence[LabelRow]) -> None:
        self._has_classes = is_dataset
        self._classes = {canonical_name(label) for label in {row.label for row in rows}}
        self._from_youtube = are_from_youtube({row.video_id for row in rows})
        self._folders = [canonical_name(_parent(video)) for video in videos]
        self._names = _places(path_key(video.name) for video in videos)
        self._of_class = _places((folder, video.id) for folder, video in zip(self._folders, videos, strict=True))
        self._ids = _places(video.id for video in videos)

    def place(self, row: LabelRow) -> int | None:
        """The place of the row's video in the list; None if it is not there, or if it may be one of several."""
        found = None
        if row.source and not row.is_part:  # the file at the path of a part is the whole recording
            found = self._names.get(path_key(row.source))
        if found is None:
            found = self._of_class.get((canonical_name(row.label), row.video_id))
        if found is None and not self._has_classes:
            found = self._ids.get(row.video_id, SEVERAL)
            is_anywhere = self._from_youtube and is_youtube_name(row.video_id)
            if not is_anywhere and self._folders[found] in self._classes:
                found = None
        return None if found == SEVERAL else found


def _places(keys: Iterable[Key]) -> dict[Key, int]:
    """The place of each key; SEVERAL where it comes more than once: which one a row means is not known."""
    found: dict[Key, int] = {}
    for place, key in enumerate(keys):
        found[key] = SEVERAL if key in found else place
    return found


def _parent(video: FoundVideo) -> str:
    """The first folder of a video's name, which is its class in a dataset; else the one that holds it."""
    return video.path.parent.name


def classes_of(
    videos: Sequence[FoundVideo], root: Root, rows: SplitRows | None, known: Sequence[str]
) -> list[tuple[str, str]]:
    """The class and the split of each video; empty where they are not known.

    The class is that of the label file, else the name of the folder: in a dataset, or where the network has it.
    """
    names = {canonical_name(name): name for name in known}
    found = []
    for video in videos:
        folder = _parent(video) if "/" in video.name or root.is_dataset else ""
        name = names.get(canonical_name(folder), folder if root.is_dataset else "")
        found.append((name, ""))
    if rows is not None:
        labels = Labels(videos, root.is_dataset, [*rows.train, *rows.val])
        for split, of_split in (("train", rows.train), ("val", rows.val)):
            for row in of_split:
                place = labels.place(row)
                if place is not None:
                    before = found[place][1]
                    found[place] = (row.label, f"{before}+{split}" if before not in ("", split) else split)
    return found


def describe(videos: Sequence[FoundVideo], root: Root) -> str:
    """`87 videos in PATH (a.mp4, ...)`."""
    return f"{counted(len(videos), 'video')} in {root.path}: {first_names([video.name for video in videos])}"
