"""Cuts: a clip of other frames than those of its time would carry the wrong label."""

from pathlib import Path

import pytest

from data.store.video_file import Span, VideoError, VideoReader
from tests.numbered import encode_numbered_video, frame_number

H264 = {"codec": "libx264", "options": {"g": "30", "bf": "2", "crf": "10", "preset": "fast", "threads": "1"}}
OPEN_GOP = {"codec": "libx264", "options": {**H264["options"], "x264-params": "open-gop=1"}}  # type: ignore[dict-item]
COARSE = {"qmin": "2", "qmax": "4", "b": "1M", "g": "30"}
MPEG2 = {"codec": "mpeg2video", "options": {**COARSE, "bf": "2"}}
MPEG4 = {"codec": "mpeg4", "options": {**COARSE, "bf": "2"}}
NEGATIVE = {  # Matroska's index lacks what is before 0
    "codec": "mpeg4",
    "options": {**COARSE, "sc_threshold": "1000000000"},
    "container_options": {"avoid_negative_ts": "disabled"},
}
VP8 = {"codec": "libvpx", "options": {"b": "1M", "deadline": "realtime"}}


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("v.avi", H264),
        ("v.avi", MPEG4),
        ("v.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": {"q": "3"}}),
        ("v.mpg", {"codec": "mpeg1video", "options": {**COARSE, "bf": "2"}}),
        ("v.vob", MPEG2),
        ("v.m2v", MPEG2),
        ("v.ts", H264),
        ("v.ts", OPEN_GOP),
        ("v.ts", MPEG2),
        ("v.m2ts", {**H264, "first_pts": 777}),
        ("v.mkv", H264),
        ("v.mkv", OPEN_GOP),
        ("v.mkv", MPEG2),
        ("v.mkv", {**H264, "container_options": {"live": "1"}}),
        ("v.mkv", {**NEGATIVE, "first_pts": -1}),
        ("v.mkv", {**NEGATIVE, "first_pts": -40}),
        ("v.mp4", OPEN_GOP),
        ("v.mp4", MPEG4),
        ("v.mp4", {**H264, "container_options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("v.mov", H264),
        ("v.flv", H264),
        ("v.wmv", {"codec": "wmv2", "options": COARSE}),
        ("v.webm", VP8),
        ("v.ogv", VP8),
    ],
)
def test_the_frames_of_a_span_are_those_of_its_time(tmp_path: Path, name: str, encoding: dict[str, object]) -> None:
    path = encode_numbered_video(tmp_path / name, 150, 32, 48, **encoding)
    whole = [frame_number(frame) for frame in VideoReader(path, 360)]
    assert whole == list(range(150))
    for start, end in ((0.0, 0.4), (0.5, 1.5), (1.16, 1.3), (1.2, 1.24), (2.38, 2.5), (3.61, 4.39), (5.5, 5.98)):
        frames = [frame_number(frame) for frame in VideoReader(path, 360, Span(start, end))]
        assert frames == [n for n in range(150) if start <= n / 25 < end], (start, end)


def test_spans_of_a_variable_rate_are_those_of_their_time(tmp_path: Path) -> None:
    pts = [n + 3 * (n // 7) + 20 * (n // 31) for n in range(120)]
    for name in ("v.mp4", "v.mkv", "v.ts", "v.flv"):
        path = encode_numbered_video(tmp_path / name, 120, 32, 48, pts=pts, **H264)
        for start, end in ((0.9, 1.7), (3.0, 4.44), (6.2, 7.0)):
            frames = [frame_number(frame) for frame in VideoReader(path, 360, Span(start, end))]
            assert frames == [n for n in range(120) if start <= pts[n] / 25 < end], (name, start, end)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts"])
@pytest.mark.parametrize(
    ("start", "end", "outcome"),
    [
        (4.9, 5.9, "fails"),  # a tenth is there
        (4.2, 6.2, "fails"),
        (4.0, 6.0, "warns"),  # half
        (3.5, 5.5, "fine"),
        (0.0, 12.0, "fails"),
        (0.0, 9.0, "warns"),
        (0.0, 6.4, "fine"),  # annotations end a second late
    ],
)
def test_a_clip_that_lies_behind_the_end_of_its_video_fails(
    tmp_path: Path, name: str, start: float, end: float, outcome: str
) -> None:
    """A second of two, or one frame of ten, would stand for the clip without a word."""
    path = encode_numbered_video(tmp_path / name, 50, 32, 48, rate=10, codec="mpeg4")
    if outcome == "fails":
        with pytest.raises(VideoError, match="ends before the middle of the clip"):
            list(VideoReader(path, 360, Span(start, end)))
    reader = VideoReader(path, 360, Span(start, end), keep_partial=True)
    count = len(list(reader))
    assert count == 50 - round(10 * start) and bool(reader.losses) == (outcome != "fine")


def test_a_clip_of_a_video_that_pauses_is_kept(tmp_path: Path) -> None:
    """A screen that does not change gives no frames for seconds; the clip is within the video."""
    pts = [*range(20), 80, 81]
    for name in ("v.mp4", "v.mkv"):
        path = encode_numbered_video(tmp_path / name, 22, 32, 48, rate=10, pts=pts, codec="mpeg4")
        assert len(list(VideoReader(path, 360, Span(1.5, 5.5)))) == 5
