"""Finds the places where a video file's own structure breaks: a hole, or bytes that are missing between others.

Most containers are chains: each element says where the next one starts. Demuxers look for the next start where a chain
breaks, and say nothing. Payloads are not looked at, except that they are inside of their element.
"""

import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from data.store.file_window import FileWindow
from data.store.truncation import BOX_TYPES
from data.store.video_transport import Break, transport_breaks

MATROSKA_IDS = {
    *(b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67", b"\x11\x4d\x9b\x74", b"\x15\x49\xa9\x66", b"\x16\x54\xae\x6b"),
    *(b"\x1f\x43\xb6\x75", b"\x1c\x53\xbb\x6b", b"\x10\x43\xa7\x70", b"\x12\x54\xc3\x67", b"\x19\x41\xa4\x69"),
    *(b"\xe7", b"\x58\x54", b"\xa7", b"\xab", b"\xa3", b"\xa0", b"\xaf", b"\xec", b"\xbf"),
}
EBML, SEGMENT, CLUSTER = (bytes.fromhex(text) for text in ("1A45DFA3", "18538067", "1F43B675"))
ASF_HEADER, ASF_PROPERTIES, ASF_DATA = (
    bytes.fromhex(text)
    for text in (
        "3026B2758E66CF11A6D900AA0062CE6C",
        "A1DCAB8C47A9CF118EE400C00C205365",
        "3626B2758E66CF11A6D900AA0062CE6C",
    )
)
PNG = b"\x89PNG"
PACK = b"\0\0\1\xba"
FLV_TAG = re.compile(rb"[\x08\x09\x12]")  # sound, video or data
MOST_LOOKED = 250_000  # places behind a break in an FLV file that may be tags: as in 20 MB of random bytes
MIRRORED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def breaks(path: Path, stream_id: int) -> Iterator[Break]:
    """The breaks in an AVI, Matroska, FLV, ASF, Ogg, GIF, APNG, YUV4MPEG or MPEG file, in the order of their places.

    In MP4, only another file that was joined to the first: decoders see garbage where bytes are missing. None for other
    files: elementary streams have no structure. `stream_id` is the video's number in a transport stream.
    """
    size = path.stat().st_size
    with path.open("rb", buffering=0) as file:
        window = FileWindow(file, size)
        start = window.at(0, 16)
        for magic, walk in WALKS.items():
            if start.startswith(magic):
                yield from walk(window, size)
                return
        if start[4:8] in BOX_TYPES:
            yield from _mp4(file, size)
            return
        yield from transport_breaks(file, stream_id)


def _mp4(file: BinaryIO, size: int) -> Iterator[Break]:
    """The top-level boxes (ISO 14496-12, 4.2), for a second table of samples that has data of its own.

    Decoders read the first table only. They do read fragments (`moof`) behind a table that comes again, but not all if
    their numbers begin anew.
    """
    place = second = tables = payloads = 0
    numbers: list[int] = []  # of the first and the last fragments
    before = b""
    while place + 8 <= size:
        file.seek(place)
        header = file.read(24)
        name, length, head = header[4:8], int.from_bytes(header[:4], "big"), 8
        if length == 1:
            length, head = int.from_bytes(header[8:16], "big"), 16
        length = length or size - place  # 0: to the end
        if length < head or not name.isalnum():
            break
        if name == b"moof":
            number = int.from_bytes(header[20:24], "big")
            if tables > 1:
                if numbers and number == numbers[0] and (len(numbers) == 1 or number < numbers[-1]):
                    yield Break(second, second, is_joined=True)
                return
            numbers = [*numbers[:1], number]
        if name == b"ftyp" and place and not second:
            second = place
        tables += name == b"moov"
        payloads += name == b"mdat" and before != b"moof"
        if tables > 1:
            second = second or place
        before = name
        place += length
    if tables > 1 and payloads > 1:
        yield Break(second, second, is_joined=True)


def _matroska(window: FileWindow, size: int) -> Iterator[Break]:
    """The elements of the segment and of its clusters (RFC 9559): one list, as a cluster's end needs no mark."""
    place = start = 0
    while place < size:
        head = window.at(place, 12)
        id_length = 9 - head[0].bit_length()
        length_length = 9 - head[id_length].bit_length() if id_length <= 4 and len(head) > id_length else 9
        name = head[:id_length]
        if name not in MATROSKA_IDS or length_length > 8:
            yield Break(start, place)
            start = place = window.find(CLUSTER, place + 1)  # not the same again, whose length is damaged
            if not 0 <= place < size:
                return
            continue
        if place and name == EBML:
            yield Break(place, place, is_joined=True, is_read=True)
            return
        start = place
        place += id_length + length_length
        if name == SEGMENT:
            bits = 7 * length_length
            length = int.from_bytes(head[4 : 4 + length_length], "big") & (1 << bits) - 1
            size = min(size, place + length)  # an unknown length is greater than any file
        elif name != CLUSTER:
            place += int.from_bytes(head[id_length : id_length + length_length], "big") & (1 << 7 * length_length) - 1
    if place > size:
        yield Break(start, size)
    elif window.at(place, len(EBML)) == EBML:  # behind the segment
        yield Break(place, place, is_joined=True, is_read=True)


def _avi(window: FileWindow, size: int) -> Iterator[Break]:
    """RIFF chunks, and those in the lists that hold frames. Without a second mark, the first break is the last."""
    place = start = 0
    end = 0
    while place + 8 <= size:
        head = window.at(place, 12)
        length = int.from_bytes(head[4:8], "little")
        if head[:4] == b"RIFF":
            end, start, place = place + 8 + length, place, place + 12
        elif end <= place and 8 < end < 0xFFFFFFFF:
            return  # padding behind the last RIFF chunk
        elif head[:4] == b"LIST" and head[8:12] in (b"movi", b"rec "):
            start, place = place, place + 12
        elif not all(32 <= byte < 127 for byte in head[:4]):
            if place % 2 == 0 and start and all(32 <= byte < 127 for byte in window.at(place - 1, 4)):
                place -= 1  # some writers leave out the byte that makes a length even
                continue
            yield Break(start, place)
            return
        else:
            start, place = place, place + 8 + length + (length & 1)
    if place > size + 1:
        yield Break(start, size)


def _flv(window: FileWindow, size: int) -> Iterator[Break]:
    """Tags: a header of 11 bytes, the payload, and the length of both in 4 bytes."""
    start, place = 0, int.from_bytes(window.at(5, 4), "big") + 4
    while place + 11 <= size:
        head = window.at(place, 11)
        length = int.from_bytes(head[1:4], "big") + 11
        after = window.at(place + length, 15)
        told = int.from_bytes(after[:4], "big") == length
        if not told and not (head[0] & 0x1F in (8, 9, 18) and (len(after) < 15 or after[4] & 0x1F in (8, 9, 18))):
            yield Break(start, place)
            place = _next_flv_tag(window, place + 1)
            if place < 0:
                return
            start = place
            continue
        start, place = place, place + length + 4
    if place > size + 4:
        yield Break(start, size)


def _next_flv_tag(window: FileWindow, place: int) -> int:
    """The next place from which three tags follow each other; -1 if there is none, or too many bytes look like one."""
    looked = 0
    while rest := window.rest(place):
        for found in FLV_TAG.finditer(rest):
            looked += 1
            if looked > MOST_LOOKED:
                return -1
            if _three_flv_tags(window, place + found.start()):
                return place + found.start()
        place += len(rest)
    return -1


def _three_flv_tags(window: FileWindow, tag: int) -> bool:
    for _ in range(3):
        length = int.from_bytes(window.aside(tag + 1, 3), "big") + 11
        if int.from_bytes(window.aside(tag + length, 4), "big") != length:
            return False
        tag += length + 4
    return True


def _asf(window: FileWindow, size: int) -> Iterator[Break]:
    """Data packets of one length, each of which starts with the same flags."""
    place, length = 30, 0
    header_end = int.from_bytes(window.at(16, 8), "little")
    while place + 24 <= min(header_end, size):
        if window.at(place, 16) == ASF_PROPERTIES:
            length = int.from_bytes(window.at(place + 92, 4), "little")
        place += max(24, int.from_bytes(window.at(place + 16, 8), "little"))
    if window.at(header_end, 16) != ASF_DATA:
        yield Break(0, header_end)
        return
    data_length = int.from_bytes(window.at(header_end + 16, 8), "little")
    packets = int.from_bytes(window.at(header_end + 40, 8), "little")
    first = header_end + 50
    if length == 0 or not packets or not data_length:
        return  # a broadcast, or never finished
    flags = window.at(first, 1)
    for number in range(packets):
        place = first + number * length
        if place + length > size:
            yield Break(max(first, place - length), size)
            return
        if window.at(place, 1) != flags:
            yield Break(max(first, place - length), place)
    place, length = header_end, data_length
    while length >= 24 and place + length < size:  # the indexes behind the data
        place += length
        if window.at(place, 16) == ASF_HEADER:
            yield Break(place, place, is_joined=True)
            return
        length = int.from_bytes(window.at(place + 16, 8), "little")


def _ogg(window: FileWindow, size: int) -> Iterator[Break]:
    """Pages (RFC 3533), numbered for each stream, each with a checksum."""
    place = start = 0
    numbers: dict[bytes, int] = {}
    while place < size:
        head = window.at(place, 27)
        if head[:4] != b"OggS" or len(head) < 27:
            yield Break(start, place)
            start = place = window.find(b"OggS", place + 1)
            if place < 0:
                return
            numbers.clear()
            continue
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        length = 27 + head[26] + sum(window.at(place + 27, head[26]))
        if numbers.get(serial, number) != number or not _ogg_sum_holds(window.at(place, length)):
            yield Break(start, place)
        numbers[serial] = number + 1
        start, place = place, place + length
    if place > size:
        yield Break(start, size)


def _ogg_sum_holds(page: bytes) -> bool:
    """Whether the checksum is right: zlib's, but for the order of bits and the inversions."""
    told = int.from_bytes(page[22:26], "little")
    mirrored = (page[:22] + bytes(4) + page[26:]).translate(MIRRORED)
    return int(f"{zlib.crc32(mirrored, 0xFFFFFFFF) ^ 0xFFFFFFFF:032b}"[::-1], 2) == told


def _gif(window: FileWindow, size: int) -> Iterator[Break]:
    """Blocks of sub-blocks, up to the trailer."""

    def after_colours(place: int, flags_place: int) -> int:
        flags = int.from_bytes(window.at(flags_place, 1), "big")  # 0 where the file ends before
        return place + (3 << (flags & 7) + 1 if flags & 0x80 else 0)

    def after_sub_blocks(place: int) -> int:
        while place < size and (length := window.at(place, 1)[0]):
            place += 1 + length
        return place + 1

    start, place = 0, after_colours(13, 10)
    while place < size:
        kind = window.at(place, 1)
        if kind == b";":
            return
        if kind not in (b",", b"!"):
            yield Break(start, place)
            return
        start = place
        if kind == b",":
            place = after_colours(place + 10, place + 9) - 1
        place = after_sub_blocks(place + 2)
    if place > size:
        yield Break(start, size)


def _png(window: FileWindow, size: int) -> Iterator[Break]:
    """Chunks with checksums, up to the last one (PNG, section 5), of an animation."""
    start, place = 0, 8
    while place < size:
        head = window.at(place, 8)
        length = int.from_bytes(head[:4], "big") + 12
        if place + length > size:
            break
        if window.checksum(place + 4, length - 8) != int.from_bytes(window.at(place + length - 4, 4), "big"):
            yield Break(place, place)
        if head[4:] == b"IEND":
            if window.at(place + length, len(PNG)) == PNG:
                yield Break(place + length, place + length, is_joined=True)
            return
        start, place = place, place + length
    yield Break(start, size)


def _program(window: FileWindow, size: int) -> Iterator[Break]:
    """Packs and packets of a program stream (ISO 13818-1, 11172-1); zeros may stand before a pack."""
    place = start = 0
    while place + 4 <= size:
        head = window.at(place, 14)
        if head[:3] != b"\0\0\1" or head[3] < 0xB9:
            found = max(place, window.after_zeros(place) - 2)  # where a pack would start
            if found + 2 >= size:
                return
            if window.at(found, 4) != PACK:
                yield Break(start, place)
                found = window.find(PACK, found)
            if found < 0:
                return
            start = place = found
        elif head[3] == 0xB9:
            place += 4
        elif head[3] == 0xBA:
            start, place = place, place + (14 + (head[13] & 7) if len(head) == 14 and head[4] & 0xC0 == 0x40 else 12)
        else:
            length = int.from_bytes(head[4:6], "big")
            start, place = place, place + 6 + length if length else window.find(PACK, place + 6)
            if place < 0:
                return
    if place > size:
        yield Break(start, size)


def _yuv4mpeg(window: FileWindow, size: int) -> Iterator[Break]:
    """Uncompressed frames of one length, each with a line before it."""
    first = window.find(b"FRAME", 0)
    second = window.find(b"FRAME", first + 5) if first >= 0 else -1
    if second < 0:
        return
    for place in range(first, size, second - first):
        if window.at(place, 5) != b"FRAME":
            yield Break(place - (second - first), place)
        elif place + second - first > size:
            yield Break(place, size)


WALKS: dict[bytes, Callable[[FileWindow, int], Iterator[Break]]] = {
    b"\x1a\x45\xdf\xa3": _matroska,
    b"RIFF": _avi,
    b"FLV": _flv,
    ASF_HEADER: _asf,
    b"OggS": _ogg,
    b"GIF8": _gif,
    PNG: _png,
    PACK: _program,
    b"YUV4MPEG2": _yuv4mpeg,
}
