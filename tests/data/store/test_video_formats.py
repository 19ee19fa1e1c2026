"""Formats of video files: read, or refused with the reason; a playlist would bring the frames of other files."""

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.stream import Disposition

from data.prepare.file_names import is_video
from data.store.video_file import Span, VideoError, VideoReader, check_whole
from tests.data.store.test_video_file import set_display_matrix
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
        ("v.MOV", "libx264"),
        ("v.mov", "mjpeg"),
        ("v.qt", "mpeg4"),
        ("v.mkv", "libx265"),
        ("v.mp4", "libx265"),
        ("v.webm", "libvpx-vp9"),
        ("v.webm", "libaom-av1"),
        ("v.ts", "libx264"),
        ("v.mts", "libx265"),
        ("v.asf", "msmpeg4v3"),
        ("v.m4v", "libx264"),
        ("v.3g2", "libx264"),
        ("v.f4v", "libx264"),
        ("v.divx", "mpeg4"),
        ("v.mxf", "mpeg2video"),
        ("v.y4m", "rawvideo"),
        ("v.m1v", "mpeg1video"),
        ("v.264", "libx264"),
        ("v.h265", "libx265"),
        ("v.gif", "gif"),
        ("v.apng", "apng"),
    ],
)
def test_files_of_all_usual_formats_are_read(tmp_path: Path, name: str, codec: str) -> None:
    """A user's cameras and telephones decide the format: frames that are missing or in another order go unnoticed."""
    coarse = {} if codec.startswith("libx26") else {"qmin": "2", "qmax": "4", "b": "1M"}
    options = {"cpu-used": "8", "usage": "realtime"} if codec == "libaom-av1" else coarse
    layout = {"gif": "rgb8", "apng": "rgb24", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    written = {".divx": "v.avi", ".qt": "v.mov", ".264": "v.h264", ".h265": "v.hevc"}.get(
        Path(name).suffix, name.lower()
    )
    path = encode_numbered_video(tmp_path / written, 30, codec=codec, pixel_format=layout, options=options or None)
    path = path.rename(tmp_path / name)
    assert is_video(name)
    check_whole(path)
    assert [frame_number(frame) for frame in VideoReader(path, 360)] == list(range(30))
    clip = VideoReader(path, 360, Span(0.39, 0.79))
    assert [frame_number(frame) for frame in clip] == list(range(10, 20)) and not clip.losses
    assert bool(clip.remarks) == (Path(name).suffix in (".264", ".h265"))  # without times: 25 frames a second


@pytest.mark.parametrize("layout", ["yuv420p", "yuv420p10le"])
def test_videos_of_telephones_have_their_frames_upright_and_at_their_times(tmp_path: Path, layout: str) -> None:
    """HEVC of 8 or 10 bits, of a rate that varies with the light, filmed upright."""
    pts = np.cumsum([0, *np.random.default_rng(0).choice([20, 20, 20, 19, 40, 60], 39)]).tolist()
    options = {"x265-params": "log-level=none:crf=8:bframes=2:keyint=12", "tag": "hvc1", "preset": "ultrafast"}
    path = encode_numbered_video(
        tmp_path / "IMG_0001.MOV", 40, codec="libx265", pixel_format=layout, rate=600, pts=pts, options=options
    )
    set_display_matrix(path, 0, 1, -1, 0)
    reader = VideoReader(path, 360)
    frames = list(reader)
    assert list(map(frame_number, frames)) == list(range(40)) and frames[0].shape == (64, 48, 3)
    assert not reader.remarks and reader.seconds == pytest.approx(pts[-1] / 600, abs=0.11)
    for start, end in ((0.0, 0.5), (0.51, 1.2)):
        clip = [frame_number(frame) for frame in VideoReader(path, 360, Span(start, end))]
        assert clip == [n for n, time in enumerate(pts) if start <= time / 600 < end]


PALETTE = np.array([(n & 1, n >> 1 & 1, n >> 2) for n in range(8)]) * 255
CLEAR = np.array([255, 255, 255])  # what transparent pixels are shown as


class Part(NamedTuple):
    """A frame of an animation: where it goes, its colours by number, and what becomes of them before the next one."""

    y: int
    x: int
    colours: np.ndarray
    disposal: int  # 0, 1: stays; 2: cleared; 3: undone
    transparent: int | None
    delay: int  # hundredths of a second


def packed(colours: np.ndarray) -> bytes:
    """LZW codes of four bits: before they grow longer, each four colours are followed by code 8, which begins anew."""
    codes = [code for n in range(0, colours.size, 4) for code in (8, *colours.reshape(-1)[n : n + 4].tolist())] + [9]
    bits = sum(code << 4 * n for n, code in enumerate(codes))
    data = bits.to_bytes(len(codes) // 2 + 1, "little")
    return (
        b"\x03"
        + b"".join(bytes([len(data[n : n + 255])]) + data[n : n + 255] for n in range(0, len(data), 255))
        + b"\0"
    )


def write_gif(path: Path, height: int, width: int, parts: Sequence[Part]) -> Path:
    data = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x82, 0, 0) + PALETTE.astype(np.uint8).tobytes()
    for y, x, colours, disposal, transparent, delay in parts:
        flags = disposal << 2 | (transparent is not None)
        data += b"!\xf9\x04" + struct.pack("<BHBB", flags, delay, transparent or 0, 0)
        data += b"," + struct.pack("<HHHHB", x, y, colours.shape[1], colours.shape[0], 0) + packed(colours)
    path.write_bytes(data + b";")
    return path


def shown(height: int, width: int, parts: Sequence[Part]) -> list[np.ndarray]:
    """The frames as a viewer draws them (GIF89a, section 23)."""
    canvas, frames = np.empty((height, width, 3)), []
    canvas[:] = CLEAR if parts[0].transparent is not None else PALETTE[0]
    for y, x, colours, disposal, transparent, _ in parts:
        before, place = canvas.copy(), np.s_[y : y + colours.shape[0], x : x + colours.shape[1]]
        solid = np.full(colours.shape, True) if transparent is None else colours != transparent
        canvas[place][solid] = PALETTE[colours][solid]
        frames.append(canvas.copy())
        if disposal == 2:
            canvas[place] = CLEAR if transparent is not None else PALETTE[0]
        elif disposal == 3:
            canvas = before
    return frames


def test_gif_frames_are_drawn_over_each_other_and_shown_for_their_delay(tmp_path: Path) -> None:
    """Most GIF files store only what changes: drawn wrongly, frames keep traces of others or lose their background."""
    random = np.random.default_rng(0)
    for _ in range(8):
        parts = [Part(0, 0, random.integers(0, 8, (16, 20)), int(random.integers(4)), 3, 10)]
        for delay in (4, 37, 100, 2, 250):
            (y, x), size = random.integers(0, 8, 2).tolist(), random.integers(1, 9, 2).tolist()
            clear = int(random.integers(8)) if random.random() < 0.5 else None
            parts.append(Part(y, x, random.integers(0, 8, size), int(random.integers(4)), clear, delay))
        path = write_gif(tmp_path / "v.gif", 16, 20, parts)
        frames = list(VideoReader(path, 360))
        assert len(frames) == 6
        assert all(np.array_equal(one, other) for one, other in zip(frames, shown(16, 20, parts), strict=True))
        # The frames begin at 0.00, 0.10, 0.14, 0.51, 1.51 and 1.53 s; the last one is shown for 2.5 s.
        for span, chosen in (((0.12, 1.52), [2, 3, 4]), ((1.53, 2.53), [5]), ((0.0, 0.1), [0])):
            clip = list(VideoReader(path, 360, Span(*span)))
            assert len(clip) == len(chosen) and all(map(np.array_equal, clip, (frames[n] for n in chosen)))


def test_a_cut_or_changed_animated_png_is_found(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.apng", 30, codec="apng", pixel_format="rgb24")
    data = path.read_bytes()
    for length in range(len(data) // 2, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(VideoError):
            list(VideoReader(path, 360))
    path.write_bytes(data[:-400] + bytes([data[-400] ^ 1]) + data[-399:])
    with pytest.raises(VideoError):
        list(VideoReader(path, 360))


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
