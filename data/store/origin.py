"""What a video's frames.db was made from, kept in the database: table Origin, rows (name, value), both text.

    videos, source        the name of the folder VIDEOS, and the path of the file (or folder of frames) in it
    size, content         bytes, and a fingerprint: see file_content and folder_content
    start, end            seconds; only of a clip that was cut out of the source
    first_frame           of a clip that was cut out by the numbers of its frames, the first one, from 0,
    end_frame             and one after the last
    seconds               how long the frames last; only of a whole file
    short_side, quality   as the frames were asked for
    keep_partial          yes or no
    warnings              what may be missing, a line each; only if there are any
    remarks               what else a user should know, as pictures that were left out, a line each; only if any
    pixels                width and height of the frames, such as 480x360
    pattern               of a folder, the pattern that chose its frames; only if one was given
    fps                   frames a second, on average; not of a source without times
    resampled             yes, if frames were repeated or dropped for that rate, as asked for
    variable              yes, if the steps between the frames are uneven
    whole                 a fingerprint of all bytes of a damaged source; only if it is known to be damaged
    digest                of all frames in their order, as they were written
    version               of the project

Databases of older versions and of dataset2database have no such table. FrameStore does not read it. Other rows may
follow: unknown names are ignored.
"""

import math
import os
import re
import sqlite3
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields
from hashlib import blake2b
from pathlib import Path

from common.version import VERSION
from data.store.database import ERRORS, database_error, has_plain_table, open_database
from data.store.frame_times import LONGEST_PAUSE
from data.store.video_source import VideoSourceError

PIECE = 65536  # bytes read at the beginning, in the middle and at the end of a file
DIGEST = 16  # bytes
MAX_WARNINGS = 20
PIXELS = re.compile("[0-9]{1,9}x[0-9]{1,9}")
RATE = re.compile(r"[0-9]{1,9}(\.[0-9]{1,20})?(e-?[0-9]{1,2})?")
MIN_RATE, MAX_RATE = 0.99 / LONGEST_PAUSE, 1e6  # frames a second
MAX_LETTERS = 2**16  # of a value that is read; the rest is left out
_ROWS = f"SELECT substr(name, 1, 100), typeof(value), substr(value, 1, {MAX_LETTERS}) FROM Origin LIMIT 100"
_RATE = (
    "SELECT substr(value, 1, 100) FROM (SELECT name, value FROM Origin LIMIT 100) "
    "WHERE name = 'fps' AND typeof(value) = 'text'"
)


