"""The videos of a split, as arrays."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from data.labels.shared_arrays import SharedArrays
from data.labels.text import canonical_name

ARRAYS: dict[str, np.dtype[Any]] = {
    "folder_indices": np.dtype(np.int32),  # (N,), into class_folders
    "names": np.dtype(np.uint8),  # the names of the video folders, joined
    "name_ends": np.dtype(np.uint32),  # (N,), where each name ends in `names`
    "labels": np.dtype(np.int64),  # (N,), into classes
    "frame_counts": np.dtype(np.int32),  # (N,), as the scan found them
}


BLOCK = 2**13  # videos that are hashed at a time: the numbers of their bytes stay in the processor's cache


class FoundVideo(NamedTuple):
    """A video's place on disk, and its number of frames or the reason why it cannot be used."""

    class_folder: str
    name: str
    frames: int  # 0 if the video cannot be used
    problem: str


@dataclass(frozen=True, eq=False)
class VideoList:
    """The N videos of a split: arrays that workers share, instead of a Python object for each video."""

    SAMPLED: ClassVar = 64  # videos that stand for all, at most

    jpg: str  # the folder that holds the class folders
    classes: tuple[str, ...]  # class order
    class_folders: tuple[str, ...]  # names of folders in `jpg`
    arrays: SharedArrays  # those named in ARRAYS

    @property
    def labels(self) -> np.ndarray:
        """The class indices: int64 (N,)."""
        return self.arrays["labels"]

    @property
    def frame_counts(self) -> np.ndarray:
        """The numbers of frames: int32 (N,). A video may have been converted again since; FrameStore counts anew."""
        return self.arrays["frame_counts"]

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

        It does not depend on where the videos lie, on their order, on the other videos or on `_` for spaces in a class
        name, and is the same on every machine. Each byte of a name has a random number by its place and value; their
        sum is the name's hash.
        """
        ends = self.arrays["name_ends"].astype(np.int64)
        starts = np.concatenate(([0], ends[:-1])) if len(ends) else ends
        longest = int((ends - starts).max(initial=0))
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
        return found.view(np.int64)

    def folder(self, index: int) -> Path:
        """The folder of video `index`, 0 to N-1, which holds its frames.db. Raises IndexError for any other index."""
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        ends = self.arrays["name_ends"]
        start = int(ends[index - 1]) if index else 0
        name = os.fsdecode(self.arrays["names"][start : int(ends[index])].tobytes())
        return Path(self.jpg, self.class_folders[self.arrays["folder_indices"][index]], name)

    def found(self, index: int) -> FoundVideo:
        """Video `index` as the scan found it."""
        folder = self.folder(index)
        return FoundVideo(folder.parent.name, folder.name, int(self.frame_counts[index]), "")


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
    return VideoList(str(jpg), tuple(classes), tuple(class_folders), shared)
