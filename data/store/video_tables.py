"""Finds absurd tables in MP4 and MOV files (ISO 14496-12): FFmpeg takes memory for each sample that they promise.

An edit list promises samples, too: each of its edits may show all.
"""

import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

COMPRESSED, PACKED = b"cmov", b"cmvd"
# FFmpeg reads boxes that it knows in all of these.
FOLDERS = {
    *(b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"dinf", b"udta", b"tref"),
    *(b"ilst", b"wave", b"sinf", b"schi", COMPRESSED),
}
COUNT_PLACES = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # where a table's number of samples stands
EDIT_BYTES = (12, 20)  # of an edit, by the version of the list
OLD_SOUND = 64  # samples of old compressed sound are shorter than a byte
MOST_HEADER = 1 << 26  # bytes that a compressed header may unpack to
MOST_BOXES = 5_000_000  # that is looked at; a fragment has seven, and some writers begin one for each frame


def absurd_promise(path: Path) -> str:
    """What is absurd in a file's tables, such as more samples than the file has bytes; empty if nothing is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return _absurd(file, size, size)


def _absurd(file: BinaryIO, length: int, size: int, is_unpacked: bool = False) -> str:
    """As `absurd_promise`, of the boxes of a file of `size` bytes, or of those that its header unpacks to."""
    is_video, edits, samples = True, 0, 0
    for number, (name, place, held) in enumerate(boxes(file, 0, length)):
        if number == MOST_BOXES:
            return f"it has more than {MOST_BOXES} boxes"
        if name == b"trak":
            is_video, edits, samples = True, 0, 0
        elif name == b"hdlr" and held >= 12 and _read(file, place + 4, 4) != b"dhlr":  # of the data, in MOV
            is_video = _read(file, place + 8, 4) == b"vide"
        elif name == PACKED:
            if is_unpacked:
                return "it has a compressed header in another"
            if promised := _absurd_header(file, place, held, size):
                return promised
        elif name == b"elst" and held >= 8:
            version, count = _read(file, place, 1)[:1], int.from_bytes(_read(file, place + 4, 4), "big")
            edits = min(count, (held - 8) // EDIT_BYTES[version == b"\1"])
        elif name in COUNT_PLACES and held >= COUNT_PLACES[name] + 4:
            count = int.from_bytes(_read(file, place + COUNT_PLACES[name], 4), "big")
            if count > (size if is_video or name == b"trun" else OLD_SOUND * size):
                return f"it promises {count} frames or samples, more than it has bytes"
            samples = count if name != b"trun" else samples
        if edits > 1 and edits * samples > (size if is_video else OLD_SOUND * size):
            what = f"up to {edits * samples} frames or samples by an edit list of {edits} parts"
            return f"it promises {what}, more than it has bytes"
    return ""


def _absurd_header(file: BinaryIO, place: int, held: int, size: int) -> str:
    """As `absurd_promise`, of a compressed header of MOV: its length, and a zlib stream of boxes."""
    length = int.from_bytes(_read(file, place, 4), "big")
    if length > MOST_HEADER:
        return f"it promises a header of {length} bytes"
    try:
        header = zlib.decompressobj().decompress(_read(file, place + 4, min(held, size)), MOST_HEADER)
    except zlib.error:
        return ""  # FFmpeg says so
    return _absurd(BytesIO(header), len(header), size, is_unpacked=True)


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length in bytes of the content of each box, with those inside the FOLDERS."""
    waiting = [(start, end)]
    while waiting:
        place, end = waiting.pop()
        header = _read(file, place, 16)
        length, name, head = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1 and len(header) == 16:
            length, head = int.from_bytes(header[8:], "big"), 16
        length = end - place if length == 0 else length  # to the end
        if length < head or place + head > end or len(name) < 4:
            continue  # FFmpeg goes on behind any name
        if place + length < end:
            waiting.append((place + length, end))
        if name in FOLDERS or name == b"meta":
            inside = place + head
            if name == b"meta":  # four bytes come first, but not in MOV
                inside += max(0, _read(file, inside, 4096).find(b"hdlr") - 4)
            waiting.append((inside, min(end, place + length)))
        yield name, place + head, length - head


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)
