"""The scan of a large dataset, kept in a file so that the next start is quick.

    <dataset>/.index/<name>-<number>.npz     beside the label files if the dataset's folder cannot be written

The file is reused as long as nothing it was made from has changed: label files, class index, paths, class-folder
timestamps, the problems found in unusable videos, and the numbers of frames of a sample of the others. A digest over
the whole result finds what was damaged or mixed up, and the class order is compared with that of the class index. Who
may write the file can forge its digest: as with the label files, give that right only to whom you trust. Other changes
inside a usable video's folder are not detected: FrameStore counts the frames again on opening, so clips are right. The
sample tells that all videos were converted again: a checkpoint holds their numbers of frames. That some others were is
not noticed on resume. The file may be deleted at any time.

No cache library does this: they know what a result was called with, but not the folders that it was read from.
"""

import hashlib
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from common.archives import read_arrays
from common.errors import DataError
from common.files import atomic_file, open_plain, reason
from data.labels.class_folders import inspect_videos, list_folders, modification_times
from data.labels.csv_file import LARGEST
from data.labels.kept_places import KeptPlaces
from data.labels.label_counts import LabelCounts
from data.labels.label_row import LabelRow
from data.labels.scan import Scan
from data.labels.shared_arrays import SharedArrays
from data.labels.text import canonical_name
from data.labels.video_list import ARRAYS, FoundVideo, VideoList

FORMAT = 11  # to be raised whenever a scan of the same files and folders would give another result
SETTLED = 2_000_000_000  # nanoseconds; on some file systems two changes within this time have the same timestamp
WAIT = 300.0  # seconds to wait for another process's scan; that process may hang, or run on a machine that crashed
POLL = 0.2

LOG = logging.getLogger("srtg.scan")


