"""Videos read at another frame rate: the frames that are shown at its steps, of files with all kinds of times."""

from pathlib import Path

import numpy as np
import pytest

from data.store.video_file import Span, VideoError, VideoReader
from tests.numbered import encode_numbered_video, frame_number


def numbers(reader: VideoReader) -> list[int]:
    return [frame_number(frame) for frame in reader]


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi", "v.h264"])
def test_any_format_is_resampled_by_its_times(tmp_path: Path, name: str) -> None:
    encoding = {"codec": "mpeg4"} if name.endswith("avi") else {}
    path = encode_numbered_video(tmp_path / name, 20, rate=25, **encoding)
    reader = VideoReader(path, 360, fps=30)
    assert numbers(reader) == [25 * k // 30 for k in range(24)]
    assert (reader.rate, reader.is_variable, reader.size) == (30, False, (48, 64))
    assert reader.seconds == pytest.approx(0.8)


def test_half_of_the_frames_are_left_out_of_a_fast_video(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 21, rate=60, first_pts=5)
    assert numbers(VideoReader(path, 360, fps=30)) == list(range(0, 21, 2))


def test_a_variable_rate_becomes_even(tmp_path: Path) -> None:
    """A screen recording shows a picture for seconds, and a phone slows down in the dark."""
    pts = [0, 20, 40, 60, 300, 320, 340, 500, 700, 720, 740, 800]
    path = encode_numbered_video(tmp_path / "v.mkv", len(pts), rate=1000, pts=pts)
    reader = VideoReader(path, 360)
    assert numbers(reader) == list(range(12))
    assert reader.rate == pytest.approx(11 / 0.8) and reader.is_variable
    even = VideoReader(path, 360, fps=25)
    expected = [int(np.searchsorted(pts, 40 * k + 4, side="right")) - 1 for k in range(20)]
    assert numbers(even) == expected
    assert (even.rate, even.is_variable) == (25, False)


def test_a_part_starts_with_its_first_frame_and_ends_with_its_end(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 50, rate=25, options={"g": "10", "crf": "10"})
    reader = VideoReader(path, 360, Span(0.4, 1.2), fps=50)
    assert numbers(reader) == [number for number in range(10, 30) for _ in range(2)]
    assert reader.rate == 50
    paused = encode_numbered_video(tmp_path / "p.mkv", 5, rate=1000, pts=[0, 100, 200, 1500, 1600])
    assert numbers(VideoReader(paused, 360, Span(0.1, 1.0), fps=10)) == [1] + [2] * 8


def test_the_average_rate_is_known_without_resampling(tmp_path: Path) -> None:
    """A clip's seconds are counted by it. A raw stream tells none: 25 would be a guess."""
    for name, rate, known in (("a.mp4", 24, 24), ("b.mkv", 30, 30), ("c.ts", 50, 50), ("d.h264", 25, None)):
        reader = VideoReader(encode_numbered_video(tmp_path / name, 20, rate=rate), 360)
        assert numbers(reader) == list(range(20))
        assert reader.rate == (None if known is None else pytest.approx(known)) and not reader.is_variable
    single = VideoReader(encode_numbered_video(tmp_path / "e.mp4", 1), 360)
    assert (numbers(single), single.rate) == ([0], None)
    assert numbers(VideoReader(tmp_path / "e.mp4", 360, fps=100)) == [0] * 4


def test_what_can_be_decoded_of_a_damaged_video_is_kept_to_its_last_frame(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.ts", 30, rate=25, options={"g": "5", "crf": "10"})
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3 // 188 * 188 + 50])
    whole = VideoReader(path, 360, keep_partial=True)
    frames = numbers(whole)
    even = numbers(VideoReader(path, 360, keep_partial=True, fps=50))
    assert whole.losses and set(even) == set(frames) and even[-2:] == frames[-1:] * 2
    assert len(even) == 2 * (frames[-1] + 1)  # a frame that is lost is replaced by the one before
    with pytest.raises(VideoError):
        numbers(VideoReader(path, 360, fps=50))


def test_a_jump_of_the_times_does_not_repeat_a_frame_for_hours(tmp_path: Path) -> None:
    """A disk would fill with one picture."""
    path = encode_numbered_video(tmp_path / "v.mkv", 3, rate=1, pts=[0, 1, 4000])
    assert numbers(VideoReader(path, 360)) == [0, 1, 2]
    with pytest.raises(VideoError, match=r"jump from 1\.0 to 4000\.0 s"):
        numbers(VideoReader(path, 360, fps=30))


def test_a_picture_every_ten_minutes_does_not_fill_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pause is short enough; a file of 160 KB would have made gigabytes."""
    path = encode_numbered_video(tmp_path / "v.mkv", 9, rate=1, pts=[599 * number for number in range(9)])
    monkeypatch.setattr("data.store.frame_times.MOST_STILL", 2000)
    assert len(numbers(VideoReader(path, 360, Span(0, 1000), fps=1))) == 1000
    with pytest.raises(VideoError, match="stand still"):
        numbers(VideoReader(path, 360, fps=1))
