"""The indexes of a dataset's video files, kept in a file: which frames each has, and where decoding can begin.

    <dataset>/.index/videos.npz     beside the label files if the dataset's folder cannot be written

An index is used as long as its file has the same size and modification time; damaged files are noted with the reason.
The file is written anew at the end, and every minute while indexes are made, so that an interrupted start goes on where
it was. If the file is damaged, as its checksums tell, all indexes are made again. It may be deleted at any time.
"""

import logging
import os
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from filelock import FileLock, Timeout

from common.archives import read_arrays
from common.files import atomic_file, changed_at, open_plain, reason
from common.processes import available_cpus
from data.labels.class_folders import late_progress
from data.labels.kept_places import KeptPlaces
from data.labels.text import counted
from data.store.cut_tag import PACKED, Cut, cut_of
from data.store.keyframe_index import FrameIndex, index_video
from data.store.video_error import UnreadableError, VideoError

FORMAT = f"4 {av.__version__}"  # the number is to be raised whenever an index of the same file would be another one
NAME = "videos.npz"
LARGEST = 2**34  # bytes of the file
SAVED_EVERY = 60.0  # seconds
WAIT = 300.0  # seconds without progress of another process, after which this one works as well
POLL = 0.2

LOG = logging.getLogger("srtg.scan")


class Indexed(NamedTuple):
    """A video file as it was when it was indexed, with its packed FrameIndex, or the reason why it has none."""

    size: int
    mtime: int  # nanoseconds
    packed: bytes
    problem: str = ""
    is_kept: bool = True  # False for a problem that may pass, as of the disk or the memory
    cut: Cut | None = None  # the part of another video that it is, if data.prepare.resize cut it out
    warning: str = ""  # what the file has less of than its header announces


