"""Where a frame is read: frames.db, the frames of one video as JPEG blobs in an SQLite database.

    <video folder>/frames.db     table Images(ObjId, frames, size); ObjId "<video id>/frame_%05d" from 1, frames a JPEG;
                                 table Origin: what it was made from (origin.py)
    <video folder>/n_frames      text: the number of frames; written last, so a video that has it is complete

This module is the only one that reads and writes these files. It reads two layouts: its own (rows in order, ObjId the
primary key) and that of dataset2database (no key, no index, rows in any order). `size` is the frame's width in pixels
in both; nothing reads it.
"""

import errno
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg

from common.files import atomic_file, sync_folder
from data.store.crop_box import CropBox
from data.store.database import (
    CONVERT,
    ERRORS,
    REMEDY,
    FrameStoreError,
    database_error,
    open_database,
    path_hint,
    shown,
)
from data.store.jpeg import CropDecoder, NoJpegError, NotDecodedError, decode_whole, jpeg_size
from data.store.origin import FramesDigest, read_origin, read_rate, write_origin
from data.store.video_source import clip_array

DATABASE = "frames.db"
FRAME_COUNT = "n_frames"
MUCH = 2**26  # bytes of a clip's JPEGs from which on they are compared with the file: rows may share their pages
LONGEST_NAME = 2**16  # bytes of an ObjId: a path has 4096
SCANNED = 1000  # rows read at a time
SAMPLED = 8  # frames looked at to tell another format from damage
_START = "SELECT substr(frames, 1, 65536) FROM Images WHERE _rowid_ = ?"
# As atomic_file names them, and SQLite the journal beside one. Others, such as .frames.db.tmp, may be the user's.
TEMPORARY = re.compile(rf"\.({re.escape(DATABASE)}|{FRAME_COUNT})\.[0-9]+\.tmp(-journal)?")


