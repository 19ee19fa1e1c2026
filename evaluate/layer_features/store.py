"""The folder of the features of many videos, which several runs and shards fill.

    settings.json        what the features are of: weights, layer, clips; another run must have the same
    features/NAME.npy    a video's features
    rows/NAME.json       what they were made from
    index.csv            a line for each row of each .npy: its video, its times, its class

The file in rows is written last, so a video that has it is whole. It has a checksum of the features: those that were
changed since are not taken.
"""

import csv
import io
import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from common.archives import array_header
from common.errors import DataError
from common.files import OtherFileError, atomic_file, open_plain, open_plain_text, what_is_at, write_errors
from common.json_text import json_text
from common.text import printable, quoted
from evaluate.layer_features.clips import Video
from evaluate.layer_features.layers import Pooled
from evaluate.layer_features.videos import FoundVideo

SETTINGS, INDEX, FEATURES, ROWS = "settings.json", "index.csv", "features", "rows"
COLUMNS = ("video", "file", "row", "start", "end", "first_frame", "last_frame", "class", "label", "split")
LARGEST = 2**28  # bytes of a JSON file of ours
LARGEST_FEATURES = 2**40  # bytes of a .npy
LARGEST_NUMBER = 2**53  # of a frame


class FileState(NamedTuple):
    """What tells a video's file from another one that takes its place."""

    size: int
    changed: int  # nanoseconds


class Listed(NamedTuple):
    """A video and what index.csv says of it."""

    video: FoundVideo
    class_name: str
    label: int | None  # the index of its class among those of the network
    split: str


