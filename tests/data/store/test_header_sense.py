"""Headers with a changed bit: videos had two million frames a second, or a tenth of their frames, without a word."""

import struct
from pathlib import Path

import pytest

from data.store.keyframe_index import index_video
from data.store.video_file import VideoReader
from tests.numbered import encode_numbered_video

SECONDS = 2.4
H264 = {"options": {"g": "10", "bf": "2", "preset": "medium", "threads": "1"}}


def changed(path: Path, box: bytes, place: int, value: float) -> Path:
    """The same file with another number of four bytes in a box, `place` bytes behind its name."""
    data = bytearray(path.read_bytes())
    at = data.index(box) + 4 + place
    data[at : at + 4] = struct.pack(">I", round(value))
    path.write_bytes(data)
    return path


def said(path: Path) -> list[str]:
    """What a conversion says; an index says the same."""
    reader = VideoReader(path, 64)
    number = len(list(reader))
    index = index_video(path)
    assert len(index.times) == number and ([index.warning] if index.warning else []) == reader.losses
    return reader.losses


@pytest.mark.parametrize("rate", [1000, 2_000_000])
def test_a_rate_that_no_video_has_is_said(tmp_path: Path, rate: int) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 60, **H264)
    changed(path, b"mdhd", 12, 512 * rate)
    assert said(path) == ([] if rate == 1000 else ["its times make 2,000,000 frames a second"])


@pytest.mark.parametrize(
    ("start", "shown", "stated", "is_said"),
    [
        (0.08, SECONDS, SECONDS, False),  # frames between need it
        (0.08, 0.4, SECONDS, True),  # a bit of its length
        (1.76, SECONDS, SECONDS, True),  # of its start
        (0.08, 0.4, 0.4, False),  # cut at its end, as telephones do
        (1.76, 0.72, 0.72, False),  # at its start, as `ffmpeg -ss -c copy` does
        (1.76, 0.72, SECONDS, False),  # as older versions did
    ],
)
def test_an_edit_list_that_hides_most_frames_is_said_unless_another_length_agrees(
    tmp_path: Path, start: float, shown: float, stated: float, is_said: bool
) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 60, **H264)
    changed(path, b"elst", 8, 1000 * shown)
    changed(path, b"elst", 12, 25 * 512 * start)
    changed(path, b"tkhd", 20, 1000 * stated)
    lines = said(path)
    assert [line for line in lines if line.startswith("its edit list shows")] == lines
    assert len(lines) == is_said
