"""The videos of a split as arrays, and the look at the disk that fills them."""

import os
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

from common.errors import DataError
from data.labels.label_file import LabelRow
from data.labels.shared_arrays import SharedArrays
from data.store.frame_store import DATABASE, FRAME_COUNT, FrameStore, FrameStoreError

THREADS = 32  # at most, for disks that are waited for, above all network ones
CHUNK = 256  # videos that a thread looks at in one go
PATIENCE = 2.0  # seconds of work before a progress bar appears
MAX_FRAMES = np.iinfo(np.int32).max

Item = TypeVar("Item")
Result = TypeVar("Result")


ARRAYS: dict[str, np.dtype[Any]] = {
    "folder_indices": np.dtype(np.int32),  # (N,), into class_folders
    "names": np.dtype(np.uint8),  # the names of the video folders one after the other
    "name_ends": np.dtype(np.uint32),  # (N,), where each name ends in `names`
    "labels": np.dtype(np.int64),  # (N,), into classes
    "frame_counts": np.dtype(np.int32),  # (N,), at the time of the look; a reader counts for itself
}


@dataclass(frozen=True, eq=False)
class VideoList:
    """The N videos of a split: arrays that workers share, and no Python object for each video."""

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
        """The numbers of frames, as at the time of the look: int32 (N,)."""
        return self.arrays["frame_counts"]

    def __len__(self) -> int:
        return len(self.labels)

    def folder(self, index: int) -> Path:
        """The folder of video `index`, 0 to N-1, which holds its frames.db."""
        if not 0 <= index < len(self):
            raise IndexError(f"video {index} of {len(self)}")
        ends = self.arrays["name_ends"]
        start = int(ends[index - 1]) if index else 0
        name = os.fsdecode(self.arrays["names"][start : int(ends[index])].tobytes())
        return Path(self.jpg, self.class_folders[self.arrays["folder_indices"][index]], name)


class FoundVideo(NamedTuple):
    """A wanted video's place on disk, and its number of frames or else what is wrong with it."""

    class_folder: str
    name: str
    frames: int  # 0 if the video cannot be used
    problem: str


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


class ClassFolders:
    """The class folders of a dataset and the names in them, listed once for all splits.

    A class may have several: `playing guitar` and `playing_guitar` are both folders of class `playing guitar`.
    Raises DataError if a folder cannot be listed, or if one folder belongs to two classes.
    """

    def __init__(self, jpg: Path, classes: Sequence[str]) -> None:
        self.jpg = jpg
        self.present = list_folders(jpg)
        folders: dict[str, list[str]] = {}
        for folder in self.present:
            folders.setdefault(_spelling(folder), []).append(folder)
        owners: dict[str, str] = {}
        for name in classes:
            owner = owners.setdefault(_spelling(name), name)
            if owner != name:
                raise DataError(f"classes {owner!r} and {name!r} of the labels would share a folder; rename one")
        self.of_class = {
            name: sorted(folders.get(_spelling(name), []), key=lambda folder: (folder != name, folder))
            for name in classes
        }
        wanted = [folder for name in classes for folder in self.of_class[name]]
        listings = list(parallel("class folders", self._list, wanted))
        self.times = {folder: times for folder, (times, _) in zip(wanted, listings, strict=True)}
        self.videos = {folder: names for folder, (_, names) in zip(wanted, listings, strict=True)}

    def _list(self, folder: str) -> tuple[tuple[int, int], frozenset[str]]:
        """The names in a folder, and its time before they were read: what comes later makes it another."""
        return folder_time(self.jpg / folder), frozenset(list_names(self.jpg / folder))

    def locate(self, label: str, video_id: str) -> str | None:
        """The class folder that holds the video, or None if there is none."""
        for folder in self.of_class[label]:
            if video_id in self.videos[folder]:
                return folder
        return None


def look_up(folders: ClassFolders, rows: Sequence[LabelRow]) -> list[FoundVideo | None]:
    """Find each row's video on disk and read its number of frames; None for a video that is not there."""
    jpg = str(folders.jpg)

    def inspect(chunk: Sequence[LabelRow]) -> list[FoundVideo | None]:
        places = [folders.locate(row.label, row.video_id) for row in chunk]
        return [
            None if place is None else _inspect_video(jpg, place, row.video_id)
            for row, place in zip(chunk, places, strict=True)
        ]

    return _in_chunks(inspect, rows)


