"""The videos of a split, as arrays."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from common.text import composed
from data.labels.label_counts import LabelCounts
from data.labels.label_row import LabelRow
from data.labels.shared_arrays import SharedArrays
from data.labels.text import canonical_name
from data.store.video_source import VideoPart

ARRAYS: dict[str, np.dtype[Any]] = {
    "folder_indices": np.dtype(np.int32),  # (N,), into class_folders
    "names": np.dtype(np.uint8),  # the names of the video folders, joined
    "name_ends": np.dtype(np.uint32),  # (N,), where each name ends in `names`
    "labels": np.dtype(np.int64),  # (N,), into classes
    "frame_counts": np.dtype(np.int32),  # (N,), as the scan found them
}

# Of videos that are read from video files, of which one may hold several.
FILE_ARRAYS: dict[str, np.dtype[Any]] = {
    "file_rows": np.dtype(np.int32),  # (N,), which of the F files holds a video
    "first_frames": np.dtype(np.int32),  # (N,), its first frame there
    "paths": np.dtype(np.uint8),  # the files' paths below the folder of the class folders, joined
    "path_ends": np.dtype(np.int64),  # (F,)
    "sizes": np.dtype(np.int64),  # (F,), bytes
    "times": np.dtype(np.int64),  # (F,), of the last change, in nanoseconds
    "indexes": np.dtype(np.uint8),  # their packed FrameIndex, joined
    "index_ends": np.dtype(np.int64),  # (F,)
}

BLOCK = 2**13  # videos that are hashed at a time: the numbers of their bytes stay in the processor's cache


class FoundVideo(NamedTuple):
    """A video's place on disk, and its number of frames or the reason why it cannot be used."""

    class_folder: str
    name: str
    frames: int  # 0 if the video cannot be used
    problem: str
    part: VideoPart | None = None  # of a video file, with its path below the folder of the class folders


@dataclass(frozen=True, eq=False)
class VideoList:
    """The N videos of a split: arrays that workers share, instead of a Python object for each video."""

    SAMPLED: ClassVar = 64  # videos that stand for all, at most

    jpg: str  # the folder that holds the class folders
    classes: tuple[str, ...]  # class order
    class_folders: tuple[str, ...]  # names of folders in `jpg`
    arrays: SharedArrays  # those named in ARRAYS
    files: SharedArrays | None = None  # those named in FILE_ARRAYS, if the videos are read from video files
    counts: LabelCounts | None = None  # of the labels that they were found by
    sampled_rows: tuple[LabelRow | None, ...] = ()  # of `sample`, where they have times or frames; or empty

    @property
    def labels(self) -> np.ndarray:
        """The class indices: int64 (N,)."""
        return self.arrays["labels"]

    @property
    def frame_counts(self) -> np.ndarray:
        """The numbers of frames: int32 (N,). A video may have been converted again since; FrameStore counts anew."""
        return self.arrays["frame_counts"]

    @property
    def source(self) -> str:
        """What the videos are read from: "frames" (databases) or "videos" (video files)."""
        return "frames" if self.files is None else "videos"

    def __len__(self) -> int:
        return len(self.labels)

    def sample(self) -> list[int]:
        """The indices of at most SAMPLED videos, evenly spread."""
        number = min(self.SAMPLED, len(self))
        return [place * len(self) // number for place in range(number)]

    def digest(self) -> str:
        """A digest of the videos' names and class indices, in their order, and of the class names.

        It is the same wherever the videos lie, and changes with every video that comes, goes, moves or gets another
        label. It says nothing of their frames: `content_of` does.
        """
        digest = hashlib.blake2b(digest_size=16)
        digest.update("\n".join(self.classes).encode("utf-8", errors="surrogateescape"))
        for name in ("names", "name_ends", "labels"):
            digest.update(self.arrays[name].data)
        return digest.hexdigest()

    def hashes(self) -> np.ndarray:
        """A hash of each video's class name and name: int64 (N,).

        It does not depend on where the videos lie, on their order, on the other videos, on `_` for spaces in a class
        name or on the names' Unicode form, and is the same on every machine. Each byte of a name has a random number by
        its place and value; their sum is the name's hash.
        """
        composed_names = self._composed_names()
        ends = self.arrays["name_ends"].astype(np.int64)
        starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
        longest = max([int((ends - starts).max(initial=0)), *map(len, composed_names.values())])
        # The longer output of SHAKE begins with the shorter, so that all lists have the same numbers.
        numbers = _uint64(hashlib.shake_256(b"names of videos").digest(longest * 256 * 8))
        of_class = _uint64(b"".join(_hash_of_class(name) for name in self.classes))
        found = of_class[self.labels]
        for first in range(0, len(self), BLOCK):
            begin, end = starts[first : first + BLOCK], ends[first : first + BLOCK]
            places = np.arange(begin[0], end[-1]) - np.repeat(begin, end - begin)
            of_bytes = numbers[places * 256 + self.arrays["names"][begin[0] : end[-1]]]
            sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(of_bytes, dtype=np.uint64)))
            found[first : first + BLOCK] += sums[end - begin[0]] - sums[begin - begin[0]]
        for index, name in composed_names.items():
            places = np.arange(len(name)) * 256 + np.frombuffer(name, np.uint8)
            of_name = numbers[places].sum(dtype=np.uint64)
            found[index] = (int(of_class[self.labels[index]]) + int(of_name)) % 2**64  # two scalars would warn
        return found.view(np.int64)

    def _composed_names(self) -> dict[int, bytes]:
        """The names, by the video's index, that are not in the composed Unicode form, in that form."""
        starts = np.concatenate((np.zeros(1, np.int64), self.arrays["name_ends"].astype(np.int64)))
        others = np.flatnonzero(self.arrays["names"] > 127)  # most names have ASCII alone
        names = {}
        for index in np.unique(np.searchsorted(starts, others, side="right") - 1).tolist():
            name = self.arrays["names"][starts[index] : starts[index + 1]].tobytes()
            if (whole := os.fsencode(composed(os.fsdecode(name)))) != name:
                names[index] = whole
        return names

    def folder(self, index: int) -> Path:
        """The folder of video `index`, 0 to N-1, which holds its frames.db. Raises IndexError for any other index."""
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        ends = self.arrays["name_ends"]
        start = int(ends[index - 1]) if index else 0
        name = os.fsdecode(self.arrays["names"][start : int(ends[index])].tobytes())
        return Path(self.jpg, self.class_folders[self.arrays["folder_indices"][index]], name)

    def place(self, index: int) -> "Path | VideoPart":
        """Where video `index` is read: the folder of its frames.db, or the part of a video file."""
        if self.files is None:
            return self.folder(index)
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        files = self.files
        row = int(files["file_rows"][index])
        path = os.fsdecode(_piece(files["paths"], files["path_ends"], row))
        return VideoPart(
            f"{self.jpg}/{path}",
            int(files["sizes"][row]),
            int(files["times"][row]),
            _piece(files["indexes"], files["index_ends"], row),
            int(files["first_frames"][index]),
            int(self.frame_counts[index]),
        )

    def path(self, index: int) -> Path:
        """Video `index` for messages: the folder of its frames.db, or the video file."""
        place = self.place(index)
        return place if isinstance(place, Path) else Path(place.path)

    def found(self, index: int) -> FoundVideo:
        """Video `index` as the scan found it."""
        folder = self.folder(index)
        return FoundVideo(folder.parent.name, folder.name, int(self.frame_counts[index]), "")


