"""Reads a few bytes at rising places of a file, without a call to the system for each."""

import zlib
from typing import BinaryIO

WINDOW = 16384
PIECE = 1 << 20  # of what is looked at whole: it may be as long as the file
ZEROS = bytes(PIECE)


class FileWindow:
    """The bytes of a file of `size` bytes, of which a part is in memory."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._base, self._data = 0, b""

    def at(self, place: int, count: int) -> bytes:
        """The bytes there; fewer at the file's end."""
        start = place - self._base
        if place >= self._size:
            return b""
        if start < 0 or start + count > len(self._data):
            self._file.seek(place)
            self._base, self._data, start = place, self._file.read(max(WINDOW, count)), 0
        return self._data[start : start + count]

    def aside(self, place: int, count: int) -> bytes:
        """As `at`; the part in memory stays, so that a look far ahead does not cost it."""
        start = place - self._base
        if start < 0 or start + count > len(self._data):
            self._file.seek(place)
            return self._file.read(count)
        return self._data[start : start + count]

    def rest(self, place: int) -> bytes:
        """What is in memory from there on, one byte or more; empty at the file's end."""
        return self._data[place - self._base :] if self.at(place, 1) else b""

    def find(self, marker: bytes, place: int) -> int:
        """The next place of the marker; -1 if there is none."""
        count = len(marker)  # what is in memory is searched first: a damaged file may hold a marker every few bytes
        while len(self.at(place, count)) >= len(marker):
            if (found := self._data.find(marker, place - self._base)) >= 0:
                return self._base + found
            place = self._base + len(self._data) - len(marker) + 1
            count = PIECE
        return -1

    def after_zeros(self, place: int) -> int:
        """The next place of a byte that is not 0; the file's end if there is none."""
        data = self.rest(place)
        while data:
            place += len(data)
            if data != ZEROS[: len(data)] and (others := data.lstrip(b"\0")):
                return place - len(others)
            data = self.at(place, PIECE)
        return place

    def checksum(self, place: int, count: int) -> int:
        """The CRC-32 of the bytes, as far as they are in the file."""
        value, end = 0, place + count
        while data := self.at(place, max(0, min(PIECE, end - place))):
            value = zlib.crc32(data, value)
            place += len(data)
        return value
