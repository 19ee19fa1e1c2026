"""The search for videos on disk: which of the label rows' videos are there, and how many frames each has."""

import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.progress import Progress

from common.errors import DataError
from common.files import reason
from common.text import composed
from data.labels.label_row import LabelRow, written_name
from data.labels.segment_names import has_milliseconds, names_of_folder
from data.labels.text import canonical_name, counted, first_names, note_on_form
from data.labels.video_list import FoundVideo
from data.labels.written_names import WrittenNames
from data.store.folder_entries import is_folder
from data.store.frame_store import DATABASE, FRAME_COUNT, FrameStore, FrameStoreError, count_text
from data.store.origin import read_origin
from data.store.video_source import VideoSourceError

THREADS = 32  # at most; they hide the latency of network file systems
CHUNK = 256  # videos that a thread searches for in one call
BAR_DELAY = 2.0  # seconds of work before a progress bar appears
MAX_FRAMES = np.iinfo(np.int32).max

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_own_folders(classes: Iterable[str]) -> None:
    """DataError if two classes would have the same folder, as `a b` and `a_b`."""
    owners: dict[str, str] = {}
    for name in classes:
        owner = owners.setdefault(canonical_name(name), name)
        if owner != name:
            pair = f"{owner!r} and {name!r}{note_on_form(owner, name)}"
            raise DataError(f"classes {pair} of the labels would share a folder; rename one")


class ClassFolders:
    """The class folders of a dataset and the names in them, listed once for all splits.

    A class may have several: `playing guitar` and `playing_guitar` are both folders of class `playing guitar`.
    `others` gives all rows of the label files, which are asked only where two folders may be a row's.
    Raises DataError if a folder cannot be listed, or if two classes would have the same folder.
    """

    reads_files = False  # video files, and no databases
    remedy = "Convert the videos (python -m data.prepare.convert VIDEOS OUT)"  # of a class without videos

    def __init__(
        self, jpg: Path, classes: Sequence[str], others: Callable[[], Iterable[LabelRow]] = lambda: ()
    ) -> None:
        self.jpg = jpg
        self._written = WrittenNames(others)
        self.present = list_folders(jpg)
        folders: dict[str, list[str]] = {}
        for folder in self.present:
            folders.setdefault(canonical_name(folder), []).append(folder)
        check_own_folders(classes)
        self.of_class = {
            name: sorted(folders.get(canonical_name(name), []), key=lambda folder: (folder != name, folder))
            for name in classes
        }
        wanted = [folder for name in classes for folder in self.of_class[name]]
        listings = list(in_threads("class folders", self._list, wanted))
        self.times = {folder: times for folder, (times, _) in zip(wanted, listings, strict=True)}
        self.videos = {folder: names for folder, (_, names) in zip(wanted, listings, strict=True)}
        self._with_milliseconds = {
            name for name, of_class in self.of_class.items() if any(map(has_milliseconds, self._names(of_class)))
        }

    def _list(self, folder: str) -> tuple[tuple[int, int], frozenset[str]]:
        """A folder's times and the names in it. The times are read first, so that a later change is noticed."""
        return modification_times(self.jpg / folder), frozenset(list_names(self.jpg / folder))

    @staticmethod
    def sought(place: Path) -> str:
        """What is looked for at the place of a video, for messages."""
        return str(place / DATABASE)

    @property
    def remarks(self) -> Sequence[str]:
        """Lines for the log."""
        return self._written.remarks

    def find_all(self, rows: Sequence[LabelRow]) -> list[FoundVideo | None]:
        """Find each row's video; see find_videos."""
        return find_videos(self, rows)

    def locate(self, label: str, video_id: str) -> str | None:
        """The class folder that holds the video, or None if there is none."""
        for folder in self.of_class[label]:
            if video_id in self.videos[folder]:
                return folder
        return None

    def find(self, row: LabelRow) -> tuple[str, str] | None:
        """The class folder that holds the row's video, and the name of its folder there; None if there is none."""
        if not row.source and row.label not in self._with_milliseconds:  # the usual case
            place = self.locate(row.label, row.video_id)
            return None if place is None else (place, row.video_id)
        there: list[tuple[str, str]] = []
        written = written_name(row)
        for name in names_of_folder(row):
            if place := self.locate(row.label, name):
                there.append((place, name))
                if written == row.youtube_id or not name.startswith(written):  # no folder can be another row's
                    break
        return self._written.choose(row, there, self._is_file)

    def _is_file(self, folder: str, name: str, written: str) -> bool:
        """Whether a video's database says that it was made from a file that is named as a row writes it."""
        with suppress(VideoSourceError):
            made = read_origin(self.jpg / folder / name / DATABASE)
            return made is not None and composed(Path(made.source).name) == composed(written)
        return False

    def _names(self, folders: Sequence[str]) -> Iterator[str]:
        return itertools.chain.from_iterable(self.videos[folder] for folder in folders)

    def twice(self, rows: Sequence[LabelRow]) -> list[str]:
        """A line on videos of the label rows that several folders of their class hold."""
        several = {label for label, names in self.of_class.items() if len(names) > 1}
        lines = []
        for row in rows if several else ():
            if row.label not in several:
                continue
            holding = [folder for folder in self.of_class[row.label] if row.video_id in self.videos[folder]]
            if len(holding) > 1:
                others = " or ".join(holding[1:])
                lines.append(f"{holding[0]}/{row.video_id} is read, not that in {others}")
        if not lines:
            return []
        return [f"{counted(len(lines), 'video')} in several folders of the class: {first_names(lines)}"]


