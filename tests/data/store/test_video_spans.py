"""Cuts: a clip of other frames than those of its time would carry the wrong label."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from data.store import video_frames
from data.store.video_file import Span, VideoError, VideoReader
from tests.numbered import encode_numbered_video, frame_number, numbered_frame

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


def encode_with_sound(path: Path, count: int, late: float, codec: str, sound: str) -> Path:
    """Numbered frames, 25 a second, the first of them `late` seconds after the sound's start."""
    with av.open(str(path), "w") as container:
        options = {**H264["options"], "sc_threshold": "0"} if codec == "libx264" else COARSE  # type: ignore[dict-item]
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        track = container.add_stream(sound, rate=48000)
        track.layout = "mono"
        packets = []
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, 32, 48), format="rgb24")
            frame.pts, frame.time_base = number + round(25 * late), Fraction(1, 25)
            packets += stream.encode(frame)
        kind = track.format.name
        silence = np.zeros((1, 960), np.float32 if kind.startswith("flt") else np.int16)
        fifo = av.AudioFifo()
        for number in range(round(50 * (count / 25 + late))):
            frame = av.AudioFrame.from_ndarray(silence, format=kind, layout="mono")
            frame.rate, frame.pts, frame.time_base = 48000, 960 * number, Fraction(1, 48000)
            fifo.write(frame)
        for part in fifo.read_many(track.frame_size or 1024):
            packets += track.encode(part)
        packets += [*stream.encode(None), *track.encode(None)]
        container.mux(sorted(packets, key=lambda packet: packet.dts * packet.time_base))
    return path


SOUNDS = [
    ("v.mp4", "libx264", "aac"),
    ("v.mov", "libx264", "aac"),
    ("v.mkv", "libx264", "aac"),
    ("v.webm", "libvpx", "libopus"),
    ("v.ts", "libx264", "aac"),
    ("v.flv", "libx264", "aac"),
    ("v.mpg", "mpeg2video", "mp2"),
]


@pytest.mark.parametrize(("name", "codec", "sound"), SOUNDS)
def test_times_count_from_the_start_of_the_file_where_the_picture_starts_late(
    tmp_path: Path, name: str, codec: str, sound: str
) -> None:
    """Each clip of a video cut without encoding, or of a call, would be as many seconds too late as its picture."""
    path = encode_with_sound(tmp_path / name, 100, 0.8, codec, sound)
    whole = VideoReader(path, 360)
    assert [frame_number(frame) for frame in whole] == list(range(100))
    assert (whole.losses, whole.remarks) == ([], ["the picture starts 0.8 s after the file"])
    late = 0.8
    if name in ("v.ts", "v.flv", "v.mpg"):  # 0.80 to 0.83 s: the sound's coder has a start of its own
        with av.open(str(path)) as container:
            first = container.streams.video[0].start_time * container.streams.video[0].time_base
            late = float(first - Fraction(container.start_time, 1_000_000))
    for start, end in ((0.0, 1.5), (0.4, 1.2), (1.0, 1.5), (2.0, 3.0), (3.7, 4.1)):
        reader = VideoReader(path, 360, Span(start, end))
        frames = [frame_number(frame) for frame in reader]
        assert frames == [n for n in range(100) if start - 1e-6 <= n / 25 + late < end - 1e-6], (start, end)
        assert bool(reader.remarks) == (start < 0.7) and not reader.losses
    with pytest.raises(VideoError, match=r"the picture starts 0\.8 s after the file"):
        list(VideoReader(path, 360, Span(0.1, 0.6)))


@pytest.mark.parametrize(("name", "codec", "sound"), SOUNDS)
def test_the_start_that_a_coder_of_sound_needs_is_no_time(tmp_path: Path, name: str, codec: str, sound: str) -> None:
    """Nearly all videos have sound; their clips would be other frames than those of databases made before."""
    path = encode_with_sound(tmp_path / name, 100, 0.0, codec, sound)
    for start, end in ((0.0, 0.4), (0.5, 1.5), (1.16, 1.3), (1.2, 1.24), (2.38, 2.5), (3.61, 3.9)):
        reader = VideoReader(path, 360, Span(start, end))
        assert [frame_number(frame) for frame in reader] == [n for n in range(100) if start <= n / 25 < end]
        assert reader.warnings == []


def test_a_start_of_another_clock_is_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stray track with a clock of its own would move every clip by hours."""
    monkeypatch.setattr(video_frames, "LATEST", 0.5)
    path = encode_with_sound(tmp_path / "v.mkv", 50, 0.8, "libx264", "aac")
    reader = VideoReader(path, 360, Span(1.0, 1.2))
    assert [frame_number(frame) for frame in reader] == list(range(25, 30))
    assert reader.remarks == ["the picture starts 1 s after the file: times are counted from the picture"]


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv"])
def test_a_video_cut_without_encoding_starts_with_its_sound(tmp_path: Path, name: str) -> None:
    """As `ffmpeg -ss 1.6 -c copy` cuts: the first sound lies a few milliseconds behind 0, the picture a second."""
    whole = encode_with_sound(tmp_path / name.replace("cut", "v"), 100, 0.0, "libx264", "aac")
    with av.open(str(whole)) as source, av.open(str(tmp_path / name), "w") as target:
        copies = {stream.index: target.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is None or packet.pts * packet.time_base < (1.6 if packet.stream.type == "audio" else 2.4):
                continue
            shift = round(Fraction(8, 5) / packet.time_base)
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = copies[packet.stream.index]
            target.mux(packet)
    assert [frame_number(frame) for frame in VideoReader(tmp_path / name, 360)] == list(range(60, 100))
    for start, end in ((0.5, 1.1), (1.21, 1.6)):
        frames = [frame_number(frame) for frame in VideoReader(tmp_path / name, 360, Span(start, end))]
        assert frames == [n for n in range(60, 100) if start <= (n - 40) / 25 < end], (start, end)
