"""The folder of the features of many videos, which several runs and shards fill.

    settings.json        what the features are of: weights, layer, clips; another run must have the same
    features/NAME.npy    a video's features
    rows/NAME.json       what they were made from
    index.csv            a line for each row of each .npy: its video, its times, its class

The file in rows is written last, so a video that has it is whole.
"""

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import DataError
from common.files import atomic_file, what_is_at, write_errors
from common.json_text import json_text
from common.text import quoted
from evaluate.layer_features.clips import Video
from evaluate.layer_features.layers import Pooled
from evaluate.layer_features.videos import FoundVideo

SETTINGS, INDEX, FEATURES, ROWS = "settings.json", "index.csv", "features", "rows"
COLUMNS = ("video", "file", "row", "start", "end", "first_frame", "last_frame", "class", "label", "split")
LARGEST = 2**28  # bytes of a JSON file of ours


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
    """The features in a folder. `settings` are plain JSON values."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder = folder
        self.settings = json.loads(json_text(settings))

    def open(self) -> None:
        """Claim the folder. DataError if it holds something else, or features of other settings."""
        there = what_is_at(self.folder)
        if there not in ("", "folder"):
            raise DataError(f"--output {self.folder} is a {there}: give the name of a folder")
        path = self.folder / SETTINGS
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

    def file(self, video: FoundVideo) -> Path:
        """The file of a video's features."""
        return self.folder / FEATURES / f"{video.name}.npy"

    def _rows(self, video: FoundVideo) -> Path:
        return self.folder / ROWS / f"{video.name}.json"

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
        }
        file, rows = self.file(video), self._rows(video)
        with write_errors(file):
            for path in (file, rows):
                path.parent.mkdir(parents=True, exist_ok=True)
            rows.unlink(missing_ok=True)
            with atomic_file(file) as temporary, temporary.open("wb") as opened:
                np.save(opened, features.rows)
            with atomic_file(rows) as temporary:
                temporary.write_text(json_text(about), encoding="utf-8")

    def about(self, video: FoundVideo) -> dict[str, Any] | None:
        """What is known of a video whose features are whole and still of the same file; else None."""
        about = _read_json(self._rows(video))
        if about is None or not {"size", "changed", "rate", "shape", "rows"} <= about.keys():
            return None
        try:
            values = np.load(self.file(video), mmap_mode="r", allow_pickle=False)
            is_same = [about["size"], about["changed"]] == list(state_of(video))
        except (OSError, ValueError, EOFError):
            return None
        is_whole = list(values.shape) == about["shape"] and values.dtype == np.float32
        return about if is_same and is_whole and len(values) == len(about["rows"]) else None

    def load(self, video: FoundVideo) -> np.ndarray | None:
        """The features of a video; None if they are not there, or not whole."""
        return None if self.about(video) is None else np.load(self.file(video), allow_pickle=False)

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
                times = [_seconds(frame, about["rate"]) for frame in (first, last + 1)]
                writer.writerow(
                    [video.name, file, row, *times, first, last, class_name, "" if label is None else label, split]
                )
        return table.getvalue(), count


def _seconds(frame: int, rate: float | None) -> str:
    return "" if rate is None else f"{frame / rate:.3f}"


def state_of(video: FoundVideo) -> FileState:
    """The state of a video's file; OSError if it is gone."""
    status = os.stat(video.source)  # noqa: PTH116
    return FileState(status.st_size, status.st_mtime_ns)


def _read_json(path: Path) -> dict[str, Any] | None:
    """The object in a JSON file; None if there is none, or it is damaged."""
    try:
        if path.stat().st_size > LARGEST:
            return None
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None
