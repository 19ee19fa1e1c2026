"""What the disk or the memory did not give for a moment is no damage: a whole file would be left out, or deleted."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from common import files
from data.store import video_error
from data.store.indexed_video import IndexedVideo
from data.store.keyframe_index import index_video
from data.store.video_error import UnreadableError, VideoError, check_system
from data.store.video_file import Span, VideoReader, check_whole
from data.store.video_source import VideoSourceError
from tests.data.store.test_indexed_video import part_of
from tests.failing_disk import fail_from
from tests.numbered import encode_video

FILES = {
    "v.mp4": {"options": {"g": "8"}, "container_options": {"movflags": "faststart"}},
    "v.mkv": {"options": {"g": "8"}},
    "v.ts": {"options": {"g": "8"}},
    "v.avi": {"codec": "mpeg4"},
    "v.mpg": {"codec": "mpeg2video"},
    "v.h264": {"options": {"g": "8"}},
}


@pytest.fixture(params=FILES)
def half(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A whole video of which the disk gives the first half."""
    path = encode_video(tmp_path / request.param, noisy(40), **FILES[request.param])  # type: ignore[arg-type]
    fail_from(monkeypatch, path, path.stat().st_size // 2)
    return path


def noisy(frames: int) -> list[np.ndarray]:
    return [np.random.default_rng(number).integers(0, 255, (96, 96, 3), np.uint8) for number in range(frames)]


def test_an_error_of_the_disk_is_no_damage(half: Path) -> None:
    """FFmpeg makes half a packet of it, and "cut short" invites to delete the file."""
    with pytest.raises((UnreadableError, OSError), match="Input/output error"):
        index_video(half)
    for keep_partial in (None, False, True):
        with pytest.raises(UnreadableError, match="Input/output error"):
            list(VideoReader(half, 96, keep_partial=keep_partial))


def test_a_clip_that_ends_where_the_disk_fails_is_not_taken_for_short(half: Path) -> None:
    with pytest.raises(UnreadableError, match="Input/output error"):
        list(VideoReader(half, 96, Span(0.2, 1.6), keep_partial=True))


def test_damage_is_still_damage(tmp_path: Path) -> None:
    """With --keep-partial, the rest of a file that can be read is kept."""
    path = encode_video(tmp_path / "v.mp4", noisy(40), **FILES["v.mp4"])  # type: ignore[arg-type]
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(VideoError, match="cut short") as error:
        check_whole(path)
    assert not isinstance(error.value, UnreadableError)
    reader = VideoReader(path, 96, keep_partial=True)
    assert 10 < sum(1 for _ in reader) < 40 and reader.losses


def test_a_clip_in_training_says_that_the_disk_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It said to replace or remove the file."""
    path = encode_video(tmp_path / "v.mp4", noisy(40), **FILES["v.mp4"])  # type: ignore[arg-type]
    part = part_of(path)
    fail_from(monkeypatch, path, path.stat().st_size // 2)
    with pytest.raises(VideoSourceError, match=r"cannot be read \(Input/output error\).* may be whole") as error:
        IndexedVideo(part).read([30])
    assert "replace" not in str(error.value)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENXIO, errno.EMFILE])
def test_an_error_that_only_the_system_has_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """It has passed when the file is read again, as that of a server that did not answer."""
    path = encode_video(tmp_path / "v.mp4", noisy(20), **FILES["v.mp4"])  # type: ignore[arg-type]

    def fail(*_: object) -> None:
        av.error.err_check(-number)

    monkeypatch.setattr("data.store.video_frames.FrameDecoder._inspect", fail)
    with pytest.raises(UnreadableError):
        list(VideoReader(path, 96, keep_partial=True))
    check_system(OSError(errno.EIO, "as FFmpeg says of some files that are cut"))


def test_damage_is_not_told_with_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder without memory may say that the data is invalid."""
    path = encode_video(tmp_path / "v.mp4", noisy(40), **FILES["v.mp4"])  # type: ignore[arg-type]
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(3000) + data[half + 3000 :])
    with pytest.raises(VideoError, match="zeros"):
        index_video(path)
    monkeypatch.setattr(video_error, "NEEDED", 2**62)
    with pytest.raises(UnreadableError, match="memory"):
        index_video(path)
    with pytest.raises(UnreadableError, match="memory"):
        list(VideoReader(path, 96, keep_partial=True))


def test_a_large_file_that_is_no_video_is_not_read_for_hours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive of some KB may hold a file of terabytes, which is a hole; the command could not be stopped."""
    path = tmp_path / "v.mp4"
    path.write_bytes(b"no video")
    with path.open("r+b") as file:
        file.truncate(2**43)
    with pytest.raises(VideoError, match="opened as a video"):
        index_video(path)
    fail_from(monkeypatch, encode_video(tmp_path / "w.mp4", noisy(4)), 1000)
    monkeypatch.setattr(files, "LONGEST", 0.0)
    video_error.check_readable(tmp_path / "w.mp4")
    monkeypatch.setattr(files, "LONGEST", 30.0)
    with pytest.raises(UnreadableError):
        video_error.check_readable(tmp_path / "w.mp4")


SMALL = """
import resource, sys
from data.labels import index_cache
whole = index_cache._index(sys.argv[1])
assert not whole.problem, whole.problem
with open("/proc/self/statm") as file:
    now = int(file.read().split()[0]) * resource.getpagesize()
for left in (8, 12, 16, 24, 32):
    resource.setrlimit(resource.RLIMIT_AS, (now + (left << 20), resource.getrlimit(resource.RLIMIT_AS)[1]))
    found = index_cache._index(sys.argv[1])
    print(left, found.problem, found.is_kept)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
def test_a_file_that_needs_more_memory_than_there_is_is_not_kept_as_damaged(tmp_path: Path) -> None:
    """It was left out of every later start."""
    frames = (np.full((1500, 2000, 3), 20 * number, np.uint8) for number in range(4))
    path = encode_video(tmp_path / "v.mp4", frames)
    command = [sys.executable, "-c", SMALL, str(path)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True, timeout=100).stdout.splitlines()
    assert len(lines) == 5 and any("memory" in line for line in lines), lines
    assert all("memory" in line and line.endswith("False") for line in lines if line.split()[1] != "True"), lines
