"""A checksum within an .onnx file, whose format has none: the metadata entry `srtg_crc32`.

It holds the CRC-32 and the size of the whole file, computed with zeros in its own place, as a text in JSON: all entries
are JSON. Other readers ignore it.
"""

import mmap
import zlib
from collections.abc import Mapping
from pathlib import Path

CHECKSUM = "srtg_crc32"
EMPTY = f'"{"0" * 8}:{"0" * 12}"'
"""The entry's value while the checksum is computed: in quotes, 8 hex digits, and the size with 12 digits."""
SIZE = EMPTY.index(":")  # where it begins
BLOCK = 2**20

# A metadata entry as protobuf writes it: field 1, the length and the key; field 2, the length and the value.
_BEFORE = b"\x0a" + bytes([len(CHECKSUM)]) + CHECKSUM.encode() + b"\x12" + bytes([len(EMPTY)])


def seal(path: Path) -> None:
    """Write the checksum into a file whose metadata have `CHECKSUM: EMPTY` as their last entry. OSError."""
    with path.open("r+b") as file:
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            at, value = _place_and_value(content)
        assert at, "the metadata lack the checksum's entry"
        file.seek(at)
        file.write(value)


def changed(content: bytes, metadata: Mapping[str, str]) -> str:
    """Whether a file that has this metadata is as it was written: "" if so, or if it has no checksum.

    "damaged" if it has other bytes; "edited" if its size is another one, too, or the entry is written in another way:
    a program has written it anew. One that keeps the size cannot be told from damage.
    """
    if CHECKSUM not in metadata:
        return ""
    at, value = _place_and_value(content)
    found = content[at : at + len(EMPTY)]
    if not at or found[SIZE:] != value[SIZE:]:
        return "edited"
    return "" if found == value else "damaged"


def _place_and_value(content: bytes | mmap.mmap) -> tuple[int, bytes]:
    """Where the entry's value begins, 0 if there is none, and what it must be."""
    at = content.rfind(_BEFORE) + len(_BEFORE)
    if at < len(_BEFORE):
        return 0, b""
    checksum = _crc(content, 0, at, 0)
    checksum = zlib.crc32(EMPTY.encode(), checksum)
    checksum = _crc(content, at + len(EMPTY), len(content), checksum)
    return at, f'"{checksum:08x}:{len(content):012d}"'.encode()


def _crc(content: bytes | mmap.mmap, start: int, end: int, checksum: int) -> int:
    for begin in range(start, end, BLOCK):
        checksum = zlib.crc32(content[begin : min(begin + BLOCK, end)], checksum)
    return checksum
