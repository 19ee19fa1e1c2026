"""Finds absurd tables in MP4 and MOV files (ISO 14496-12): FFmpeg takes memory for each sample that they promise.

An edit list promises samples, too: each of its edits may show all.
"""

import zlib
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from data.store.video_boxes import boxes, number_at, read_at

COMPRESSED = b"cmov"
COUNT_PLACES = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # where a table's number of samples stands
ITEM_PLACES = {
    b"keys": (0, 4),
    b"iinf": (1, 4),
    b"iloc": (2, 6),
}  # of names and pictures: from which version, and where
EDIT_BYTES = (12, 20)  # of an edit, by the version of the list
OLD_SOUND = 64  # samples of old compressed sound are shorter than a byte
MOST_HEADER = 1 << 26  # bytes that compressed headers may unpack to
MOST_BOXES = 5_000_000  # that is looked at; a fragment has seven, and some writers begin one for each frame
MOST_FILES = 8192  # whose answer is kept: with a fragment for each frame, looking takes as long as opening


def absurd_promise(path: Path) -> str:
    """What is absurd in a file's tables, such as more samples than the file has bytes; empty if nothing is."""
    stat = path.stat()
    return _absurd(path.absolute(), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(MOST_FILES)
def _absurd(path: Path, size: int, _modified: int, _changed: int) -> str:
    with path.open("rb") as file:
        return _Promises(size).absurd(file, size)


class _Promises:
    """What the boxes of a file of `size` bytes promise together, with those of its compressed headers."""

    def __init__(self, size: int) -> None:
        self.size, self.boxes, self.unpacked = size, 0, 0
        self.is_video, self.edits, self.samples = True, 0, 0  # of the last track
        self.before = {True: 0, False: 0}  # samples of fragments and of the tracks before it: of videos, of others

    def absurd(self, file: BinaryIO, length: int, is_unpacked: bool = False) -> str:
        """What is absurd once the boxes are added of a file, or of what a header unpacks to."""
        for name, place, held in boxes(file, 0, length):
            self.boxes += 1
            if self.boxes > MOST_BOXES:
                return f"it has more than {MOST_BOXES} boxes"
            if name == b"trak":
                self.before[self.is_video] += max(1, self.edits) * self.samples
                self.is_video, self.edits, self.samples = True, 0, 0
            elif name == b"hdlr" and held >= 12 and read_at(file, place + 4, 4) != b"dhlr":  # of the data, in MOV
                self.is_video = read_at(file, place + 8, 4) == b"vide"
            elif name == COMPRESSED:
                absurd = "it has a compressed header in another" if is_unpacked else self._header(file, place, held)
                if absurd:
                    return absurd
            elif self._add(file, name, place, held) and (absurd := self._too_many()):
                return absurd
        return ""

    def _add(self, file: BinaryIO, name: bytes, place: int, held: int) -> bool:
        """Add what a table promises; False if it is none."""
        if name == b"elst" and held >= 8:
            version, count = read_at(file, place, 1)[:1], number_at(file, place + 4)
            self.edits = min(count, (held - 8) // EDIT_BYTES[version == b"\1"])
        elif name in COUNT_PLACES and held >= COUNT_PLACES[name] + 4:
            count = number_at(file, place + COUNT_PLACES[name])
            if name == b"trun":
                self.before[True] += count
            else:
                self.samples = count
        elif name in ITEM_PLACES and read_at(file, place, 1) >= bytes(ITEM_PLACES[name][:1]):
            self.before[True] += number_at(file, place + ITEM_PLACES[name][1])
        else:
            return False
        return True

    def _too_many(self) -> str:
        of_track = max(1, self.edits) * self.samples
        for is_video, most in ((True, self.size), (False, OLD_SOUND * self.size)):
            count = self.before[is_video] + (of_track if is_video == self.is_video else 0)
            if count > most:
                if self.edits > 1 and is_video == self.is_video:
                    what = f"up to {count} frames or samples by an edit list of {self.edits} parts"
                    return f"it promises {what}, more than it has bytes"
                return f"it promises {count} frames or samples, more than it has bytes"
        return ""

    def _header(self, file: BinaryIO, place: int, held: int) -> str:
        """As `absurd`, of a compressed header of MOV: its length, and a zlib stream of boxes.

        They stand in two boxes, whose lengths FFmpeg does not read.
        """
        if held < 24 or read_at(file, place + 16, 4) != b"cmvd":
            return ""
        length = number_at(file, place + 20)
        self.unpacked += length
        if self.unpacked > MOST_HEADER:
            return f"it promises a header of {self.unpacked} bytes"
        try:
            packed = read_at(file, place + 24, min(held - 24, self.size))
            header = zlib.decompressobj().decompress(packed, MOST_HEADER)
        except zlib.error:
            return ""  # FFmpeg says so
        return self.absurd(BytesIO(header), len(header), is_unpacked=True)
