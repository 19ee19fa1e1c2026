"""Formats of video files: read, or refused with the reason; a playlist would bring the frames of other files."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition

from data.store.video_file import VideoError, VideoReader, check_whole
from tests.numbered import encode_numbered_video, frame_number


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("v.flv", "flv"),
        ("h264.flv", "libx264"),
        ("v.mpg", "mpeg1video"),
        ("v.mpeg", "mpeg1video"),
        ("v.vob", "mpeg2video"),
        ("v.wmv", "wmv2"),
        ("v.m2v", "mpeg2video"),
        ("v.3gp", "mpeg4"),
        ("v.m2ts", "libx264"),
        ("v.ogv", "libvpx"),
    ],
)
def test_formats_whose_streams_appear_late_are_read(tmp_path: Path, name: str, codec: str) -> None:
    options = {} if codec == "libx264" else {"qmin": "2", "qmax": "4", "b": "1M"}
    path = encode_numbered_video(tmp_path / name, 30, codec=codec, options=options)
    check_whole(path)
    assert [frame_number(frame) for frame in VideoReader(path, 360)] == list(range(30))


def test_a_stream_without_times_is_read_and_said_to_be_one(tmp_path: Path) -> None:
    """Clips were cut out of it at the times of 25 frames a second, whatever its rate."""
    for number, codec in enumerate(("libx264", "libx265")):
        path = encode_numbered_video(tmp_path / f"v{number}.{('h264', 'hevc')[number]}", 30, codec=codec, rate=50)
        reader = VideoReader(path, 360)
        assert [frame_number(frame) for frame in reader] == list(range(30))
        assert reader.remarks == ["is a stream without times: 25 frames a second are assumed, though it says 50"]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("HLS", "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\nother.mp4\n#EXT-X-ENDLIST\n"),
        ("ffconcat", "ffconcat version 1.0\nfile other.mp4\n"),
        ("ffconcat", "\ufeffffconcat version 1.0\nfile other.mp4\n"),
        ("SDP", "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"),
        ("DASH", '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period></Period></MPD>'),
    ],
)
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_a_playlist_is_refused(tmp_path: Path, kind: str, text: str, suffix: str) -> None:
    encode_numbered_video(tmp_path / "other.mp4", 5)
    path = tmp_path / f"v{suffix}"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(VideoError, match=kind):
        list(VideoReader(path, 360))


def test_a_pattern_of_pictures_and_other_formats_are_refused(tmp_path: Path) -> None:
    for n in range(3):
        encode_numbered_video(tmp_path / f"{n}.png", 1, codec="png", pixel_format="rgb24", container_options={})
    pattern = tmp_path / "%d.png"
    pattern.write_bytes((tmp_path / "0.png").read_bytes())
    (tmp_path / "v.mp4").write_text("<svg xmlns='http://www.w3.org/2000/svg' width='10' height='10'></svg>")
    for path in (pattern, tmp_path / "v.mp4"):
        with pytest.raises(VideoError, match="none of the video formats"):
            list(VideoReader(path, 360))


@pytest.mark.parametrize("codec", [b"svg ", b"Zq9x"])
def test_a_codec_without_a_decoder_is_named(tmp_path: Path, codec: bytes) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 5)
    path.write_bytes(path.read_bytes().replace(b"avc1", codec))
    with pytest.raises(VideoError, match=f"no decoder for {codec.decode().strip()}"):
        list(VideoReader(path, 360))
    with pytest.raises(VideoError, match="no decoder for"):
        check_whole(path)


def test_frames_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    picture = b"!\xf9\x04\x04\x05\0\0\0,\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    path = tmp_path / "v.gif"
    path.write_bytes(b"GIF89a" + b"\x80\x3e\x80\x3e\x80\0\0\0\0\0\xff\xff\xff" + picture * 3 + b";")
    with pytest.raises(VideoError, match="16000x16000"):
        list(VideoReader(path, 360))


def test_a_picture_attached_to_sound_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        picture = container.add_stream("png", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic.value
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        packets = [*stream.encode(sound), *stream.encode(None)]
        packets += picture.encode(av.VideoFrame(64, 48, "rgb24"))
        container.mux(packets)
    with pytest.raises(VideoError, match="no video stream"):
        list(VideoReader(path, 360))


def test_a_file_without_a_frame_that_decodes_says_why(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mkv", 5)
    data = bytearray(path.read_bytes())
    place = data.index(b"\xa3", data.index(b"\x1f\x43\xb6\x75")) + 8
    data[place:] = b"\x55" * len(data[place:])
    path.write_bytes(data)
    with pytest.raises(VideoError, match="cannot be decoded"):
        list(VideoReader(path, 360, keep_partial=True))


def test_a_video_that_changes_its_size_says_so(tmp_path: Path) -> None:
    """A broadcast or a call may turn or shrink in the middle: the people after it are distorted."""
    first = encode_numbered_video(tmp_path / "1.m2v", 25, 48, 64, codec="mpeg2video")
    second = encode_numbered_video(tmp_path / "2.m2v", 25, 64, 48, start=25, codec="mpeg2video")
    both = tmp_path / "both.m2v"
    both.write_bytes(first.read_bytes() + second.read_bytes())
    reader = VideoReader(both, 48)
    frames = list(reader)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert any("25 frames of 48x64" in remark and "distorts" in remark for remark in reader.remarks)


@pytest.mark.parametrize("name", ["v.mkv", "v.mp4"])
@pytest.mark.parametrize("main", [0, 1])
def test_of_several_videos_the_default_one_is_read(tmp_path: Path, name: str, main: int) -> None:
    """Players show that one; a preview or another camera may come first in the file."""
    with av.open(str(tmp_path / name), "w") as container:
        streams = [container.add_stream("mpeg4", rate=10) for _ in range(2)]
        for number, stream in enumerate(streams):
            stream.width, stream.height, stream.pix_fmt = 32 + 16 * number, 32, "yuv420p"
            stream.disposition = Disposition.default.value if number == main else 0
        for stream in streams:
            for n in range(10):
                frame = av.VideoFrame.from_ndarray(np.full((32, stream.width, 3), 20 * n, np.uint8))
                frame.pts, frame.time_base = n, Fraction(1, 10)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    reader = VideoReader(tmp_path / name, 360)
    assert [frame.shape[1] for frame in reader] == [32 + 16 * main] * 10
    (remark,) = reader.remarks
    assert f"of {32 + 16 * main}x32 pixels, is read, and not one of {48 - 16 * main}x32" in remark and not reader.losses
