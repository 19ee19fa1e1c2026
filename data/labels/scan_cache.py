"""The index of a large dataset: what a look at its videos gave, kept in a file so that the next start is quick.

    <dataset>/.index/<name>-<number>.npz     beside the label files where the dataset's folder cannot be written

It is used while everything that it was made from is as it was: the contents of the label files and of the class index,
the paths as given, the class folders and the times at which names in them last changed, and what was wrong with each
video that could not be used. So videos that come, go or are repaired make a new look; of what changes inside a usable
video's folder the index knows nothing, nor does it need to: the reader counts a video's frames whenever it opens it.

The file is written whole or not at all, zip's checksums find damage, and no lock outlives its process. It may be
deleted at any time.
"""

import fcntl
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from common.errors import DataError
from common.files import atomic_file
from data.labels.shared_arrays import SharedArrays
from data.labels.video_list import ARRAYS, FoundVideo, VideoList, folder_time, inspect_videos, list_folders

FORMAT = 1  # to be raised whenever a look at the same files and folders would give something else
FOLDER = ".index"
SETTLED = 2_000_000_000  # nanoseconds: two changes of a folder within a clock tick of its file system have one time
WAIT = 300.0  # seconds for another process's look; it may be stopped, or on a machine that is lost
POLL = 0.2

LOG = logging.getLogger("srtg.index")


class Look(NamedTuple):
    """What a look at label files and folders gave."""

    train: VideoList
    val: VideoList
    report: tuple[str, ...]
    unusable: tuple[FoundVideo, ...]  # videos that are left out although they are on disk
    present: tuple[str, ...]  # the folders in jpg
    folder_times: Mapping[str, tuple[int, int]]  # of each class's folders, from before their names were read


def index_key(files: Sequence[Path], jpg: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What an index depends on besides the folders: paths as given, contents of files, facts. DataError if unreadable.

    A file that does not exist counts as such: it may come to exist.
    """
    contents = {str(path): _digest(path) for path in files}
    return {"format": FORMAT, "jpg": str(jpg), "files": contents, "facts": dict(facts)}


def remembered(places: Sequence[Path], name: str, key: Mapping[str, Any], look: Callable[[], Look]) -> Look:
    """What `look` gives, or gave at an earlier start; its report says which.

    The index lies in the folder `.index` of the first of `places` that has it or can be written. Of several processes
    that find none, one looks and the others wait for what it finds.
    """
    paths = [place / FOLDER / _file_name(name, key) for place in dict.fromkeys(places)]
    remarks: dict[str, None] = {}
    for path in paths:
        index, remark = _read(path, key)
        if index is not None:
            return index
        remarks[remark] = None
    with _writable(paths) as target:
        if target is not None:
            path, lock = target
            _wait(lock, path)
            index, _ = _read(path, key)  # it may have come in the meantime, even if there was nothing to wait for
            if index is not None:
                return index
        LOG.info("looking at all videos of %s", key["jpg"])
        began = time.time_ns()
        found = look()
        if target is None:
            folders = " and ".join(str(path.parent) for path in paths)
            remark = f"each start looks at all videos: an index of them cannot be written to {folders}"
        else:
            remark = _keep(path, key, found, began)
        remarks[remark] = None
    return found._replace(report=(*found.report, *filter(None, remarks)))


def _digest(path: Path) -> str | None:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from None
    return digest.hexdigest()


def _file_name(name: str, key: Mapping[str, Any]) -> str:
    """One for each dataset and spelling of its paths: changed contents replace the file."""
    paths = json.dumps([key["jpg"], list(key["files"])])
    return f"{name}-{hashlib.sha256(paths.encode()).hexdigest()[:12]}.npz"


def _read(path: Path, key: Mapping[str, Any]) -> tuple[Look | None, str]:
    """The index at `path` if it holds; else None and, if there is one, why not."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            header = json.loads(stored["header"].tobytes())
            if header["key"] != key:
                return None, f"{path} is of other label files or another version: made anew"
            look = _unpack(header, stored)
    except FileNotFoundError:
        return None, ""
    except Exception as error:  # whatever damaged bytes lead numpy and zipfile to
        return None, f"{path} cannot be used ({type(error).__name__}: {error}): made anew"
    jpg = Path(key["jpg"])
    change = _change(jpg, look)
    if change:
        return None, f"{path} is out of date, since {change}: made anew"
    remark = f"the videos are those listed in {path} at {header['made']}; after its deletion all are looked at again"
    return look._replace(report=(*look.report, remark)), ""


def _change(jpg: Path, look: Look) -> str:
    """What has changed on disk since the look, or an empty string."""
    if tuple(list_folders(jpg)) != look.present:
        return f"folders of {jpg} have come or gone"
    for folder, times in look.folder_times.items():
        try:
            changed = folder_time(jpg / folder) != times
        except DataError:
            changed = True
        if changed:
            return f"names in {jpg / folder} have changed"
    for then, now in zip(look.unusable, inspect_videos(jpg, look.unusable), strict=True):
        if then != now:
            return f"{jpg / then.class_folder / then.name} has changed, which {then.problem}"
    return ""


def _keep(path: Path, key: Mapping[str, Any], look: Look, began: int) -> str:
    """Write the index of a look that began at the time `began`; what to say if that cannot be."""
    newest = max((time for times in look.folder_times.values() for time in times), default=0)
    if newest > began - SETTLED:
        return f"videos were still added to {key['jpg']} or taken away when the look at them began: no index is kept"
    try:
        for leftover in path.parent.glob(f".{path.name}.*.tmp"):
            leftover.unlink(missing_ok=True)  # of a process that was killed
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **_pack(key, look))
    except OSError as error:
        return f"{path} could not be written: {error.strerror}"
    return ""


