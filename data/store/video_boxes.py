"""The boxes of MP4 and MOV files (ISO 14496-12), wherever FFmpeg reads them."""

from collections.abc import Iterator
from typing import BinaryIO

# FFmpeg reads boxes that it knows in all of these.
FOLDERS = {
    *(b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"moof", b"traf", b"mvex", b"dinf", b"udta", b"tref"),
    *(b"ilst", b"sinf", b"schi", b"ipco"),
}
ODD_FOLDERS = {b"meta", b"stsd", b"wave", b"iprp", b"free", b"hoov"}  # and in these, but not from their first byte on
HEADERS = (b"mvhd", b"cmov")  # a box that begins with one is a `moov`
ENTRY = b"entry"  # stands for a name of a sample description's entries: their names are those of codecs
ENTRY_FIELDS = (16, 36, 52, 72, 86)  # bytes before the boxes in one: of systems, of sound by its version, of videos
MOST_ENTRIES = 1024  # FFmpeg refuses more
_STEP = 1 << 16


def boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, place and length in bytes of the content of each box, with those inside others."""
    waiting, last, entries = [(start, end)], end, set[int]()
    while waiting:
        place, end = waiting.pop()
        header = read_at(file, place, 16)
        length, name, head = int.from_bytes(header[:4], "big"), header[4:8], 8
        if length == 1 and len(header) == 16:
            length, head = int.from_bytes(header[8:], "big"), 16
        length = end - place if length == 0 else length  # to the end
        if length < head or place + head > end or len(name) < 4:
            continue  # FFmpeg goes on behind any name
        inside, behind = place + head, place + length
        if behind < end:
            waiting.append((behind, end))
        yield name, inside, length - head
        if name in FOLDERS:
            waiting.append((inside, min(end, behind)))
        elif name == b"stsd":
            for entry, length in _entries(file, inside, min(end, behind), entries):
                yield ENTRY, entry + 8, length - 8
                until = min(last, entry + length)
                waiting += [(entry + fields, until) for fields in _fields(file, entry) if entry + fields < until]
        elif name in ODD_FOLDERS:
            waiting += _inside(file, name, inside, min(end, behind), last)


def _inside(file: BinaryIO, name: bytes, place: int, end: int, last: int) -> list[tuple[int, int]]:
    """Where the boxes begin and end within one of ODD_FOLDERS."""
    if name == b"meta":  # four bytes come first, but not in MOV; FFmpeg looks for `hdlr`
        found = _handler(file, place, end)
        return [(found - 4, end)] if found > place else []
    if name == b"wave":  # of ALAC, FFmpeg may pass over eight bytes
        return [(place + 8, end), (place, end)]
    if name == b"iprp":  # may be longer than what it is in
        return [(place, min(last, place + number_at(file, place)))]
    return [(place, end)] if read_at(file, place + 4, 4) in HEADERS else []


def _handler(file: BinaryIO, place: int, end: int) -> int:
    """The place of the first `hdlr` that stands a multiple of four bytes from `place`; -1 if there is none."""
    for start in range(place, end, _STEP):
        part = read_at(file, start, min(_STEP, end - start))
        found = part.find(b"hdlr")
        while found > 0 and found % 4:
            found = part.find(b"hdlr", found + 1)
        if found >= 0:
            return start + found
        if not part:
            break
    return -1


def _entries(file: BinaryIO, place: int, end: int, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Place and length of the entries of a sample description.

    FFmpeg does not ask whether they end with it, and goes on behind the fields of one that is shorter than these.
    """
    places = {place + 8}
    for _ in range(min(number_at(file, place + 4), (end - place) // 8, MOST_ENTRIES)):
        places -= seen
        seen |= places
        following = set()
        for entry in places:
            if (length := number_at(file, entry)) >= 8:
                yield entry, length
                missing = 8 if length < 16 else 0
                following.add(entry + length)
                following.update(entry + each - missing for each in _fields(file, entry) if each > length)
        places = following


def _fields(file: BinaryIO, entry: int) -> list[int]:
    """How many bytes may come before the boxes of a sample description's entry; videos of few colours list these."""
    colours = read_at(file, entry + 82, 12)
    first, last = int.from_bytes(colours[4:8], "big"), int.from_bytes(colours[10:12], "big")
    if len(colours) == 12 and colours[1] & 0x1F in (1, 2, 4, 8) and first <= last <= 255:
        return [*ENTRY_FIELDS, 94 + 8 * (last + 1 - first)]
    return [*ENTRY_FIELDS, 94]


def number_at(file: BinaryIO, place: int) -> int:
    """The four bytes from `place` on as a number."""
    return int.from_bytes(read_at(file, place, 4), "big")


def read_at(file: BinaryIO, place: int, count: int) -> bytes:
    """Up to `count` bytes from `place` on."""
    file.seek(place)
    return file.read(count)
