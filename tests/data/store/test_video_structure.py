"""Walks over the structure of damaged files end: a worker would read one file for ever, or take all memory for it."""

import itertools
import time
import tracemalloc
from io import BytesIO
from pathlib import Path

import pytest

from data.store.video_structure import breaks
from data.store.video_transport import transport_breaks
from tests.numbered import encode_numbered_video

CLUSTER = bytes.fromhex("1F43B675")


@pytest.mark.parametrize("cut", [False, True])
def test_a_cluster_without_a_length_is_passed_over(tmp_path: Path, cut: bool) -> None:
    """One changed byte held a worker for ever, in each clip behind it."""
    clusters = {"container_options": {"cluster_time_limit": "400"}}
    path = encode_numbered_video(tmp_path / "v.mkv", 60, options={"g": "5"}, **clusters)
    data = bytearray(path.read_bytes())
    places = [place for place in range(len(data)) if data.startswith(CLUSTER, place)]
    assert len(places) > 3
    place = places[2]
    if cut:
        del data[place + 4 :]
    else:
        data[place + 4] = 0
    path.write_bytes(data)
    found = list(itertools.islice(breaks(path, 1), 5))
    assert [each.place for each in found] == ([place, len(data)] if cut else [place]) or len(found) == 1


def test_a_file_of_damaged_clusters_is_read_once(tmp_path: Path) -> None:
    """For each of them, the megabyte behind it was read anew: 2 MB took minutes."""
    path = tmp_path / "v.mkv"
    path.write_bytes(bytes.fromhex("1A45DFA380") + (CLUSTER + b"\0") * 40_000)
    start = time.process_time()
    assert len(list(breaks(path, 1))) == 40_000
    assert time.process_time() - start < 10


@pytest.mark.parametrize("start", [b"\0\0\1\xba" + b"!\0\1\0\1\x80\0\1", b"\x89PNG\r\n\x1a\n\x04\0\0\0IDAT"])
def test_padding_and_long_chunks_are_not_read_into_memory(tmp_path: Path, start: bytes) -> None:
    """Recorders leave gigabytes of zeros behind the end of a file."""
    path = tmp_path / "v"
    path.write_bytes(start)
    with path.open("r+b") as file:
        file.truncate(2**26 + 100)
    tracemalloc.start()
    list(itertools.islice(breaks(path, 1), 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**24


@pytest.mark.parametrize("padding", [b"", bytes(40_000), b"x" * 40_000, b"\0x\0", b"\0", b"\0\0"])
def test_only_zeros_may_stand_before_a_pack(tmp_path: Path, padding: bytes) -> None:
    path = encode_numbered_video(tmp_path / "v.mpg", 20, codec="mpeg2video")
    data = path.read_bytes()
    place = data.index(b"\0\0\1\xba", 1)
    path.write_bytes(data[:place] + padding + data[place:])
    assert [each.place for each in breaks(path, 1)] == ([place] if padding.strip(b"\0") else [])


def test_what_may_be_tags_behind_a_break_is_looked_at_once(tmp_path: Path) -> None:
    """For each of these bytes, 16 KB were read anew: 2.5 seconds a megabyte."""
    path = encode_numbered_video(tmp_path / "v.flv", 20, codec="flv1")
    end = path.stat().st_size
    path.write_bytes(path.read_bytes() + b"\x08\x08\0\0" * 2**22)
    start = time.process_time()
    assert [end - 4 <= each.place <= end + 4 for each in breaks(path, 1)] == [True]
    assert time.process_time() - start < 8


def packet(counter: int, clock: int) -> bytes:
    """A packet of a transport stream that starts a frame."""
    parts = [0x21 | clock >> 29 & 14, clock >> 22 & 255, clock >> 14 & 254 | 1, clock >> 7 & 255, clock << 1 & 254 | 1]
    start = bytes([0x47, 0x41, 0, 0x10 | counter & 15]) + b"\0\0\1\xe0\0\0\x80\x80\5" + bytes(parts)
    return start.ljust(188, b"\xff")


def test_a_bad_reception_is_read_in_the_time_of_a_good_one() -> None:
    """For each lost packet, the megabytes around it were copied: 6 MB took minutes."""
    data = b"".join(packet(3 * number, 1000 + number) for number in range(8000))
    start = time.process_time()
    assert len(list(transport_breaks(BytesIO(data), 256))) == 7999
    assert not list(transport_breaks(BytesIO(b"".join(packet(3 * number, 1000) for number in range(8000))), 256))
    assert time.process_time() - start < 3


def test_bytes_between_packets_are_passed_over_in_little_time() -> None:
    """For each such place, 7 MB were read: 10 MB of them took minutes."""
    ten = b"".join(packet(number, 1000) for number in range(10))
    start = time.process_time()
    assert len(list(transport_breaks(BytesIO((ten + b"x") * 3000), 256))) == 3000
    assert time.process_time() - start < 8
