"""Edit lists of MP4 files that show frames more than once: a small file could fill a disk with them."""

import struct
from pathlib import Path

import pytest

from data.store import video_frames
from data.store.keyframe_index import index_video
from data.store.video_container import VideoError
from data.store.video_file import VideoReader
from tests.numbered import encode_numbered_video

FRAMES = 40


def box(content: bytes | bytearray, names: list[bytes], start: int = 0) -> tuple[int, int]:
    """Where a box in boxes begins and ends."""
    place = start
    while True:
        length = int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] == names[0]:
            return (place, place + length) if len(names) == 1 else box(content, names[1:], place + 8)
        place += length


def shown_again(path: Path, times: int) -> Path:
    """A video of FRAMES frames whose edit list shows it so many times."""
    content = bytearray(encode_numbered_video(path, FRAMES).read_bytes())
    movie, track, header = (box(content, [b"moov", *names]) for names in ([], [b"trak"], [b"mvhd"]))
    assert movie[0] > box(content, [b"mdat"])[0], "else the places of the frames would change"
    start, end = box(content, [b"moov", b"trak", b"edts"])
    media_time = content[start + 28 : start + 32]
    edit = content[header[0] + 24 : header[0] + 28] + media_time + b"\0\1\0\0"
    edits = struct.pack(">I4sII", 16 + 12 * times, b"elst", 0, times) + edit * times
    content[start:end] = struct.pack(">I4s", 8 + len(edits), b"edts") + edits
    for begin, finish in (movie, track):
        content[begin : begin + 4] = (finish - begin + 8 + len(edits) - (end - start)).to_bytes(4, "big")
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("times", [1, 5])
def test_frames_that_are_shown_again_are_said(tmp_path: Path, times: int) -> None:
    """A video of many copies of a few frames was converted without a word."""
    path = shown_again(tmp_path / "a.mp4", times)
    reader = VideoReader(path, 64)
    index = index_video(path)
    said = f"its edit list shows {(times - 1) * FRAMES} frames again" if times > 1 else ""
    assert len(list(reader)) == len(index.times) == times * FRAMES
    assert [line for line in reader.warnings if "edit" in line] == ([said] if said else []) and index.warning == said


@pytest.mark.parametrize("times", [20, 5000])
def test_a_small_file_does_not_become_a_video_of_millions_of_frames(
    tmp_path: Path, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 KB took hours of every command, and the disk: FFmpeg shows the frames for each edit."""
    monkeypatch.setattr(video_frames, "MOST_REPEATED", 100)
    path = shown_again(tmp_path / "a.mp4", times)
    why = (
        "5000 parts, more than it has bytes"
        if times == 5000
        else "edit list shows 40 frames again, more than 100 times"
    )
    for read in (index_video, lambda path: list(VideoReader(path, 64))):
        with pytest.raises(VideoError, match=why):
            read(path)
