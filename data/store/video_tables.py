"""Finds absurd tables in MP4 and MOV files (ISO 14496-12): FFmpeg takes memory for each sample that they promise.

An edit list promises samples, too: each of its edits may show all.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

FOLDERS = (b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf")
COUNT_PLACES = {b"stsz": 8, b"stz2": 8, b"trun": 4}  # where a table's number of samples stands
EDIT_BYTES = (12, 20)  # of an edit, by the version of the list
OLD_SOUND = 64  # samples of old compressed sound are shorter than a byte
MOST_BOXES = 100_000


def absurd_promise(path: Path) -> str:
    """What a table promises that is more than the file has bytes, for a message; empty if there is no such table."""
    size = path.stat().st_size
    with path.open("rb") as file:
        is_video, edits, samples = True, 0, 0
        for number, (name, place, length) in enumerate(boxes(file, 0, size)):
            if number == MOST_BOXES:
                break
            if name == b"trak":
                is_video, edits, samples = True, 0, 0
            elif name == b"hdlr" and length >= 12 and _read(file, place + 4, 4) != b"dhlr":  # of the data, in MOV
                is_video = _read(file, place + 8, 4) == b"vide"
            elif name == b"elst" and length >= 8:
                version, count = _read(file, place, 1)[:1], int.from_bytes(_read(file, place + 4, 4), "big")
                edits = min(count, (length - 8) // EDIT_BYTES[version == b"\1"])
            elif name in COUNT_PLACES and length >= COUNT_PLACES[name] + 4:
                count = int.from_bytes(_read(file, place + COUNT_PLACES[name], 4), "big")
                if count > (size if is_video or name == b"trun" else OLD_SOUND * size):
                    return f"{count} frames or samples"
                samples = count if name != b"trun" else samples
            if edits > 1 and edits * samples > (size if is_video else OLD_SOUND * size):
                return f"up to {edits * samples} frames or samples by an edit list of {edits} parts"
    return ""


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
        if length < head or place + head > end or not name.isalnum():
            continue
        if place + length < end:
            waiting.append((place + length, end))
        if name in FOLDERS:
            waiting.append((place + head, min(end, place + length)))
        yield name, place + head, length - head


def _read(file: BinaryIO, place: int, count: int) -> bytes:
    file.seek(place)
    return file.read(count)