def inspect_videos(jpg: Path, videos: Sequence[FoundVideo]) -> list[FoundVideo]:
    """Look again at videos that were found before."""

    def inspect(chunk: Sequence[FoundVideo]) -> list[FoundVideo]:
        return [_inspect_video(str(jpg), video.class_folder, video.name) for video in chunk]

    return _in_chunks(inspect, videos)


def _in_chunks(inspect: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    return [result for chunk in parallel("videos", inspect, chunks, CHUNK) for result in chunk]


def folder_time(folder: Path) -> tuple[int, int]:
    """When names in a folder last came, went or changed, in nanoseconds, so far as its file system can tell.

    Both the times of its contents and of its entry: copying programs set the former back. Raises DataError.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None
    return status.st_mtime_ns, status.st_ctime_ns


def list_names(folder: Path) -> list[str]:
    """The names in a folder. Raises DataError if it cannot be listed."""
    try:
        return os.listdir(folder)  # noqa: PTH208 (a Path for each name takes seconds)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def list_folders(folder: Path) -> list[str]:
    """The sorted names of the folders in a folder. Raises DataError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}") from None


def parallel(what: str, function: Callable[[Item], Result], items: Sequence[Item], weight: int = 1) -> Iterator[Result]:
    """Map in threads, in order, with a progress bar if it takes long; `weight` is what each item counts in the bar.

    As many threads as keep one core busy, which is what Python can use: they are for waiting at the disk. On a disk
    that answers at once 16 of them take four times as long as one, for each waits for the others at each call.
    """
    with _late_progress(f"looking at {what}", weight * len(items)) as advance:
        probes = {position: None for position in (0, len(items) // 2, len(items) - 1) if 0 <= position < len(items)}
        began, busy = time.perf_counter(), time.thread_time()
        done = {position: function(items[position]) for position in probes}
        waiting = (time.perf_counter() - began) / max(time.thread_time() - busy, 1e-9)
        rest = [item for position, item in enumerate(items) if position not in done]
        with ThreadPoolExecutor(min(THREADS, max(1, round(waiting)))) as pool:
            results = pool.map(function, rest)
            for position in range(len(items)):
                result = done.pop(position) if position in done else next(results)
                advance(weight)
                yield result


def _spelling(name: str) -> str:
    return unicodedata.normalize("NFC", name).replace("_", " ")


def _inspect_video(jpg: str, class_folder: str, name: str) -> FoundVideo:
    # Not by Path: one for each of a million videos takes seconds.
    return FoundVideo(class_folder, name, *_count_frames(f"{jpg}/{class_folder}/{name}"))


def _count_frames(folder: str) -> tuple[int, str]:
    """Return the number of frames and, where that is 0, the reason. n_frames is believed; the reader checks it."""
    if not os.path.exists(f"{folder}/{DATABASE}"):  # noqa: PTH110
        return 0, f"has no {DATABASE}"
    try:
        file = os.open(f"{folder}/{FRAME_COUNT}", os.O_RDONLY)  # in a third of the time that a file object takes
        try:
            text = os.read(file, 64)
        finally:
            os.close(file)
    except FileNotFoundError:
        return _count_stored_frames(folder)
    except OSError as error:
        return 0, f"has a file {FRAME_COUNT} that cannot be read: {error.strerror}"
    try:
        frames = int(text)
    except ValueError:
        return 0, f"has {text.decode(errors='replace')!r} in its file {FRAME_COUNT}, not a number"
    if not 0 < frames <= MAX_FRAMES:
        return 0, f"has {frames} in its file {FRAME_COUNT}"
    return frames, ""


def _count_stored_frames(folder: str) -> tuple[int, str]:
    try:
        return len(FrameStore(folder)), ""
    except FrameStoreError as error:
        return 0, f"has no file {FRAME_COUNT}, and its frames cannot be counted: {error}"


@contextmanager
def _late_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that counts work done; on a terminal a bar shows it, once the work has taken a while."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(description, total=total)
    begin = time.monotonic()
    shown = False

    def advance(number: int) -> None:
        nonlocal shown
        bar.advance(task, number)
        if not shown and time.monotonic() - begin > PATIENCE:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        bar.stop()
