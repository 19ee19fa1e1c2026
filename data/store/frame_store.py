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
import sqlite3
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import numpy as np
import simplejpeg

from common.files import atomic_file, sync_folder
from data.store.crop_box import CropBox
from data.store.jpeg import CropDecoder, decode_whole, jpeg_size
from data.store.origin import write_origin
from data.store.video_source import VideoSourceError

DATABASE = "frames.db"
FRAME_COUNT = "n_frames"
REMEDY = "delete the video's folder and convert it again (python -m data.prepare.verify DATASET --delete-broken does)"


class FrameStoreError(VideoSourceError):
    """A database or frame that cannot be read.

    `damaged`: the file's content is bad (as opposed to its path, its permissions, or the index asked for).
    """

    damaged = False


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
        self._rowids: list[int] | None = None  # rowid of each frame; None as long as row n seems to hold frame n
        self._blobs: dict[int, bytes] = {}  # fetched by size() in this `with` block

    def __enter__(self) -> "FrameStore":
        self._connection = self._open()
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
            blob = self._fetch(connection, self._checked(connection, index))
        if self._connection is not None:
            self._blobs[index] = blob
        return self._jpeg_size(index, blob)

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
        if len(indices) == 0:
            raise ValueError("no frame indices given")
        with self._connected() as connection:
            wanted = [self._checked(connection, index) for index in indices]
            blobs = {index: self._fetch(connection, index) for index in sorted(set(wanted))}
        return self._decode(blobs, wanted, crop_box, out)

    def check_numbering(self) -> int:
        """Read every row's ObjId and return the number of frames; FrameStoreError for gaps, repeats and other names."""
        with self._connected() as connection:
            self._scan(connection)
            return self._frame_count(connection)

    def _decode(
        self, blobs: dict[int, bytes], indices: list[int], crop_box: CropBox | None, out: np.ndarray | None
    ) -> np.ndarray:
        size = self._jpeg_size(indices[0], blobs[indices[0]])
        if crop_box is None:
            clip = _clip_array((len(indices), *size, 3), out)
            decode = decode_whole
        else:
            clip = _clip_array((len(indices), crop_box.out_height, crop_box.out_width, 3), out)
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
                raise self._error(str(error), index) from error
        return clip

    def _jpeg_size(self, index: int, blob: bytes) -> tuple[int, int]:
        try:
            return jpeg_size(blob)
        except ValueError as error:
            raise self._error(str(error), index) from error

    def _fetch(self, connection: sqlite3.Connection, index: int) -> bytes:
        if index in self._blobs:
            return self._blobs[index]
        rowid = index + 1 if self._rowids is None else self._rowids[index]
        with self._sqlite_errors():
            row = connection.execute("SELECT ObjId, frames FROM Images WHERE rowid = ?", (rowid,)).fetchone()
        if row is None or _frame_number(row[0]) != index + 1:
            if self._rowids is not None:
                raise self._error("changed while it was read")
            self._scan(connection)
            return self._fetch(connection, self._checked(connection, index))
        if not isinstance(row[1], bytes):
            raise self._error(f"holds {row[1]!r} instead of a JPEG", index)
        return row[1]

    def _checked(self, connection: sqlite3.Connection, index: int) -> int:
        count = self._frame_count(connection)
        if not 0 <= index < count:
            raise self._error(f"has {count} frames: index {index} is out of range", remedy="")
        return int(index)

    def _frame_count(self, connection: sqlite3.Connection) -> int:
        if self._count is None:
            with self._sqlite_errors():
                last = connection.execute("SELECT rowid, ObjId FROM Images ORDER BY rowid DESC LIMIT 1").fetchone()
            if last is None:
                raise self._error("holds no frames")
            if _frame_number(last[1]) == last[0]:
                self._count = last[0]  # rows seem to be in order; _fetch checks each row that it reads
            else:
                self._scan(connection)
        assert self._count is not None
        return self._count

    def _scan(self, connection: sqlite3.Connection) -> None:
        """Find the row of each frame in one pass over the names; SQLite does not read the blobs' pages for that."""
        with self._sqlite_errors():
            rows = connection.execute("SELECT rowid, ObjId FROM Images").fetchall()
        rowids = {_frame_number(name): rowid for rowid, name in rows}
        try:
            self._rowids = [rowids[number] for number in range(1, len(rows) + 1)]
        except KeyError:
            self._explain(rows)
        if not rows:
            raise self._error("holds no frames")
        if rows[0][0] is None:  # the rows of a view have no rowid
            raise self._error("has a view instead of a table Images")
        self._count = len(rows)

    def _explain(self, rows: Sequence[tuple[int, object]]) -> NoReturn:
        """Raise the error that says why the names are not those of frames 1, 2, ..."""
        numbers: set[int] = set()
        for _, name in rows:
            number = _frame_number(name)
            if number is None:
                shown = name.decode(errors="replace") if isinstance(name, bytes) else name
                raise self._error(f"has a row named {shown!r} where '<video id>/frame_<number>' is expected")
            if number in numbers:
                raise self._error(f"holds frame_{number:05d} twice")
            numbers.add(number)
        missing = next(number for number in range(1, len(rows) + 1) if number not in numbers)
        raise self._error(f"lacks frame_{missing:05d}: it holds {len(rows)} frames numbered up to {max(numbers)}")

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        if self._connection is not None:
            yield self._connection
        else:
            with closing(self._open()) as connection:
                yield connection

    def _open(self) -> sqlite3.Connection:
        """Open read-only and without locks; refuse files that SQLite would misread, wait for, or create."""
        try:
            mode = os.stat(self.path).st_mode  # noqa: PTH116 - as in __init__
        except OSError as error:
            remedy = "convert the video to frames (python -m data.prepare.convert)"
            raise self._error(f"cannot be read ({error.strerror})", remedy=remedy) from error
        if not stat.S_ISREG(mode):
            raise self._error("is not a regular file")
        for suffix in ("-journal", "-wal"):
            if os.path.exists(self.path + suffix):  # noqa: PTH110 - as in __init__
                raise self._error(
                    f"has a {DATABASE}{suffix} beside it: a program is writing it, or was killed while writing",
                    remedy=f"wait for that program, or {REMEDY}",
                )
        uri = f"file://{quote(os.path.abspath(os.fsencode(self.path)))}?mode=ro&immutable=1"  # noqa: PTH100 - as above
        with self._sqlite_errors():
            connection = sqlite3.connect(uri, uri=True, isolation_level=None)
        connection.text_factory = bytes  # names need not be UTF-8
        return connection

    @contextmanager
    def _sqlite_errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # SQLite's message may quote damaged names
            try:
                Path(self.path).open("rb").close()
            except OSError as cause:
                raise self._error(f"cannot be read ({cause.strerror})", remedy="") from error
            if "disk I/O error" in str(error):
                raise self._error(f"cannot be read ({error})", remedy="") from error
            raise self._error(f"is not a complete frame database ({error})") from error

    def _error(self, reason: str, index: int | None = None, remedy: str = REMEDY) -> FrameStoreError:
        frame = "" if index is None else f": frame_{index + 1:05d}"
        error = FrameStoreError(f"{self.path}{frame} {reason}" + (f"; {remedy}" if remedy else ""))
        error.damaged = REMEDY in remedy
        return error


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