class IndexCache:
    """Indexes of the video files under the folder `root`, by their paths relative to it.

    They are kept in the folder `.index` of the first of `places` that has them or can be written, and is no link;
    `remarks` are lines for the log.
    """

    def __init__(self, root: Path, places: Sequence[Path]) -> None:
        self.root = root
        self.remarks: list[str] = []
        self._places = KeptPlaces(places, NAME)
        self._known: dict[str, Indexed] = {}
        self._is_read = False

    def of(self, paths: Sequence[str]) -> Mapping[str, Indexed]:
        """The indexes of files; those that are not known are made, in parallel, and kept."""
        wanted = list(dict.fromkeys(paths))
        if not self._is_read:
            self._read()
        if unknown := self._unknown(wanted):
            target, links = self._places.to_write()
            self.remarks += [each for each in links if each not in self.remarks]
            if target is None:
                what = f"every start indexes all video files, since nothing can be written to {self._places.folders}"
                self.remarks.append(what)
                self._make(unknown, None)
            else:
                with _one_process_first(target):
                    self._read()  # another process may have written it
                    if unknown := self._unknown(wanted):
                        self._make(unknown, target)
        return self._known

    def _unknown(self, wanted: Sequence[str]) -> list[str]:
        """The files without an index, or with that of another size or time."""
        return [path for path in wanted if path not in self._known or not self._is_same(path, self._known[path])]

    def _is_same(self, path: str, known: Indexed) -> bool:
        size, mtime, _ = _status(f"{self.root}/{path}")
        return (size, mtime) == known[:2]

    def _make(self, paths: Sequence[str], target: Path | None) -> None:
        LOG.info("indexing %s in %s", counted(len(paths), "video file"), self.root)
        saved = time.monotonic()
        pool = ThreadPoolExecutor(available_cpus())  # opening, reading and decoding run outside of Python
        try:
            with late_progress("indexing videos", len(paths)) as advance:
                waiting = {pool.submit(_index, f"{self.root}/{path}"): path for path in paths}
                for future in as_completed(waiting):
                    self._known[waiting[future]] = future.result()
                    advance(1)
                    if target is not None and time.monotonic() - saved > SAVED_EVERY:
                        self._keep(target)
                        saved = time.monotonic()
        finally:
            pool.shutdown(cancel_futures=True)
            if target is not None:
                self._keep(target)

    def _read(self) -> None:
        self._is_read = True
        for path in self._places.paths:
            try:
                found = _unpack(path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except Exception as error:  # damaged bytes lead to many kinds of error
                what = f"{path} cannot be used ({type(error).__name__}: {error}): the videos are indexed again"
                if what not in self.remarks:
                    self.remarks.append(what)
                continue
            whole = {name: each for name, each in found.items() if each.problem or _is_possible(each)}
            if len(whole) < len(found):
                of_videos = counted(len(found) - len(whole), "video")
                what = f"{path} holds damaged indexes of {of_videos}, which are indexed again"
                if what not in self.remarks:
                    self.remarks.append(what)
            self._known |= whole
            return

    def _keep(self, path: Path) -> None:
        try:
            for leftover in path.parent.glob(f".{path.name}.*.tmp"):
                leftover.unlink(missing_ok=True)  # of a process that was killed
            with atomic_file(path) as temporary, temporary.open("wb") as file:
                np.savez(file, allow_pickle=False, **_pack(self._known))
        except OSError as error:
            remark = f"{path} could not be written: {reason(error)}"
            if remark not in self.remarks:
                self.remarks.append(remark)


def _status(path: str) -> tuple[int, int, str]:
    """A file's size and modification time, or why there are none."""
    try:
        status = os.stat(path)  # noqa: PTH116 - done for each file, and Path is slow
    except OSError as error:
        return -1, -1, f"cannot be read: {reason(error)}"
    return status.st_size, changed_at(status), ""


def _index(path: str) -> Indexed:
    """The index of a file. Damage is looked for twice: a disk or a server may have failed for a moment."""
    found = _look(path)
    return _look(path) if found.warning or (found.problem and found.is_kept) else found


def _look(path: str) -> Indexed:
    size, mtime, problem = _status(path)
    if problem:
        return Indexed(size, mtime, b"", problem, is_kept=False)
    try:
        index = index_video(Path(path))
        packed = index.packed()
        FrameIndex.unpack(packed, size)  # so that it is read again, too
        return Indexed(size, mtime, packed, cut=cut_of(index.comment), warning=index.warning)
    except VideoError as error:
        return Indexed(size, mtime, b"", str(error), is_kept=not isinstance(error, UnreadableError))
    except OSError as error:
        return Indexed(size, mtime, b"", f"cannot be read ({reason(error)})", is_kept=False)
    except MemoryError:
        return Indexed(size, mtime, b"", "needs more memory than there is", is_kept=False)


def _is_possible(each: Indexed) -> bool:
    """Whether the index may be that of its file. It is not unpacked: that takes half a minute for a million files."""
    try:
        FrameIndex.check_header(each.packed, each.size)
    except VideoError:
        return False
    return True


def _pack(known: Mapping[str, Indexed]) -> dict[str, np.ndarray]:
    kept = {path: each for path, each in sorted(known.items()) if each.is_kept}
    names = [os.fsencode(path) for path in kept]
    texts = [_text(each) for each in kept.values()]
    return {
        "format": np.frombuffer(FORMAT.encode(), np.uint8),
        "names": np.frombuffer(b"".join(names), np.uint8),
        "name_ends": np.cumsum([len(name) for name in names], dtype=np.int64),
        "sizes": np.array([each.size for each in kept.values()], np.int64),
        "times": np.array([each.mtime for each in kept.values()], np.int64),
        "indexes": np.frombuffer(b"".join(texts), np.uint8),
        "index_ends": np.cumsum([len(text) for text in texts], dtype=np.int64),
    }


def _unpack(path: Path) -> dict[str, Indexed]:
    """Undo `_pack`. Empty for a file of another format; ValueError and others for a damaged one.

    Each member is read to its end, so that zipfile compares its checksum.
    """
    with open_plain(path, LARGEST) as file, zipfile.ZipFile(file) as archive:
        names = ("format", "names", "name_ends", "sizes", "times", "indexes", "index_ends")
        if any(each.compress_type != zipfile.ZIP_STORED for each in archive.infolist()):
            raise ValueError("it is compressed, and may be larger than the memory")
        found = read_arrays(archive, names)
    if found["format"].tobytes() != FORMAT.encode():
        return {}
    if any(each.ndim != 1 or each.dtype not in (np.uint8, np.int64) for each in found.values()):
        raise ValueError("its arrays are of other types")
    texts = _split(found["indexes"], found["index_ends"])
    paths = [os.fsdecode(name) for name in _split(found["names"], found["name_ends"])]
    rows = zip(paths, found["sizes"].tolist(), found["times"].tolist(), texts, strict=True)
    return {path: _indexed(size, mtime, text) for path, size, mtime, text in rows}


def _text(each: Indexed) -> bytes:
    """A problem, an index, or a cut and an index; before one of the latter two perhaps a warning."""
    if each.problem:
        return b"P" + each.problem.encode()
    if each.warning:
        warning = each.warning.encode()
        return b"W" + len(warning).to_bytes(4, "little") + warning + _text(each._replace(warning=""))
    return b"C" + each.cut.packed() + each.packed if each.cut else b"I" + each.packed


def _indexed(size: int, mtime: int, text: bytes) -> Indexed:
    kind, rest = text[:1], text[1:]
    if kind == b"P":
        return Indexed(size, mtime, b"", rest.decode())
    if kind == b"W":
        end = 4 + int.from_bytes(rest[:4], "little")
        if rest[end : end + 1] == b"W":
            raise ValueError("it has two warnings of one file")
        return _indexed(size, mtime, rest[end:])._replace(warning=rest[4:end].decode())
    if kind == b"C":
        return Indexed(size, mtime, rest[PACKED.size :], cut=Cut.unpack(rest[: PACKED.size]))
    return Indexed(size, mtime, rest)


def _split(joined: np.ndarray, ends: np.ndarray) -> list[bytes]:
    if (np.diff(ends, prepend=0) < 0).any() or ends[-1:].sum() != len(joined):  # else texts may overlap without end
        raise ValueError("its texts do not fit their lengths")
    data = joined.tobytes()
    starts = [0, *ends.tolist()]
    return [data[start:end] for start, end in zip(starts, ends.tolist(), strict=False)]


@contextmanager
def _one_process_first(path: Path) -> Iterator[None]:
    """Let the first process in at once. Others wait until it is done, or has written nothing for WAIT seconds."""
    lock = FileLock(path.with_suffix(".lock"), fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        LOG.info("another process indexes the videos: waiting for its result %s", path)
        _wait(lock, path)
    except OSError as error:
        LOG.info("%s is no lock (%s): every process that starts now indexes the videos", lock.lock_file, reason(error))
    try:
        yield
    finally:
        lock.release()


def _wait(lock: FileLock, path: Path) -> None:
    written, since = _status(str(path)), time.monotonic()
    while time.monotonic() - since < WAIT:
        with suppress(Timeout):
            lock.acquire(timeout=10 * POLL, poll_interval=POLL)
            return
        if (now := _status(str(path))) != written:
            written, since = now, time.monotonic()
    LOG.warning("%s was not written within %.0f s: indexing the videos as well", path, WAIT)