class FeatureFolder:
    """The features in a folder. `settings` are plain JSON values.

    `changed` has the names of the videos whose features were found to be others than those that were written.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.changed: set[str] = set()
        self._compared: set[str] = set()  # names of the videos whose checksum was compared, and is right
        self.settings = json.loads(json_text(settings))

    def open(self) -> None:
        """Claim the folder. DataError if it holds something else, or features of other settings."""
        there = what_is_at(self.folder)
        if there not in ("", "folder"):
            raise DataError(f"--output {self.folder} is a {there}: give the name of a folder")
        path = self.folder / SETTINGS
        for name in (FEATURES, ROWS):
            self._check_no_link(self.folder / name)
        with write_errors(self.folder):
            if there and not what_is_at(path) and any(self.folder.iterdir()):
                raise DataError(f"--output {self.folder} is not empty and holds no features: give another folder")
            if what_is_at(path):
                self._check(path)
                return
            self.folder.mkdir(parents=True, exist_ok=True)
            with atomic_file(path) as temporary:
                temporary.write_text(json_text(self.settings, indent=2) + "\n", encoding="utf-8")

    def _check(self, path: Path) -> None:
        before = _read_json(path)
        if before is None or "weights" not in before:
            raise DataError(f"{path} is damaged, or of another program: give another --output")
        names = [name for name in {**before, **self.settings} if before.get(name) != self.settings.get(name)]
        if names:
            name = names[0]
            was, now = (quoted(values.get(name)) for values in (before, self.settings))
            raise DataError(
                f"--output {self.folder} holds features of another {name.replace('_', ' ')}: {was}, and not {now}; "
                "give another folder"
            )

    def _check_no_link(self, folder: Path) -> None:
        """DataError if a folder within this one is reached through a link: files elsewhere would be replaced."""
        for place in (folder, *folder.parents):
            if place == self.folder:
                return
            if place.is_symlink():
                raise DataError(
                    f"{place} is a link to {printable(os.path.realpath(place))}, where nothing is written: delete the "
                    "link; --output itself may be one"
                )

    def file(self, video: FoundVideo) -> Path:
        """The file of a video's features."""
        return self.folder / FEATURES / f"{video.name}.npy"

    def _rows(self, video: FoundVideo) -> Path:
        return self._rows_of(video.name)

    def _rows_of(self, name: str) -> Path:
        return self.folder / ROWS / f"{name}.json"

    def write(self, video: FoundVideo, state: FileState, found: Video, features: Pooled) -> None:
        """Write the features of a video, float32 (R, ...), and where each row is from. DataError if that fails.

        `state` is that of the video's file before it was read.
        """
        size, changed = state
        about = {
            "size": size,
            "changed": changed,
            "frames": found.frames,
            "rate": found.rate,
            "shape": list(features.rows.shape),
            "rows": features.frames.tolist(),
            "times": [[found.seconds(first), found.seconds(last + 1)] for first, last in features.frames.tolist()],
            "crc32": _checksum(features.rows),
        }
        file, rows = self.file(video), self._rows(video)
        with write_errors(file):
            for path in (file, rows):
                self._check_no_link(path.parent)
                path.parent.mkdir(parents=True, exist_ok=True)
            rows.unlink(missing_ok=True)
            with atomic_file(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, features.rows)
            with atomic_file(rows) as temporary:
                temporary.write_text(json_text(about), encoding="utf-8")
        self.changed.discard(video.name)

    def about(self, video: FoundVideo) -> dict[str, Any] | None:
        """What is known of a video whose features are whole and still of the same file; else None.

        Features that were written after their file in rows are read once, to compare the checksum, as those of a copy.
        """
        about, is_later = self._whole(video)
        if about is not None and is_later and video.name not in self._compared and self._read(video, about) is None:
            return None
        return about

    def _whole(self, video: FoundVideo) -> tuple[dict[str, Any] | None, bool]:
        """What is known of a video if its features seem to be whole, and whether they are later than their rows."""
        about = _read_json(self._rows(video))
        if about is None or not _is_about(about):
            return None, False
        try:
            if [about["size"], about["changed"]] != list(state_of(video)):
                return None, False
            with open_plain(self.file(video), LARGEST_FEATURES) as file:
                is_whole = _shape(file) == about["shape"]
                is_later = os.fstat(file.fileno()).st_mtime_ns > self._rows(video).stat().st_mtime_ns
        except (OSError, OtherFileError, ValueError, EOFError):
            return None, False
        return (about if is_whole else None), is_later

    def load(self, video: FoundVideo) -> np.ndarray | None:
        """The features of a video; None if they are not there, not whole, or not those that were written."""
        about, _ = self._whole(video)
        return None if about is None else self._read(video, about)

    def _read(self, video: FoundVideo, about: Mapping[str, Any]) -> np.ndarray | None:
        """The features, if they have the checksum. Older versions wrote none: there, they must be finite."""
        try:
            with open_plain(self.file(video), LARGEST_FEATURES) as file:
                written = os.fstat(file.fileno()).st_mtime_ns
                values: np.ndarray = np.load(file, allow_pickle=False)
        except (OSError, OtherFileError, ValueError, EOFError):
            return None
        if _checksum(values) == about["crc32"] if "crc32" in about else bool(np.isfinite(values).all()):
            self._compared.add(video.name)
            self._mark_compared(video, written)
            return values
        self.changed.add(video.name)
        return None

    def _mark_compared(self, video: FoundVideo, written: int) -> None:
        """Give the file in rows the time of features that are right, so that the next command need not read them."""
        rows = self._rows(video)
        with suppress(OSError):  # a folder that is only read
            if rows.stat().st_mtime_ns < written:
                os.utime(rows, ns=(written, written))

    def check_unchanged(self) -> None:
        """DataError if features that were loaded were others than those that were written. Their rows are removed."""
        if not self.changed:
            return
        for name in self.changed:
            path = self._rows_of(name)
            with write_errors(path):
                path.unlink(missing_ok=True)
        raise DataError(
            f"the features of {len(self.changed)} of the videos in {self.folder}, such as {quoted(min(self.changed))}, "
            "were changed since they were written: give the same command again, which computes them again"
        )

    def write_index(self, videos: Sequence[Listed]) -> int:
        """Write index.csv of all videos whose features are there, and return how many these are.

        Another shard may end at the same time: it is written again until nothing was added meanwhile, so that the last
        one to write has seen all.
        """
        path = self.folder / INDEX
        text, count = self._index_text(videos)
        while True:
            with write_errors(path), atomic_file(path) as temporary:
                # Bytes of a file name that are not UTF-8 are written as \udce9, so that the table can be read.
                temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")
            before = text
            text, count = self._index_text(videos)
            if text == before:
                return count

    def _index_text(self, videos: Sequence[Listed]) -> tuple[str, int]:
        table = io.StringIO(newline="")
        writer = csv.writer(table, lineterminator="\n")
        writer.writerow(COLUMNS)
        count = 0
        for video, class_name, label, split in videos:
            about = self.about(video)
            if about is None:
                continue
            count += 1
            file = self.file(video).relative_to(self.folder).as_posix()
            for row, (first, last) in enumerate(about["rows"]):
                times = [_written(each) for each in _times(about, row)]
                writer.writerow(
                    [video.name, file, row, *times, first, last, class_name, "" if label is None else label, split]
                )
        return table.getvalue(), count