def leftovers(video_folder: Path) -> list[Path]:
    """The temporary files in a folder where write_frames was killed or is still writing."""
    return [path for name in (DATABASE, FRAME_COUNT) for path in sorted(video_folder.glob(f".{name}.*.tmp*"))]


def _write_database(
    path: Path, video_folder: Path, jpegs: Iterable[bytes], origin: Callable[[], Mapping[str, str]] | None
) -> int:
    video_id = os.fsencode(video_folder.name).decode("utf-8", errors="replace")

    def rows() -> Iterator[tuple[str, bytes, int]]:
        for number, jpeg in enumerate(jpegs, start=1):
            try:
                _, width, *_ = simplejpeg.decode_jpeg_header(jpeg)
            except ValueError as error:
                raise FrameStoreError(f"{video_folder}: frame_{number:05d} is not a JPEG ({error})") from error
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
                write_origin(connection, origin())
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
    return OSError(errno.ENOSPC if "disk is full" in str(error) else errno.EIO, str(error), str(path))


def _clip_array(shape: tuple[int, ...], out: np.ndarray | None) -> np.ndarray:
    """`out` if a clip of that shape fits it, else ValueError; a new array if `out` is None."""
    if out is None:
        return np.empty(shape, np.uint8)
    if out.shape != shape or out.dtype != np.uint8:
        raise ValueError(f"out is {out.dtype} {out.shape}, but the clip is uint8 {shape}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError("out must be contiguous and writable")
    return out


def _frame_number(name: object) -> int | None:
    """The number after the last "frame_" of an ObjId; None if the ObjId has no such number."""
    if not isinstance(name, bytes):
        return None
    _, separator, digits = name.rpartition(b"frame_")
    return int(digits) if separator and digits.isdigit() and len(digits) < 19 else None
