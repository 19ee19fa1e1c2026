"""Finds video files that are cut short; decoders often report no error at such an end."""

import os
import struct
from pathlib import Path
from typing import BinaryIO

EBML, SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
BOX_TYPES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
TOLERANCE = 64  # bytes: some writers count a header or padding that they do not write


def missing_bytes(path: Path) -> int:
    """How many bytes are missing at the end of an AVI, MP4/MOV or Matroska/WebM file; 0 if none or unknown."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(12)
        if start[:4] == b"RIFF":
            end = 8 + struct.unpack("<I", start[4:8])[0]
            end = 0 if end in (8, 8 + 0xFFFFFFFF) else end  # never finished, or over 4 GiB
        elif start[:4] == EBML:
            end = _matroska_end(file)
        elif start[4:8] in BOX_TYPES:
            end = _boxes_end(file, size)
        else:
            end = 0
    return end - size if end > size + TOLERANCE else 0


def _boxes_end(file: BinaryIO, size: int) -> int:
    """Where the last of a file's top-level boxes (ISO 14496-12, section 4.2) ends."""
    position = 0
    while position + 8 <= size:
        file.seek(position)
        header = file.read(16)
        length = struct.unpack(">I", header[:4])[0]
        if length == 1 and len(header) == 16:
            length = struct.unpack(">Q", header[8:])[0]
        if length < 8 or not header[4:8].isalnum():  # 0 is "to the end"; the rest are no boxes but padding
            return position
        position += length
    return position


def _matroska_end(file: BinaryIO) -> int:
    """Where the segment (RFC 9559) that follows the EBML header (RFC 8794) ends; 0 if its length is not given."""
    file.seek(4)
    header_length = _variable_integer(file)
    if header_length is None:
        return 0
    file.seek(header_length, os.SEEK_CUR)
    if file.read(4) != SEGMENT:
        return 0
    length = _variable_integer(file)
    return 0 if length is None else file.tell() + length


def _variable_integer(file: BinaryIO) -> int | None:
    """An EBML length: the number of leading zero bits says how many bytes follow; all ones is "unknown"."""
    first = file.read(1)
    if not first or first[0] == 0:
        return None
    extra = 8 - first[0].bit_length()
    value = int.from_bytes(bytes([first[0] & (0x7F >> extra)]) + file.read(extra), "big")
    return None if value == (1 << 7 * (extra + 1)) - 1 else value