def _times(about: Mapping[str, Any], row: int) -> tuple[float | None, float | None]:
    """The start and end of a row. Older versions did not note them: there they count from the first frame."""
    if "times" in about:
        start, end = about["times"][row]
        return start, end
    first, last = about["rows"][row]
    rate = about["rate"]
    return (None, None) if rate is None else (first / rate, (last + 1) / rate)


def _written(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def state_of(video: FoundVideo) -> FileState:
    """The state of a video's file; OSError if it is gone."""
    status = os.stat(video.source)  # noqa: PTH116
    return FileState(status.st_size, status.st_mtime_ns)


def _checksum(features: np.ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(features).data)


def _shape(file: BinaryIO) -> list[int]:
    """The shape of the float32 array in a .npy, read from its header; ValueError if it is another file or cut."""
    shape, dtype = array_header(file)
    if dtype != np.float32 or os.fstat(file.fileno()).st_size - file.tell() < dtype.itemsize * math.prod(shape):
        raise ValueError("it is no whole file of features")
    return list(shape)


def _is_about(about: Mapping[str, Any]) -> bool:
    """Whether a video's JSON file has what `FeatureFolder.write` gives it."""
    if not {"size", "changed", "rate", "shape", "rows"} <= about.keys():
        return False
    rate, shape, rows = about["rate"], about["shape"], about["rows"]
    is_rate = rate is None or (type(rate) in (int, float) and 0 < rate <= LARGEST_NUMBER)
    return (
        is_rate
        and isinstance(shape, list)
        and isinstance(rows, list)
        and shape[:1] == [len(rows)]
        and _are_frames(rows)
        and _are_times(about.get("times", [[None, None]] * len(rows)), len(rows))
    )


def _are_times(times: Any, number: int) -> bool:
    """Whether each of so many rows has two times. Without a loop over the rows, as in `_are_frames`."""
    if not isinstance(times, list) or len(times) != number:
        return False
    if not {*map(type, times)} <= {list} or not {*map(len, times)} <= {2}:
        return False
    return {*map(type, chain.from_iterable(times))} <= {int, float, type(None)}


def _are_frames(rows: list[Any]) -> bool:
    """Whether each row is two numbers of frames. Without a loop over the rows, of which a folder has millions."""
    if not {*map(type, rows)} <= {list} or not {*map(len, rows)} <= {2}:
        return False
    numbers = list(chain.from_iterable(rows))
    return {*map(type, numbers)} <= {int} and (not numbers or (min(numbers) >= 0 and max(numbers) <= LARGEST_NUMBER))


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is none, or it is damaged."""
    try:
        with open_plain_text(path, LARGEST) as file:
            values = json.load(file)
    except (OSError, OtherFileError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