@dataclass(frozen=True)
class Origin:
    """The source of a video and how it was converted."""

    videos: str
    source: str
    size: int
    content: str
    start: float | None
    end: float | None
    short_side: int
    quality: int
    keep_partial: bool
    warnings: str = ""
    version: str = VERSION
    whole: str = ""
    seconds: float | None = None
    remarks: str = ""
    pixels: str = ""  # empty: of an older version, whose remarks are not known
    pattern: str = ""
    fps: float | None = None  # None: not known
    is_resampled: bool = False
    is_variable: bool = False
    first_frame: int | None = None
    end_frame: int | None = None
    digest: str = ""  # empty: of an older version

    @property
    def is_damaged(self) -> bool:
        """Whether something may be missing of the video. Its file may have been completed since, at the same size."""
        return self.warnings != ""

    @property
    def is_small(self) -> bool:
        """Whether the shorter side of the frames is known to be less than was asked for, as the source's is."""
        return self.pixels != "" and min(map(int, self.pixels.split("x"))) < self.short_side

    @property
    def frames(self) -> tuple[int, int] | None:
        """Of a clip that was cut out by the numbers of its frames, the first one and one after the last."""
        return None if self.first_frame is None or self.end_frame is None else (self.first_frame, self.end_frame)

    def rows(self, warnings: Sequence[str] = (), remarks: Sequence[str] = ()) -> dict[str, str]:
        """The rows of the table, with what the conversion says is missing, and what else it says."""
        rows = {
            "videos": self.videos,
            "source": self.source,
            "size": str(self.size),
            "content": self.content,
            "start": "" if self.start is None else repr(self.start),
            "end": "" if self.end is None else repr(self.end),
            "short_side": str(self.short_side),
            "quality": str(self.quality),
            "keep_partial": "yes" if self.keep_partial else "no",
            "warnings": _lines(warnings) or self.warnings,
            "version": self.version,
            "whole": self.whole,
            "seconds": "" if self.seconds is None else repr(self.seconds),
            "remarks": _lines(remarks) or self.remarks,
            "pixels": self.pixels,
            "pattern": self.pattern,
            "fps": "" if self.fps is None else repr(self.fps),
            "resampled": "yes" if self.is_resampled else "",
            "variable": "yes" if self.is_variable else "",
            "first_frame": "" if self.first_frame is None else str(self.first_frame),
            "end_frame": "" if self.end_frame is None else str(self.end_frame),
            "digest": self.digest,
        }
        return {name: _text(value) for name, value in rows.items() if value}

    def differences(self, now: "Origin") -> list[str]:
        """What would be different if the video were made again as `now`: of file, span, size, quality, rate, damage.

        The same bytes under another path are no difference. Nor is --keep-partial, unless it left something out.
        """
        found = []
        if (self.size, self.content) != (now.size, now.content):
            same = ", of the same size" if self.size == now.size else ""
            found.append(f"file: was {self._place()}, is {now._place()}{same}")
        elif self.whole and now.whole and self.whole != now.whole:
            found.append(f"file: {now._place()} was damaged, and other bytes of it have changed since")
        if self.pattern and now.pattern and self.pattern != now.pattern:
            found.append(f"frames: was --frames {self.pattern}, is {now.pattern}")
        if self._part() != now._part():
            found.append(f"span: was {self._span()}, is {now._span()}")
        if self.short_side != now.short_side:
            found.append(f"size: was --short-side {self.short_side}, is {now.short_side}")
        if self.quality != now.quality:
            found.append(f"quality: was {self.quality}, is {now.quality}")
        if self._asked_rate() != now._asked_rate():
            found.append(f"rate: was {self._asked_rate() or 'not resampled'}, is {now._asked_rate() or 'as the file'}")
        if self.keep_partial and self.is_damaged and not now.keep_partial:
            found.append(f"damage: was kept with --keep-partial ({self.warnings.splitlines()[0]})")
        return found

    def _place(self) -> str:
        return f"{self.videos}/{self.source} ({self.size} bytes)"

    def _asked_rate(self) -> str:
        return f"--fps {self.fps:g}" if self.is_resampled and self.fps else ""

    def _span(self) -> str:
        if self.frames:
            return f"frames {self.frames[0]} to {self.frames[1]}"
        return "the whole" if self.start is None else f"{self.start!r} to {self.end!r} s"

    def _part(self) -> tuple[object, ...]:
        return self.start, self.end, self.frames


_NAMES = frozenset(field.name for field in fields(Origin))


def write_origin(connection: sqlite3.Connection, rows: Mapping[str, str]) -> None:
    """Add the table to a database that is being written."""
    connection.execute("CREATE TABLE Origin (name TEXT, value TEXT)")
    connection.executemany("INSERT INTO Origin VALUES (?, ?)", rows.items())


def read_origin(database: Path) -> Origin | None:
    """The origin that a frames.db names; None if it names none. FrameStoreError if it is damaged or unreadable."""
    path = str(database)
    with closing(open_database(path)) as connection:
        try:
            if not has_plain_table(connection, "Origin"):
                return None
            # There is one small row of each name. More would be another program's table.
            rows = connection.execute(_ROWS).fetchall()
        except ERRORS as error:
            if str(error).startswith("no such column"):
                return None
            raise database_error(path, error) from error
    named = [row for row in rows if isinstance(row[0], bytes)]  # a damaged row may have NULL, or a number
    return _origin({_decoded(name): _decoded(value) if kind == b"text" else None for name, kind, value in named})


def read_rate(connection: sqlite3.Connection) -> float | None:
    """The frames a second that an open frames.db names; None if it names none. May raise ERRORS."""
    if not has_plain_table(connection, "Origin"):
        return None
    try:
        row = connection.execute(_RATE).fetchone()
    except sqlite3.OperationalError as error:
        if str(error).startswith("no such column"):
            return None
        raise
    return _rate(_decoded(row[0])) if row and isinstance(row[0], bytes) else None


def _rate(text: str) -> float | None:
    """A rate that a video can have; None for any other text."""
    return float(text) if RATE.fullmatch(text) and MIN_RATE <= float(text) <= MAX_RATE else None


def _lines(texts: Sequence[str]) -> str:
    """The first of the texts, a line each."""
    more = [f"and {len(texts) - MAX_WARNINGS} more"] if len(texts) > MAX_WARNINGS else []
    return "\n".join([*(" ".join(text.split()) for text in texts[:MAX_WARNINGS]), *more])