class FrameStore:
    """The frames of one video, by index: a VideoSource.

    Each call opens and closes the database; in a `with` block it is opened once for all calls. Opening takes tens of
    microseconds, so each clip opens its own store. Do not share one between threads.

    >>> with FrameStore("jpg/jumping/v_01") as store:
    ...     height, width = store.size()
    ...     clip = store.read([0, 2, 4, 4], CropBox(0, 0, height, height, 112, 112))   # uint8 (4, 112, 112, 3)
    """

    def __init__(self, video_folder: Path | str) -> None:
        self.path = os.path.join(video_folder, DATABASE)  # noqa: PTH118 - done for each clip, and Path is slow
        self._connection: sqlite3.Connection | None = None
        self._count: int | None = None
        self._video: bytes | None = None  # what all names have before "frame_"
        self._rowids: list[int] | None = None  # rowid of each frame; None as long as row n seems to hold frame n
        self._blobs: dict[int, bytes] = {}  # fetched by size() in this `with` block

    def __enter__(self) -> "FrameStore":
        self._connection = open_database(self.path)
        return self

    def __exit__(self, *_: object) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None
        self._blobs.clear()

    def __len__(self) -> int:
        """The number of frames in the database; the file n_frames is not used."""
        with self._connected() as connection:
            return self._frame_count(connection)

    def size(self, index: int = 0) -> tuple[int, int]:
        """The height and width in pixels of the frame at `index`, from its JPEG header."""
        with self._connected() as connection:
            self._checked(connection, [index])
            blob = self._fetch(connection, index)
            if self._connection is not None:
                self._blobs[index] = blob
            return self._jpeg_size(index, blob)

    def rate(self) -> float | None:
        """The frames a second, on average; None if the database does not name them, as those of older versions."""
        with self._connected() as connection:
            try:
                return read_rate(connection)
            except ERRORS as error:
                raise database_error(self.path, error) from error

    def is_variable(self) -> bool:
        """Whether the steps between the frames are uneven in time, as the database says of its video file."""
        origin = read_origin(Path(self.path))
        return origin is not None and origin.is_variable

    def jpeg(self, index: int) -> bytes:
        """The frame at `index` as it is stored: a JPEG, of which only the header is looked at."""
        with self._connected() as connection:
            self._checked(connection, [index])
            blob = self._fetch(connection, index)
            self._jpeg_size(index, blob)
            return blob

    def read(
        self, indices: Sequence[int], crop_box: CropBox | None = None, out: np.ndarray | None = None
    ) -> np.ndarray:
        """Read the frames at the 0-based `indices`, in that order; an index may repeat.

        Returns RGB uint8 (T, H, W, 3), the whole frames or the `crop_box` of each. If `out` is given, the frames are
        written to it and it is returned. Unscaled pixels are exact. A scaled box (bilinear; by area at a third of the
        size or less) is decoded by JPEG's fast transform, which is wrong by one grey level on average.

        FrameStoreError if the database or a frame is damaged, an index is out of range, or the frames differ in size;
        `out` is then undefined. ValueError if `out` is not a writable, contiguous uint8 array of that shape.
        """
        blobs, wanted = self._fetched(indices)
        try:
            return self._decode(blobs, wanted, crop_box, out)
        except MemoryError as error:
            raise database_error(self.path, error) from error

    def read_crops(self, indices: Sequence[int], crop_boxes: Sequence[CropBox], out: np.ndarray) -> None:
        """Read several crops of the same frames: `read` of each box, written to `out` (K, T, h, w, 3)."""
        blobs, wanted = self._fetched(indices)
        try:
            for box, crop in zip(crop_boxes, out, strict=True):
                self._decode(blobs, wanted, box, crop)
        except MemoryError as error:
            raise database_error(self.path, error) from error

    def check_numbering(self) -> int:
        """Read every row's ObjId and return the number of frames.

        FrameStoreError for gaps, repeats, other names and frames of two videos.
        """
        with self._connected() as connection:
            self._scan(connection)
            return self._frame_count(connection)

    def video_id(self) -> str:
        """The video's name as the ObjIds have it, without folders before it; empty if they have none."""
        with self._connected() as connection:
            self._frame_count(connection)
        assert self._video is not None
        return self._video.decode(errors="replace").rstrip("/").rpartition("/")[2]

    def _fetched(self, indices: Sequence[int]) -> tuple[dict[int, bytes], list[int]]:
        """The JPEGs of the frames, by index, and the indices as plain integers."""
        if len(indices) == 0:
            raise ValueError("no frame indices given")
        with self._connected() as connection:
            wanted = self._checked(connection, indices)
            blobs: dict[int, bytes] = {}
            total = 0
            for index in sorted(set(wanted)):
                blobs[index] = blob = self._fetch(connection, index)
                total += len(blob)
                if total > MUCH and total > os.path.getsize(self.path):  # noqa: PTH202 - as above
                    raise self._damage(f"holds frames of more bytes than the file has ({total})")
            return blobs, wanted

    def _decode(
        self, blobs: dict[int, bytes], indices: list[int], crop_box: CropBox | None, out: np.ndarray | None
    ) -> np.ndarray:
        size = self._jpeg_size(indices[0], blobs[indices[0]])
        if crop_box is None:
            clip = clip_array((len(indices), *size, 3), out)
            decode = decode_whole
        else:
            clip = clip_array((len(indices), crop_box.out_height, crop_box.out_width, 3), out)
            decode = CropDecoder(size, crop_box).decode
        positions: dict[int, int] = {}
        for position, index in enumerate(indices):
            first = positions.setdefault(index, position)
            if first != position:
                clip[position] = clip[first]
                continue
            try:
                decode(blobs[index], clip[position])
            except ValueError as error:
                raise self._jpeg_error(error, index) from error
        return clip

    def _jpeg_size(self, index: int, blob: bytes) -> tuple[int, int]:
        try:
            return jpeg_size(blob)
        except ValueError as error:
            raise self._jpeg_error(error, index) from error

    def _fetch(self, connection: sqlite3.Connection, index: int) -> bytes:
        if index in self._blobs:
            return self._blobs[index]
        rowid = index + 1 if self._rowids is None else self._rowids[index]
        try:
            row = connection.execute("SELECT ObjId, frames FROM Images WHERE _rowid_ = ?", (rowid,)).fetchone()
        except ERRORS as error:
            raise database_error(self.path, error) from error
        video, number = (b"", None) if row is None else _parts(row[0])
        if self._video not in (video, None) and number == index + 1:
            raise self._two_videos(video)
        if number != index + 1:
            if self._rowids is not None:
                raise self._damage("changed while it was read, or its table and index differ")
            self._scan(connection)
            self._checked(connection, [index])
            return self._fetch(connection, index)
        if not isinstance(row[1], bytes):
            raise self._no_jpeg(f"holds {row[1]!r} instead of a JPEG", index)
        return row[1]

    def _checked(self, connection: sqlite3.Connection, indices: Sequence[int]) -> list[int]:
        """The indices as plain integers; FrameStoreError if one is out of range."""
        count = self._frame_count(connection)
        wanted = [int(index) for index in indices]
        if min(wanted) < 0 or max(wanted) >= count:
            wrong = next(index for index in wanted if not 0 <= index < count)
            raise FrameStoreError(f"{self.path} has {count} frames: index {wrong} is out of range")
        return wanted

    def _frame_count(self, connection: sqlite3.Connection) -> int:
        if self._count is None:
            try:
                last = connection.execute("SELECT _rowid_, ObjId FROM Images ORDER BY _rowid_ DESC LIMIT 1").fetchone()
            except ERRORS as error:
                raise database_error(self.path, error) from error
            if last is None:
                raise self._damage("holds no frames")
            video, number = _parts(last[1])
            if number == last[0]:
                self._video = video
                self._count = last[0]  # rows seem to be in order; _fetch checks each row that it reads
            else:
                self._scan(connection)
        assert self._count is not None
        return self._count

    def _scan(self, connection: sqlite3.Connection) -> None:
        """Find the row of each frame in one pass over the names; SQLite does not read the blobs' pages for that.

        The first repeated name ends the pass: in a damaged file, the rows may lead to each other in circles.
        """
        rowids: dict[int, int] = {}
        videos: set[bytes] = set()
        try:
            cursor = connection.execute("SELECT _rowid_, ObjId FROM Images")
            while True:
                rows, parts = [], []
                for row in islice(cursor, SCANNED):  # one at a time: each name may take as much as the file
                    rows.append(row)
                    parts.append(part := _parts(row[1]))
                    if part[1] is None:
                        break
                if not rows:
                    break
                found: dict[Any, int] = {number: row[0] for (_, number), row in zip(parts, rows, strict=True)}
                videos.update([video for video, _ in parts])
                if len(found) < len(rows) or None in found or not rowids.keys().isdisjoint(found):
                    raise self._name_error(rows, set(rowids), videos)
                rowids |= found
                if len(videos) > 1:
                    self._video, other = sorted(videos)[:2]
                    raise self._two_videos(other)
        except ERRORS as error:
            raise database_error(self.path, error) from error
        if not rowids:
            raise self._damage("holds no frames")
        (self._video,) = videos
        try:
            self._rowids = [rowids[number] for number in range(1, len(rowids) + 1)]
        except KeyError as missing:
            held = f"it holds {len(rowids)} frames numbered up to {max(rowids)}"
            lacks = f"lacks frame_{missing.args[0]:05d}"
            if numbering := _other_numbering(sorted(rowids)):  # whole, made by another program
                what = f"{lacks}: its frames are numbered {numbering}, not 1, 2, 3, ..."
                raise FrameStoreError(f"{self.path} {what}; move it away, and {CONVERT}") from None
            raise self._damage(f"{lacks}: {held}") from None
        self._count = len(rowids)

    def _connected(self) -> AbstractContextManager[sqlite3.Connection]:
        if self._connection is not None:
            return nullcontext(self._connection)
        return closing(open_database(self.path))

    def _name_error(
        self, rows: Sequence[tuple[int, object]], numbers: set[int | None], videos: set[bytes]
    ) -> FrameStoreError:
        """What is wrong with `rows`, of which one has no frame number, or that of another or of one in `numbers`.

        `videos` are the names before the numbers. A program may have written rows of other names, or several series;
        one name twice, or one that no program writes, is damage.
        """
        for _, name in rows:
            _, number = _parts(name)
            if number is None:
                decoded = name.decode(errors="replace") if isinstance(name, bytes) else name
                text = repr(shown(decoded) if isinstance(decoded, str) else decoded)
                reason = f"has a row named {text} where '<video id>/frame_<number>' is expected"
                is_name = isinstance(decoded, int) or (
                    isinstance(decoded, str) and decoded.isprintable() and "\ufffd" not in decoded
                )
                if numbers and not is_name:
                    return self._damage(reason)
                return FrameStoreError(f"{self.path} {reason}: it may be of another program")
            if number in numbers:
                if len(videos) > 1:
                    series = " and ".join(repr(shown(video.decode(errors="replace"))) for video in sorted(videos)[:2])
                    reason = f"holds frame_{number:05d} of several series ({series})"
                    return FrameStoreError(f"{self.path} {reason}: it may be of another program")
                return self._damage(f"holds frame_{number:05d} twice")
            numbers.add(number)
        raise AssertionError("no name is wrong")

    def _two_videos(self, other: bytes) -> FrameStoreError:
        names = sorted(repr(shown(name.decode(errors="replace").rstrip("/"))) for name in (self._video or b"", other))
        return self._damage(f"holds frames of {names[0]} and of {names[1]}")

    def _jpeg_error(self, error: ValueError, index: int) -> FrameStoreError:
        if isinstance(error, NotDecodedError):
            return FrameStoreError(f"{self.path}: frame_{index + 1:05d} {error}")
        return self._no_jpeg(str(error), index) if isinstance(error, NoJpegError) else self._damage(str(error), index)

    def _no_jpeg(self, reason: str, index: int) -> FrameStoreError:
        """The error of a frame that does not begin as a JPEG: damage if other frames of the video are JPEGs.

        Otherwise all frames may be whole pictures of another format.
        """
        if self._has_other_jpegs(index):
            return self._damage(reason, index)
        frame = f"frame_{index + 1:05d}"
        return FrameStoreError(
            f"{self.path}: {frame} {reason}; its frames may be of another format; move it away, and {CONVERT}"
        )

    def _has_other_jpegs(self, index: int) -> bool:
        """Whether one of a few other frames begins as a JPEG: the first, the neighbours, and some over the video."""
        with self._connected() as connection:
            count = self._frame_count(connection)
            spread = {place * (count - 1) // SAMPLED for place in range(SAMPLED + 1)}
            for other in sorted((spread | {index - 1, index + 1}) - {index}):
                rowid = other + 1 if self._rowids is None or not 0 <= other < count else self._rowids[other]
                try:
                    row = connection.execute(_START, (rowid,)).fetchone()
                    if row is not None and isinstance(row[0], bytes) and jpeg_size(row[0]):
                        return True
                except (*ERRORS, ValueError):
                    continue
        return False

    def _damage(self, reason: str, index: int | None = None) -> FrameStoreError:
        frame = "" if index is None else f": frame_{index + 1:05d}"
        return FrameStoreError(f"{self.path}{frame} {reason}; {REMEDY}", damaged=True)


def write_frames(
    video_folder: Path, jpegs: Iterable[bytes], origin: Callable[[], Mapping[str, str]] | None = None
) -> int:
    """Write a video's JPEG frames, in the order given, to frames.db and n_frames; return their number.

    `origin` is called after the last frame; it gives the rows of the table Origin.

    If the process is killed, there is never a half-written frames.db, nor an n_frames that belongs to another
    frames.db: both are written under temporary names, and n_frames is renamed last. An older complete video stays
    until the new database is complete. FrameStoreError if there are no frames or one is not a JPEG; OSError, with its
    number, if a file cannot be written.
    """
    new_folder = not video_folder.exists()
    video_folder.mkdir(parents=True, exist_ok=True)
    count_file = video_folder / FRAME_COUNT
    try:
        with atomic_file(video_folder / DATABASE) as temporary:
            count = _write_database(temporary, video_folder, jpegs, origin)
            count_file.unlink(missing_ok=True)
        with atomic_file(count_file) as temporary:
            temporary.write_text(str(count))
    except BaseException:
        with suppress(OSError):  # not empty: it held something before
            video_folder.rmdir()
        raise
    if new_folder:
        sync_folder(video_folder.parent)
    return count


def is_whole(video_folder: Path) -> bool:
    """Whether the folder has both files, as after write_frames has completed."""
    return (video_folder / FRAME_COUNT).is_file() and (video_folder / DATABASE).is_file()


def count_text(video_folder: str) -> bytes:
    """The beginning of the file n_frames; OSError, also if it is no plain file."""
    # os.open is three times faster than open, and O_NONBLOCK does not wait for the writer of a named pipe.
    file = os.open(f"{video_folder}/{FRAME_COUNT}", os.O_RDONLY | os.O_NONBLOCK)
    try:
        text = os.read(file, 64)
        if not text.strip().isdigit() and not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        return text
    finally:
        os.close(file)


def leftovers(video_folder: Path) -> list[Path]:
    """The temporary files in a folder where write_frames was killed or is still writing."""
    return sorted(path for path in video_folder.glob(".*.tmp*") if TEMPORARY.fullmatch(path.name))


def _write_database(
    path: Path, video_folder: Path, jpegs: Iterable[bytes], origin: Callable[[], Mapping[str, str]] | None
) -> int:
    video_id = os.fsencode(video_folder.name).decode("utf-8", errors="replace")
    digest = FramesDigest()

    def rows() -> Iterator[tuple[str, bytes, int]]:
        for number, jpeg in enumerate(jpegs, start=1):
            try:
                _, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
            except ValueError as error:
                raise FrameStoreError(f"{video_folder}: frame_{number:05d} is not a JPEG ({error})") from error
            digest.add(jpeg)
            yield f"{video_id}/frame_{number:05d}", jpeg, width

    path.unlink(missing_ok=True)  # may be left by a killed process that had the same process id
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = OFF")  # a file that is renamed when complete needs no journal
            connection.execute("PRAGMA synchronous = OFF")  # atomic_file flushes it once, at the end
            connection.execute("CREATE TABLE Images (ObjId TEXT PRIMARY KEY, frames BLOB, size INT)")
            connection.execute("BEGIN")
            count = connection.executemany("INSERT INTO Images VALUES (?, ?, ?)", rows()).rowcount
            if origin is not None:
                write_origin(connection, {**origin(), "digest": digest.text()})
            connection.execute("COMMIT")
    except sqlite3.OperationalError as error:
        raise _write_error(path, error) from error
    if count < 1:
        raise FrameStoreError(f"{video_folder}: the video has no frames to write")
    return count


def _write_error(path: Path, error: sqlite3.Error) -> OSError:
    """The system's reason why SQLite cannot write, which it does not tell: writing a little more has the same."""
    try:
        with path.open("ab", buffering=0) as file:
            for _ in range(2):  # the first may be written in part
                file.write(bytes(2**20))
            os.fsync(file.fileno())
    except OSError as cause:
        return cause
    why = f"{error}{path_hint(str(path), str(error))}"
    return OSError(errno.ENOSPC if "disk is full" in why else errno.EIO, why, str(path))


def _other_numbering(numbers: Sequence[int]) -> str:
    """How a program may have numbered the frames, which lack some of 1, 2, 3, ...; empty if frames are missing.

    From another number on or in even steps, as every fifth frame of a video; or in any steps with fewer than half of
    the numbers, as of key frames.
    """
    first, last = numbers[0], numbers[-1]
    step = numbers[1] - first if len(numbers) > 1 else 1
    if all(after - before == step for before, after in pairwise(numbers)):
        return f"from {first} to {last} in steps of {step}" if step > 1 else f"from {first} to {last}"
    return f"from {first} to {last}, fewer than half of them," if 2 * len(numbers) < last - first + 1 else ""


def _parts(name: object) -> tuple[bytes, int | None]:
    """What an ObjId has before its last "frame_", and the number after it; None if the ObjId has no such number."""
    if not isinstance(name, bytes) or len(name) > LONGEST_NAME:
        return b"", None
    video, separator, digits = name.rpartition(b"frame_")
    return video, int(digits) if separator and digits.isdigit() and len(digits) < 19 else None