def _pack(key: Mapping[str, Any], look: Look) -> dict[str, np.ndarray]:
    header = {
        "key": key,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "classes": look.train.classes,
        "class_folders": [videos.class_folders for videos in (look.train, look.val)],
        "lengths": [{name: array.size for name, array in v.arrays.items()} for v in (look.train, look.val)],
        "report": look.report,
        "unusable": look.unusable,
        "present": look.present,
        "folder_times": look.folder_times,
    }
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    for split, videos in (("train", look.train), ("val", look.val)):
        arrays |= {f"{split}_{name}": array for name, array in videos.arrays.items()}
    return arrays


def _unpack(header: Mapping[str, Any], stored: Mapping[str, np.ndarray]) -> Look:
    """Undo `_pack`. ValueError if an array is not as its header says: zip has no checksum for that."""
    lists = []
    for split, folders, lengths in zip(("train", "val"), header["class_folders"], header["lengths"], strict=True):
        arrays = {name: stored[f"{split}_{name}"] for name in ARRAYS}
        for name, dtype in ARRAYS.items():
            if arrays[name].dtype != dtype or arrays[name].shape != (lengths[name],):
                raise ValueError(f"{split}_{name} is {arrays[name].dtype} {arrays[name].shape}")
        lists.append(VideoList(header["key"]["jpg"], tuple(header["classes"]), tuple(folders), SharedArrays(arrays)))
    return Look(
        train=lists[0],
        val=lists[1],
        report=tuple(header["report"]),
        unusable=tuple(FoundVideo(*video) for video in header["unusable"]),
        present=tuple(header["present"]),
        folder_times={folder: (times[0], times[1]) for folder, times in header["folder_times"].items()},
    )


@contextmanager
def _writable(paths: Sequence[Path]) -> Iterator[tuple[Path, IO[str]] | None]:
    """Yield the first path that can be written, and its open lock file; None if none can."""
    for path in paths:
        try:
            path.parent.mkdir(exist_ok=True)
            lock = path.with_suffix(".lock").open("a")
        except OSError:
            continue
        with lock:
            yield path, lock
        return
    yield None


def _wait(lock: IO[str], path: Path) -> None:
    """Take the lock; or, if another process has it, wait until that one lets go of it, and leave it so.

    Those that wait and find no index after all then look side by side, not one after the other.
    """
    if _take(lock):
        return
    LOG.info("another process is looking at the videos: waiting for its index %s", path)
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        time.sleep(POLL)
        if _take(lock):
            fcntl.flock(lock, fcntl.LOCK_UN)
            return
    LOG.warning("no index came in %.0f s: looking at the videos as well", WAIT)


def _take(lock: IO[str]) -> bool:
    """Whether the lock is now ours; always, where the file system has no locks."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True