def _decoded(text: bytes) -> str:
    return text.decode(errors="replace")


def _origin(found: Mapping[str, str | None]) -> Origin | None:
    """None if a row is missing or is not what this module writes, as a value that is no text."""
    rows = {name: value for name, value in found.items() if value is not None}
    if any(name in _NAMES for name in found.keys() - rows.keys()):
        return None
    try:
        return Origin(
            videos=rows.get("videos", ""),
            source=rows["source"],
            size=int(rows["size"]),
            content=rows["content"],
            start=_seconds(rows.get("start")),
            end=_seconds(rows.get("end")),
            short_side=int(rows["short_side"]),
            quality=int(rows["quality"]),
            keep_partial=rows["keep_partial"] == "yes",
            warnings=rows.get("warnings", ""),
            version=rows["version"],
            whole=rows.get("whole", ""),
            seconds=_seconds(rows.get("seconds")),
            remarks=rows.get("remarks", ""),
            pixels=rows.get("pixels", "") if PIXELS.fullmatch(rows.get("pixels", "")) else "",
            pattern=rows.get("pattern", ""),
            fps=_rate(rows.get("fps", "")),
            is_resampled=rows.get("resampled") == "yes",
            is_variable=rows.get("variable") == "yes",
            first_frame=int(rows["first_frame"]) if "first_frame" in rows else None,
            end_frame=int(rows["end_frame"]) if "end_frame" in rows else None,
            digest=rows.get("digest", ""),
        )
    except (KeyError, ValueError, TypeError):
        return None


def _seconds(text: str | None) -> float | None:
    seconds = None if text is None else float(text)
    if seconds is not None and not math.isfinite(seconds):
        raise ValueError(text)
    return seconds


def file_content(path: Path) -> tuple[int, str]:
    """The size of a file, and a fingerprint of it: blake2b of the size and of three pieces of 64 KiB.

    The pieces are the first, the middle and the last one; a file of up to 192 KiB is read whole. OSError.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        digest = blake2b(b"%d\n" % size, digest_size=DIGEST)
        if size <= 3 * PIECE:
            digest.update(file.read(3 * PIECE))
        else:
            for place in (0, (size - PIECE) // 2, size - PIECE):
                file.seek(place)
                digest.update(file.read(PIECE))
    return size, digest.hexdigest()


def folder_content(frames: Sequence[Path]) -> tuple[int, str]:
    """The bytes of all frames together, and a fingerprint: blake2b of names, sizes and the first and last file.

    OSError; VideoSourceError for what is no file, such as a pipe, which would never end.
    """
    sizes = [_size(path) for path in frames]
    digest = blake2b(b"frames\n", digest_size=DIGEST)
    for path, size in zip(frames, sizes, strict=True):
        digest.update(b"%s\0%d\n" % (os.fsencode(path.name), size))
    for path in (frames[0], frames[-1]) if frames else ():
        for piece in _pieces(path):
            digest.update(piece)
    return sum(sizes), digest.hexdigest()


class FramesDigest:
    """A digest of a video's frames as they are stored: blake2b of the size and the bytes of each, in their order."""

    def __init__(self) -> None:
        self._hash = blake2b(digest_size=DIGEST)

    def add(self, jpeg: bytes) -> None:
        """Add the next frame."""
        self._hash.update(b"%d\n" % len(jpeg))
        self._hash.update(jpeg)

    def text(self) -> str:
        """The digest of the frames so far, as the row `digest` has it."""
        return self._hash.hexdigest()


def whole_content(files: Sequence[Path]) -> str:
    """A fingerprint of all bytes of the files: blake2b. OSError."""
    digest = blake2b(digest_size=DIGEST)
    for path in files:
        digest.update(b"%d\n" % path.stat().st_size)
        for piece in _pieces(path):
            digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    """The bytes of a file, a mebibyte at a time: a frame of 3 GB, which no JPEG has, would fill the memory."""
    with path.open("rb", buffering=0) as file:
        while piece := file.read(2**20):
            yield piece


def _size(path: Path) -> int:
    status = path.stat() if path.exists() else None
    if status is None or not stat.S_ISREG(status.st_mode):
        raise VideoSourceError(f"{path.name} is no file, or a link to none")
    return status.st_size


def _text(value: str) -> str:
    """File names may hold bytes that are not UTF-8, which SQLite's texts cannot."""
    return os.fsencode(value).decode("utf-8", errors="replace")