def find_videos(folders: ClassFolders, rows: Sequence[LabelRow]) -> list[FoundVideo | None]:
    """Find each row's video on disk and read its number of frames; None if the video is not there."""
    jpg = str(folders.jpg)

    def inspect(chunk: Sequence[LabelRow]) -> list[FoundVideo | None]:
        places = [folders.find(row) for row in chunk]
        return [None if place is None else _inspect_video(jpg, *place) for place in places]

    return _in_chunks(inspect, rows)


def inspect_videos(jpg: Path, videos: Sequence[FoundVideo]) -> list[FoundVideo]:
    """Read the numbers of frames again of videos that were found before."""

    def inspect(chunk: Sequence[FoundVideo]) -> list[FoundVideo]:
        return [_inspect_video(str(jpg), video.class_folder, video.name) for video in chunk]

    return _in_chunks(inspect, videos)


def _in_chunks(inspect: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]) -> list[Result]:
    chunks = [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]
    return [result for chunk in in_threads("videos", inspect, chunks, CHUNK) for result in chunk]


def modification_times(folder: Path) -> tuple[int, int]:
    """When names in a folder were last added, removed or changed: mtime and ctime in nanoseconds. Raises DataError.

    Both are needed, as programs that copy folders set the mtime back to that of the original.
    """
    try:
        status = folder.stat()
    except OSError as error:
        raise DataError(f"{folder}: {reason(error)}") from None
    return status.st_mtime_ns, status.st_ctime_ns


def list_names(folder: Path) -> list[str]:
    """The names in a folder, in any order. Raises DataError if it cannot be listed."""
    try:
        return os.listdir(folder)  # noqa: PTH208 (a Path for each name takes seconds)
    except OSError as error:
        raise DataError(f"folder {folder} cannot be listed: {reason(error)}") from None


def list_folders(folder: Path) -> list[str]:
    """The sorted names of the folders in a folder. Raises DataError if it cannot be listed."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if is_folder(entry))
    except OSError as error:
        raise DataError(f"folder {folder} cannot be listed: {reason(error)}") from None


def in_threads(
    what: str, function: Callable[[Item], Result], items: Sequence[Item], weight: int = 1
) -> Iterator[Result]:
    """Call a function for each item in threads; yield the results in order, with a progress bar if it takes long.

    `weight` is what each item counts in the bar. Uses only enough threads to keep one core busy: threads only hide disk
    latency, and on a fast disk 16 threads are four times slower than one because of the GIL. No executor adapts its
    number of threads so.
    """
    with late_progress(f"scanning {what}", weight * len(items)) as advance:
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


def _inspect_video(jpg: str, class_folder: str, name: str) -> FoundVideo:
    # A string: a million Path objects take seconds.
    return FoundVideo(class_folder, name, *_count_frames(f"{jpg}/{class_folder}/{name}"))


def _count_frames(folder: str) -> tuple[int, str]:
    """Return the number of frames and, if that is 0, the reason.

    The number in the file n_frames is not checked here: FrameStore counts the frames when it opens the database.
    """
    if not os.path.exists(f"{folder}/{DATABASE}"):  # noqa: PTH110
        return 0, _why_no_database(folder)
    try:
        text = count_text(folder)
    except FileNotFoundError:
        return _count_stored_frames(folder)
    except OSError as error:
        return 0, f"has a file {FRAME_COUNT} that cannot be read: {reason(error)}"
    digits = text.strip()
    if not digits.isdigit():  # `int` also takes 1_5
        return 0, f"has {text.decode(errors='replace')!r} in its file {FRAME_COUNT}, not a number"
    frames = int(digits)
    if not 0 < frames <= MAX_FRAMES:
        return 0, f"has {frames} in its file {FRAME_COUNT}"
    return frames, ""


def _why_no_database(folder: str) -> str:
    try:
        os.stat(f"{folder}/{DATABASE}")  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        linked = os.path.islink(f"{folder}/{DATABASE}")  # noqa: PTH114
        return f"has a {DATABASE} that is a link to nothing" if linked else f"has no {DATABASE}"
    except OSError as error:
        return f"has a {DATABASE} that cannot be looked for: {reason(error)}"
    return f"had no {DATABASE} a moment ago"


def _count_stored_frames(folder: str) -> tuple[int, str]:
    try:
        frames = len(FrameStore(folder))
    except FrameStoreError as error:
        return 0, f"has no file {FRAME_COUNT}, and its frames cannot be counted: {error}"
    return (frames, "") if frames <= MAX_FRAMES else (0, f"has {frames} frames in its {DATABASE}")


@contextmanager
def late_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that adds to the work done. A terminal shows a progress bar after BAR_DELAY seconds."""
    console = Console(stderr=True)
    bar = Progress(console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(description, total=total)
    begin = time.monotonic()
    shown = False

    def advance(number: int) -> None:
        nonlocal shown
        bar.advance(task, number)
        if not shown and time.monotonic() - begin > BAR_DELAY:
            bar.start()
            shown = True

    try:
        yield advance
    finally:
        bar.stop()
