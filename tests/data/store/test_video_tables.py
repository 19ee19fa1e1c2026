"""A file of few bytes must not take all memory when it is opened: FFmpeg believes what its tables promise."""

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
import pytest

from data.store import video_tables
from data.store.video_boxes import boxes
from data.store.video_container import MOST_STREAMS, VideoError, open_video
from data.store.video_file import VideoReader
from data.store.video_tables import absurd_promise
from tests.numbered import encode_numbered_video, encode_video

FILE_TYPE = struct.pack(">I4s", 16, b"ftyp") + b"isom\0\0\2\0"


def box(name: bytes, *content: bytes) -> bytes:
    held = b"".join(content)
    return struct.pack(">I4s", 8 + len(held), name) + held


def table(count: int) -> bytes:
    return box(b"moof", box(b"traf", box(b"trun", struct.pack(">III", 1, count, 0))))


def packed(content: bytes, length: int | None = None) -> bytes:
    stated = len(content) if length is None else length
    data = struct.pack(">I", stated) + zlib.compress(content)
    return box(b"moov", box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", data)))


def entry(fields: int, *inside: bytes, depth: int = 24) -> bytes:
    """A description's entry: its fields with the header, and the boxes behind them."""
    head = bytearray(fields - 8)
    if fields >= 86:
        head[74:76] = struct.pack(">H", depth)
    if fields > 86:
        head[84:86] = struct.pack(">H", (fields - 94) // 8 - 1)
    return box(b"avc1", bytes(head), *inside)


def description(*entries: bytes) -> bytes:
    held = struct.pack(">II", 0, sum(1 for each in entries if each.strip(b"\0"))) + b"".join(entries)
    return box(b"moov", box(b"trak", box(b"stbl", box(b"stsd", held))))


HANDLER = box(b"hdlr", bytes(24))
HIDDEN = {
    "plainly": lambda lie: lie,
    "behind a box of any name": lambda lie: box(b"----") + box(b"\xa9 \0\1") + lie,
    "in tags": lambda lie: box(b"udta", lie),
    "in a header of fragments": lambda lie: box(b"mvex", box(b"tref", lie)),
    "in metadata": lambda lie: box(b"meta", bytes(4), HANDLER, lie),
    "in metadata of MOV": lambda lie: box(b"meta", HANDLER, lie),
    "in a compressed header": packed,
    "in a compressed header of lengths that are not read": lambda lie: packed(lie).replace(
        b"\0\0\0\x0cdcom", b"\0\0\0\0dcom"
    ),
    "far behind in metadata": lambda lie: box(b"meta", bytes(2), b"hdlr", bytes(100_002), HANDLER, lie),
    "in a description of a video": lambda lie: description(entry(86, lie)),
    "in a description of a video of four colours": lambda lie: description(entry(94 + 32, lie, depth=2)),
    "in a description of sound": lambda lie: description(entry(36, lie)),
    "in a description of sound of MOV": lambda lie: description(entry(52, box(b"wave", bytes(8), lie))),
    "in a description of many channels": lambda lie: description(entry(72, lie)),
    "in a second description": lambda lie: description(entry(86), entry(86, lie)),
    "behind the fields of a short description": lambda lie: description(
        box(b"avc1", bytes(8)), bytes(70), entry(86, lie)
    ),
    "in a description that is longer than its box": lambda lie: (
        description(entry(86, box(b"free", bytes(8)), lie)[:94]) + box(b"skip", lie)
    ),
    "in properties of pictures": lambda lie: box(b"iprp", box(b"ipco", lie)),
    "in a header under another name": lambda lie: box(b"hoov", box(b"mvhd", bytes(96)), lie),
}


@pytest.mark.parametrize("where", HIDDEN)
def test_a_promise_is_found_wherever_it_is_read(tmp_path: Path, where: str) -> None:
    """2 KB took 4 GB."""
    path = tmp_path / "v.mp4"
    path.write_bytes(FILE_TYPE + HIDDEN[where](table(50_000_000)) + box(b"mdat", bytes(64)))
    assert "promises 50000000 frames or samples, more than it has bytes" in absurd_promise(path)
    with pytest.raises(VideoError, match="is damaged: it promises 50000000"):
        list(VideoReader(path, 64))
    path.write_bytes(FILE_TYPE + HIDDEN[where](table(30)) + box(b"mdat", bytes(64)))
    assert not absurd_promise(path)


def test_what_many_tables_promise_together_counts(tmp_path: Path) -> None:
    """9 KB took 4 GB by six tracks; each may promise as much as the file has bytes."""
    path = tmp_path / "v.mp4"
    path.write_bytes(FILE_TYPE + table(6000) * 20 + box(b"mdat", bytes(6000)))
    assert "promises 12000 frames or samples, more than it has bytes" in absurd_promise(path)
    path.write_bytes(FILE_TYPE + table(300) * 20 + box(b"mdat", bytes(6000)))
    assert not absurd_promise(path)
    track = box(b"trak", box(b"stsz", struct.pack(">III", 0, 1, 6000)), box(b"edts"))
    path.write_bytes(FILE_TYPE + box(b"moov", track) + packed(track * 2) + box(b"mdat", bytes(6000)))
    assert "promises 12000 frames or samples" in absurd_promise(path)
    path.write_bytes(FILE_TYPE + box(b"moov", track) + box(b"mdat", bytes(6000)))
    assert not absurd_promise(path)


@pytest.mark.parametrize("name", ["keys", "iinf", "iloc"])
def test_promised_names_and_pictures_count(tmp_path: Path, name: str) -> None:
    """FFmpeg takes eight bytes for each: 100 bytes took 4 GB."""
    path = tmp_path / "v.mp4"
    for count, is_absurd in ((500_000_000, True), (30, False)):
        start = {"keys": bytes(4), "iinf": b"\1\0\0\0", "iloc": b"\2\0\0\0\0\0"}[name]
        lie = box(b"meta", bytes(4), HANDLER, box(name.encode(), start, struct.pack(">I", count), bytes(60)))
        path.write_bytes(FILE_TYPE + lie + box(b"mdat", bytes(64)))
        assert (f"promises {count}" in absurd_promise(path)) == is_absurd


def test_a_file_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a fragment for each frame it took as long as opening, at each clip; a file that changed is another one."""
    looked: list[int] = []

    def counted(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        looked.append(end)
        return boxes(file, start, end)

    monkeypatch.setattr(video_tables, "boxes", counted)
    path = encode_numbered_video(tmp_path / "v.mp4", 10)
    for _ in range(3):
        with open_video(path):
            pass
    assert len(looked) == 1
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"stsz" + bytes(8), b"stsz" + bytes(7) + b"\1").replace(b"\0\0\0\x0a", b"\x7f\0\0\0")
    )
    os.utime(path, (1, 1))
    assert path.stat().st_size == len(content) and "promises" in absurd_promise(path)
    assert len(looked) == 2


def test_a_compressed_header_that_unpacks_to_gigabytes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.mov"
    path.write_bytes(FILE_TYPE + packed(bytes(1000), 2_000_000_000))
    assert absurd_promise(path) == "it promises a header of 2000000000 bytes"
    path.write_bytes(FILE_TYPE + packed(packed(table(30))))
    assert "compressed header in another" in absurd_promise(path)
    path.write_bytes(FILE_TYPE + box(b"cmov", box(b"cmvd", b"\0\0\0\1damage")))
    assert not absurd_promise(path)


def test_what_many_boxes_would_hide_is_not_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "v.mp4"
    path.write_bytes(FILE_TYPE + box(b"free") * 150_000 + table(50_000_000))
    assert "promises 50000000" in absurd_promise(path)
    monkeypatch.setattr(video_tables, "MOST_BOXES", 100_000)
    os.utime(path, (1, 1))
    assert absurd_promise(path) == "it has more than 100000 boxes"


def test_padding_behind_a_file_is_sound(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 10)
    sound = path.read_bytes()
    for padding in (bytes(5000), b"\xff" * 5000, np.random.default_rng(0).bytes(5000)):
        path.write_bytes(sound + padding)
        assert not absurd_promise(path)


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4", "v.ts"])
@pytest.mark.parametrize("count", [MOST_STREAMS, MOST_STREAMS + 5])
def test_a_file_of_very_many_streams_is_refused(tmp_path: Path, name: str, count: int) -> None:
    """FFmpeg decodes a frame of each when it opens a file: sixty of 8K took 3 GB, and a thousand are allowed."""
    path = tmp_path / name
    with av.open(str(path), "w") as file:
        streams = [file.add_stream("mpeg2video", rate=25) for _ in range(count)]
        for stream in streams:
            stream.width = stream.height = 32
            stream.pix_fmt = "yuv420p"
        for number in range(3):
            for stream in streams:
                frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * number, np.uint8), "rgb24")
                frame.pts = number
                file.mux(stream.encode(frame))
        for stream in streams:
            file.mux(stream.encode(None))
    if count > MOST_STREAMS and name != "v.ts":  # there, FFmpeg passes over the others
        with pytest.raises(VideoError, match=f"more than {MOST_STREAMS} streams"), open_video(path):
            pass
    else:
        with open_video(path) as (container, _):
            assert len(container.streams) == MOST_STREAMS


def test_a_huge_frame_within_a_video_is_not_decoded(tmp_path: Path) -> None:
    """3 MB took 2 GB: the size was known of the first frame alone."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    side = 9000
    lines = zlib.compress(bytes(side * (side // 8 + 2)))
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    huge = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", lines) + chunk(b"IEND", b"")
    small = encode_video(
        tmp_path / "small.mov", [np.zeros((48, 64, 3), np.uint8)] * 10, codec="png", pixel_format="rgb24"
    )
    path = tmp_path / "v.mov"
    with av.open(str(small)) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None:
                each = av.Packet(huge if number == 5 else bytes(packet))
                each.pts, each.dts, each.time_base, each.stream = packet.pts, packet.dts, packet.time_base, stream
                each.is_keyframe = True
                target.mux(each)
    with pytest.raises(VideoError, match="cannot be decoded"):
        list(VideoReader(path, 64))
    kept = VideoReader(path, 64, keep_partial=True)
    assert len(list(kept)) >= 8 and kept.losses
