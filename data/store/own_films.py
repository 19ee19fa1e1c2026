"""The marks in films of evaluate.predict and evaluate.explain, which show other videos and are none to train on."""

import re
import struct
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import BinaryIO

PREDICT, EXPLAIN = "srtg.evaluate.predict", "srtg.evaluate.explain"
"""The marks: what each command writes to the tag `comment`."""
SUFFIX = ".mp4"  # of all such films
MOST_BOXES = 64  # that are looked at on a level
MOST_BYTES = 1 << 16  # of the tags of a file
_NO_LETTER = re.compile(r"[\W_]")


def maker_named(comment: str) -> str:
    """Which command made the film that has a tag `comment`; empty if none did."""
    return comment.removeprefix("srtg.") if comment in (PREDICT, EXPLAIN) else ""


def films_among(folder: Path, files: Collection[str], folders: Iterable[str] = ()) -> dict[str, str]:
    """Those of the video files of a folder that are films, each with the command that made it.

    Only files are opened whose name is that of another video, or folder, with an ending, such as `a_film.mp4` beside
    `a.avi`: there may be very many. Another film is noticed when it is opened as a video.
    """
    stems = {name.rpartition(".")[0] for name in files}.union(folders)
    near = (name for name in files if name[-4:].lower() == SUFFIX and _has_ending(name[:-4], stems))
    return {name: maker for name in near if (maker := _maker(folder / name))}


def _has_ending(stem: str, stems: Collection[str]) -> bool:
    return any(stem[: match.start()] in stems for match in _NO_LETTER.finditer(stem))


def _maker(path: Path) -> str:
    """Which command made a film, by a few bytes of the file; empty if none did, or if it cannot be read."""
    try:
        with path.open("rb", buffering=0) as file:
            place = (0, path.stat().st_size)
            for kind in (b"moov", b"udta"):
                if (found := _box(file, kind, *place)) is None:
                    return ""
                place = found
            file.seek(place[0])
            tags = file.read(min(MOST_BYTES, place[1] - place[0]))
    except OSError:
        return ""
    return next((maker_named(mark) for mark in (PREDICT, EXPLAIN) if mark.encode() in tags), "")


def _box(file: BinaryIO, kind: bytes, start: int, end: int) -> tuple[int, int] | None:
    """Where the content of the first box of a kind (ISO 14496-12, section 4.2) begins and ends."""
    for _ in range(MOST_BOXES):
        if start + 8 > end:
            return None
        file.seek(start)
        header = file.read(16)
        if len(header) < 16:
            return None
        length, head = struct.unpack(">I", header[:4])[0], 8
        if length == 1:
            length, head = struct.unpack(">Q", header[8:])[0], 16
        length = length or end - start
        if length < head:
            return None
        if header[4:8] == kind:
            return start + head, min(end, start + length)
        start += length
    return None