def scan_key(files: Sequence[Path], jpg: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a scan depends on besides the folders: paths as given, hashes of the files' contents, facts.

    A file that does not exist has the hash None. Raises DataError if a file cannot be read.
    """
    contents = {str(path): _hash(path) for path in files}
    return {"format": FORMAT, "jpg": str(jpg), "files": contents, "facts": dict(facts)}


def cached_scan(
    places: Sequence[Path],
    name: str,
    key: Mapping[str, Any],
    scan: Callable[[], Scan],
    order: Callable[[set[str]], tuple[str, ...]],
    key_now: Callable[[], Mapping[str, Any]],
) -> Scan:
    """Return the kept scan for `key`, or call `scan` and keep its result. The report says which.

    `order` gives the class order of class names: a kept scan with another order is not used. `key_now` makes the key
    anew: label files may change before they are read, as while this process waits for another.
    The file is in the folder `.index` of the first of `places` that has it or can be written, and is no link. If
    several processes find no file, one scans and the others wait for its result.
    """
    kept_places = KeptPlaces(places, _file_name(name, key))
    remarks: list[str] = []
    for path in kept_places.paths:
        kept, remark = _read(path, key, order)
        if kept is not None:
            return kept
        remarks.append(remark)
    target, links = kept_places.to_write()
    remarks += links
    if target is None:
        result = _scan(key, scan)
        remarks.append(f"every start scans all videos, since the result cannot be written to {kept_places.folders}")
    else:
        with _one_process_first(target):
            kept, _ = _read(target, key, order)  # another process may have written it
            if kept is not None:
                return kept
            began = time.time_ns()
            result = _scan(key, scan)
            if key_now() == key:
                remarks.append(_keep(target, key, result, began))
            else:
                remarks.append(f"the scan of {key['jpg']} is not kept, since a label file changed before it was read")
    return result._replace(report=(*result.report, *dict.fromkeys(filter(None, remarks))))


def _scan(key: Mapping[str, Any], scan: Callable[[], Scan]) -> Scan:
    LOG.info("scanning all videos in %s", key["jpg"])
    return scan()


def _hash(path: Path) -> str | None:
    try:
        with open_plain(path, LARGEST) as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from None


def _file_name(name: str, key: Mapping[str, Any]) -> str:
    """A name for each dataset and spelling of its paths; if contents change, the file is replaced."""
    paths = json.dumps([key["jpg"], list(key["files"])])
    return f"{name}-{hashlib.sha256(paths.encode()).hexdigest()[:12]}.npz"


def _read(path: Path, key: Mapping[str, Any], order: Callable[[set[str]], tuple[str, ...]]) -> tuple[Scan | None, str]:
    """The scan kept in `path` if it is up to date; else None and, if there is a file, the reason."""
    try:
        with open_plain(path, LARGEST) as file, zipfile.ZipFile(file) as archive:
            packed = _member(archive, "header")
            header = json.loads(packed.tobytes())
            if header["key"] != key:
                return None, f"{path} was made for other label files or by another version: scanned again"
            scan = _unpack(header, archive)
            if _member(archive, "digest").tobytes() != _digest(packed, scan.train.arrays, scan.val.arrays):
                raise ValueError("it is not as it was written")
        _check(scan, order)
        change = _change(Path(key["jpg"]), scan)
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except Exception as error:  # damaged bytes lead to many kinds of error
        return None, f"{path} cannot be used ({type(error).__name__}: {error}): scanned again"
    if change:
        return None, f"{path} is out of date, {change}: scanned again"
    remark = f"the videos are those found at {header['made']}, kept in {path}; delete that file to scan again"
    return scan._replace(report=(*scan.report, remark)), ""


def _change(jpg: Path, scan: Scan) -> str:
    """What has changed on disk since the scan, or an empty string."""
    if tuple(list_folders(jpg)) != scan.present:
        return f"folders in {jpg} were added or removed"
    for folder, times in scan.folder_times.items():
        if modification_times(jpg / folder) != times:
            return f"names in {jpg / folder} were added, removed or changed"
    for then, now in zip(scan.unusable, inspect_videos(jpg, scan.unusable), strict=True):
        if then != now:
            return f"{jpg / then.class_folder / then.name}, which {then.problem}, was changed"
    sample = [videos.found(index) for videos in (scan.train, scan.val) for index in videos.sample()]
    for then, now in zip(sample, inspect_videos(jpg, sample), strict=True):
        if now.frames not in (then.frames, 0):  # 0: reading the video for a clip tells what is wrong
            return f"{jpg / then.class_folder / then.name} has {now.frames} frames and had {then.frames}"
    return ""


def _digest(header: np.ndarray, *splits: Mapping[str, np.ndarray]) -> bytes:
    """A digest over all of a kept scan: the parts of two files cannot be mixed, nor those of the splits swapped."""
    digest = hashlib.blake2b(header.data, digest_size=32)
    for arrays in splits:
        for name in ARRAYS:
            digest.update(f"{name} {arrays[name].nbytes} ".encode())
            digest.update(arrays[name].data)
    return digest.digest()


def _check(scan: Scan, order: Callable[[set[str]], tuple[str, ...]]) -> None:
    """ValueError unless the classes are in their order, and each video is a name in the folder of its class.

    That is so in every scan. The file can be made by others in a way that its digest holds.
    """
    classes = scan.train.classes
    if tuple(order(set(classes))) != classes:
        raise ValueError("its classes are in another order than those of the labels")
    number = np.bincount(np.concatenate((scan.train.labels, scan.val.labels)), minlength=len(classes))
    if len(number) != len(classes) or not number.all():
        raise ValueError("it has classes without a video, or labels without a class")
    for videos in (scan.train, scan.val):
        class_of = {canonical_name(name): index for index, name in enumerate(videos.classes)}
        if not set(videos.class_folders) <= scan.folder_times.keys() <= set(scan.present):
            raise ValueError("it names folders that are not class folders of the dataset")
        labels = np.array([class_of[canonical_name(folder)] for folder in videos.class_folders])
        arrays = videos.arrays
        if not np.array_equal(labels[arrays["folder_indices"]], arrays["labels"]):
            raise ValueError("it gives videos another class than that of their folder")
        ends = arrays["name_ends"].astype(np.int64)
        lengths = np.diff(ends, prepend=0)
        joined = arrays["names"].tobytes()
        if lengths.min(initial=1) < 1 or ends[-1:].sum() != len(joined) or b"/" in joined or b"\0" in joined:
            raise ValueError("it holds names that no folder can have")
        if any(videos.folder(int(i)).name == ".." for i in np.flatnonzero(lengths <= 2)):
            raise ValueError("it names the folder above")
        if arrays["frame_counts"].min(initial=1) < 1:
            raise ValueError("it holds videos without frames")


def _keep(path: Path, key: Mapping[str, Any], scan: Scan, began: int) -> str:
    """Write the result of a scan that began at the time `began` (ns); a line for the log if that is not possible."""
    now = time.time_ns()
    changed = {folder: _last_change(times, now) for folder, times in scan.folder_times.items()}
    newest = max(changed, key=changed.__getitem__, default="")
    if newest and changed[newest] > began - SETTLED:
        kept = f"the scan of {key['jpg']} is not kept, since"
        if changed[newest] > now:
            when = datetime.fromtimestamp(changed[newest] / 1e9).isoformat(" ", "seconds")
            return f"{kept} {newest} was changed at {when}, which is in the future: is a clock wrong?"
        return f"{kept} videos were added to {newest} or removed from it just before"
    try:
        for leftover in path.parent.glob(f".{path.name}.*.tmp"):
            leftover.unlink(missing_ok=True)  # of a process that was killed
        if path.is_fifo():  # nobody puts a pipe into this folder on purpose
            path.unlink()
        with atomic_file(path) as temporary, temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **_pack(key, scan))
    except OSError as error:
        return f"{path} could not be written: {reason(error)}"
    return ""


def _last_change(times: tuple[int, int], now: int) -> int:
    """When a folder was last changed, by its mtime and ctime. Programs may set an mtime, also to a time to come."""
    mtime, ctime = times
    return ctime if mtime > now else max(mtime, ctime)


def _pack(key: Mapping[str, Any], scan: Scan) -> dict[str, np.ndarray]:
    header = {
        "key": key,
        "made": datetime.now().astimezone().isoformat(timespec="seconds"),
        "classes": scan.train.classes,
        "class_folders": [videos.class_folders for videos in (scan.train, scan.val)],
        "counts": [videos.counts for videos in (scan.train, scan.val)],
        "sampled_rows": [videos.sampled_rows for videos in (scan.train, scan.val)],
        "report": scan.report,
        "unusable": scan.unusable,
        "present": scan.present,
        "folder_times": scan.folder_times,
    }
    arrays = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
    for split, videos in (("train", scan.train), ("val", scan.val)):
        arrays |= {f"{split}_{name}": array for name, array in videos.arrays.items()}
    digest = _digest(arrays["header"], scan.train.arrays, scan.val.arrays)
    return arrays | {"digest": np.frombuffer(digest, dtype=np.uint8)}


def _unpack(header: Mapping[str, Any], archive: zipfile.ZipFile) -> Scan:
    """Undo `_pack`."""
    lists = []
    splits = zip(("train", "val"), *(header[name] for name in ("class_folders", "counts", "sampled_rows")), strict=True)
    for split, class_folders, counts, sampled_rows in splits:
        members = {name: _member(archive, f"{split}_{name}") for name in ARRAYS}
        rows = len(members["labels"])
        for name, dtype in ARRAYS.items():
            if members[name].dtype != dtype or (name != "names" and members[name].shape != (rows,)):
                raise ValueError(f"its array {name} is of another type or length")
        arrays = SharedArrays(members)
        counted = None if counts is None else LabelCounts.from_plain(counts)
        sampled = tuple(None if row is None else LabelRow.from_plain(row) for row in sampled_rows)
        jpg, classes = header["key"]["jpg"], tuple(header["classes"])
        lists.append(VideoList(jpg, classes, tuple(class_folders), arrays, counts=counted, sampled_rows=sampled))
    return Scan(
        train=lists[0],
        val=lists[1],
        report=tuple(header["report"]),
        unusable=tuple(FoundVideo(*video) for video in header["unusable"]),
        present=tuple(header["present"]),
        folder_times={folder: (times[0], times[1]) for folder, times in header["folder_times"].items()},
    )


def _member(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    """An array of an npz file. Reads the member to its end, so that zipfile compares the checksum; np.load may not."""
    if archive.getinfo(f"{name}.npy").compress_type != zipfile.ZIP_STORED:
        raise ValueError("it is compressed, and may be larger than the memory")
    return read_arrays(archive, [name])[name]


@contextmanager
def _one_process_first(path: Path) -> Iterator[None]:
    """Let the first process in at once; let the others in after it, or after WAIT seconds.

    Only the first holds the lock: if it kept no scan, the others scan at the same time, not one after the other.
    """
    lock = FileLock(path.with_suffix(".lock"), fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        LOG.info("another process scans the videos: waiting for its result %s", path)
        try:
            lock.acquire(timeout=WAIT, poll_interval=POLL)
            lock.release()
        except Timeout:
            LOG.warning("%s was not written within %.0f s: scanning the videos as well", path, WAIT)
    except OSError as error:
        LOG.info("%s is no lock (%s): every process that starts now scans the videos", lock.lock_file, reason(error))
    try:
        yield
    finally:
        lock.release()
