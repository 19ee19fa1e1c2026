"""A long video as windows: their frames and times, and how much is held."""

import numpy as np
import pytest

from common.errors import DataError
from data.clips.sampling import UniformClips
from data.clips.types import ClipShape
from data.clips.windows import WindowCutter, read_windows
from data.store.video_frames import FrameDecoder
from tests.numbered import encode_numbered_video, frame_numbers, write_numbered_database

SHAPE = ClipShape(4, 16, 16)
WHOLE = UniformClips(1, span=True)


def cut(cutter: WindowCutter, times: list[float], end: float) -> list[tuple[float, float, list[int]]]:
    """The windows of frames that show their numbers; start, end and the numbers of each."""
    found, most = [], 0
    for number, time in enumerate(times):
        crops = np.full((1, 16, 16, 3), number % 256, np.uint8)
        found += list(cutter.add(time, crops))
        most = max(most, len(cutter.held))
    found += list(cutter.finish(end))
    assert most <= 22
    return [(each.start, each.end, each.frames[0, :, 0, 0, 0].tolist()) for each in found]


def test_windows_have_the_frames_of_their_seconds():
    """A label would belong to another time."""
    times = [number / 10 for number in range(40)]
    found = cut(WindowCutter(WHOLE, SHAPE, 1.0, 0.5), times, 4.0)
    assert found == [(start / 2, start / 2 + 1, [5 * start + each for each in (1, 3, 6, 8)]) for start in range(7)]


def test_the_end_of_a_video_has_a_window():
    """What happens in its last seconds would be missed."""
    times = [number / 10 for number in range(37)]
    found = cut(WindowCutter(WHOLE, SHAPE, 2.0, 1.5), times, 3.7)
    assert [each[:2] for each in found] == [(0.0, 2.0), (1.5, 3.5), (pytest.approx(1.7), 3.7)]
    assert [each[:2] for each in cut(WindowCutter(WHOLE, SHAPE, 1.0, 1.5), times, 3.7)] == [(0.0, 1.0), (1.5, 2.5)]


def test_a_window_in_a_pause_has_the_frame_that_is_shown():
    """A screen recording stands still for seconds."""
    found = cut(WindowCutter(WHOLE, SHAPE, 1.0, 1.0), [0.0, 0.5, 3.5, 4.0], 4.5)
    assert [each[2] for each in found] == [[0, 0, 1, 1], [1] * 4, [1] * 4, [2] * 4, [2, 2, 3, 3]]


def test_a_video_that_is_shorter_than_a_window_is_refused():
    """Its only window would be something else than the others."""
    with pytest.raises(DataError, match="--window"):
        cut(WindowCutter(WHOLE, SHAPE, 2.0, 1.0), [0.0, 0.1, 0.2], 0.3)


def test_a_jump_of_the_times_has_no_windows():
    """A broken clock would give thousands of predictions of one frame, or never end."""
    assert len(cut(WindowCutter(WHOLE, SHAPE, 100.0, 100.0), [0.0, 0.5, 600.0], 600.5)) == 7
    with pytest.raises(DataError, match=r"jump from 0\.5 to 601\.0 s"):
        cut(WindowCutter(WHOLE, SHAPE, 1.0, 1.0), [0.0, 0.5, 601.0], 601.5)


def test_a_last_frame_for_days_has_no_windows(tmp_path, monkeypatch):
    """The duration of the last frame is a number of the file that nothing checks."""
    path = encode_numbered_video(tmp_path / "a.mp4", 43, rate=10)
    frames = FrameDecoder.frames
    monkeypatch.setattr(FrameDecoder, "frames", lambda *given: (each._replace(duration=1e6) for each in frames(*given)))
    assert len(list(read_windows(path, WHOLE, SHAPE, 1.0, 0.5))) == 8


def test_a_minute_of_video_is_not_held(tmp_path):
    """An hour would need the memory of a server: at most the frames of a window and a stride are held."""
    cutter = WindowCutter(WHOLE, SHAPE, 2.0, 0.5)
    times = [number / 10 for number in range(600)]
    assert len(cut(cutter, times, 60.0)) == 117
    assert cutter._bytes == len(cutter.held) * 16 * 16 * 3


def test_a_window_that_cannot_be_held_is_refused(monkeypatch):
    """The system would kill the process."""
    monkeypatch.setattr("data.clips.windows.MOST_HELD", 10 * 16 * 16 * 3)
    with pytest.raises(DataError, match="--window"):
        cut(WindowCutter(WHOLE, SHAPE, 2.0, 1.0), [number / 10 for number in range(30)], 3.0)


def test_a_database_gives_the_windows_of_its_file(tmp_path, monkeypatch):
    """A dataset's videos and new ones must be predicted alike."""
    file = encode_numbered_video(tmp_path / "a.mp4", 43, rate=10)
    folder = write_numbered_database(tmp_path / "a", 43)
    monkeypatch.setattr("data.store.frame_store.FrameStore.rate", lambda self: 10.0)
    for sampling in (WHOLE, UniformClips(2, clips=2, crops=3), UniformClips(1, rate=5.0)):
        found = []
        for path in (file, folder):
            windows = list(read_windows(path, sampling, SHAPE, 1.0, 0.5))
            numbers = [[frame_numbers(view) for view in each.frames] for each in windows]
            times = [(round(each.start, 6), round(each.end, 6)) for each in windows]
            found.append(list(zip(times, numbers, strict=True)))
        assert found[0] == found[1] and len(found[0]) == 8
        assert len(found[0][0][1]) == sampling.views


def test_a_database_without_a_rate_has_no_seconds(tmp_path):
    """Any rate would be a guess."""
    with pytest.raises(DataError, match="frames a second"):
        list(read_windows(write_numbered_database(tmp_path / "a", 20), WHOLE, SHAPE, 1.0, 0.5))