def _piece(joined: np.ndarray, ends: np.ndarray, row: int) -> bytes:
    return joined[int(ends[row - 1]) if row else 0 : int(ends[row])].tobytes()


def _hash_of_class(name: str) -> bytes:
    return hashlib.blake2b(canonical_name(name).encode("utf-8", errors="surrogateescape"), digest_size=8).digest()


def _uint64(random_bytes: bytes) -> np.ndarray:
    return np.frombuffer(random_bytes, dtype="<u8").astype(np.uint64)


def pack(jpg: Path, classes: Sequence[str], videos: Sequence[tuple[int, FoundVideo]]) -> VideoList:
    """Make a VideoList of (class index, found video) pairs, in their order."""
    class_folders = sorted({video.class_folder for _, video in videos})
    positions = {folder: position for position, folder in enumerate(class_folders)}
    encoded = [os.fsencode(video.name) for _, video in videos]
    arrays: dict[str, Any] = {
        "folder_indices": [positions[video.class_folder] for _, video in videos],
        "names": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "name_ends": np.cumsum([len(name) for name in encoded]),
        "labels": [label for label, _ in videos],
        "frame_counts": [video.frames for _, video in videos],
    }
    shared = SharedArrays({name: np.asarray(arrays[name], dtype) for name, dtype in ARRAYS.items()})
    return VideoList(str(jpg), tuple(classes), tuple(class_folders), shared, _pack_files(videos))


def _pack_files(videos: Sequence[tuple[int, FoundVideo]]) -> SharedArrays | None:
    """The FILE_ARRAYS of videos; None if they are databases."""
    parts = [video.part for _, video in videos if video.part is not None]
    if not parts:
        return None
    assert len(parts) == len(videos)
    files = {part.path: part for part in parts}
    rows = {path: row for row, path in enumerate(files)}
    paths = [os.fsencode(path) for path in files]
    indexes = [part.packed for part in files.values()]
    arrays: dict[str, Any] = {
        "file_rows": [rows[part.path] for part in parts],
        "first_frames": [part.first for part in parts],
        "paths": np.frombuffer(b"".join(paths), np.uint8),
        "path_ends": np.cumsum([len(path) for path in paths]),
        "sizes": [part.size for part in files.values()],
        "times": [part.mtime for part in files.values()],
        "indexes": np.frombuffer(b"".join(indexes), np.uint8),
        "index_ends": np.cumsum([len(index) for index in indexes]),
    }
    return SharedArrays({name: np.asarray(arrays[name], dtype) for name, dtype in FILE_ARRAYS.items()})
