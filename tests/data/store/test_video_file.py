"""Odd, rotated, damaged and lying videos: every frame there is, in order and upright, or a reason."""

import os
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType

from data.store.truncation import missing_bytes
from data.store.video_file import Span, VideoError, VideoReader
from tests.numbered import encode_numbered_video, encode_video, frame_number, numbered_frame


def read_numbers(path: Path, **settings: object) -> list[int]:
    return [frame_number(frame) for frame in VideoReader(path, 360, **settings)]  # type: ignore[arg-type]


def patterned(count: int, height: int = 96, width: int = 128) -> list[np.ndarray]:
    """Moving pictures, so that their encoded frames hold more than a few bytes."""
    coarse = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    canvas = cv2.resize(coarse, (width + 2 * count, height + count), interpolation=cv2.INTER_CUBIC)
    return [np.ascontiguousarray(canvas[n : n + height, 2 * n : 2 * n + width]) for n in range(count)]


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("h264.mp4", {"options": {"bf": "3", "crf": "10", "preset": "fast"}}),
        ("bframes.avi", {"codec": "mpeg4", "options": {"bf": "2", "qmin": "2", "qmax": "2"}}),
        ("ten_bit.mkv", {"pixel_format": "yuv420p10le"}),
        ("full_chroma.mp4", {"pixel_format": "yuv444p"}),
        ("vp9.webm", {"codec": "libvpx-vp9"}),
        ("lossless.mkv", {"codec": "ffv1", "pixel_format": "bgr0"}),
        ("starts_late.ts", {"first_pts": 5000}),
        ("no_duration.mkv", {"container_options": {"live": "1"}}),
    ],
)
def test_every_frame_comes_once_and_in_the_order_of_showing(
    tmp_path: Path, name: str, encoding: dict[str, object]
) -> None:
    path = encode_numbered_video(tmp_path / name, 40, start=7, **encoding)
    assert read_numbers(path) == list(range(7, 47))
    assert read_numbers(path, threads=3) == list(range(7, 47))


def test_the_files_above_are_odd_in_the_ways_that_they_should_be(tmp_path: Path) -> None:
    avi = encode_numbered_video(tmp_path / "b.avi", 20, codec="mpeg4", options={"bf": "2", "qmin": "2", "qmax": "2"})
    with av.open(str(avi)) as container:
        assert PictureType.B in {frame.pict_type for frame in container.decode(video=0)}
    live = encode_numbered_video(tmp_path / "l.mkv", 20, container_options={"live": "1"})
    with av.open(str(live)) as container:
        assert container.duration is None


@pytest.mark.parametrize(("height", "width"), [(1, 1), (241, 321), (16, 500)])
def test_odd_sizes_are_kept(tmp_path: Path, height: int, width: int) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 3, height, width, start=100, pixel_format="yuv444p")
    frames = list(VideoReader(path, 360))
    assert [frame.shape for frame in frames] == [(height, width, 3)] * 3
    assert [frame_number(frame) for frame in frames] == [100, 101, 102]


@pytest.mark.parametrize(
    ("stored", "expected"), [((96, 128), (60, 80)), ((128, 96), (80, 60)), ((40, 64), (40, 64)), ((60, 90), (60, 90))]
)
def test_the_shorter_side_is_scaled_down_and_never_up(
    tmp_path: Path, stored: tuple[int, int], expected: tuple[int, int]
) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 2, *stored, start=300)
    frames = list(VideoReader(path, 60))
    assert [frame.shape[:2] for frame in frames] == [expected] * 2
    assert [frame_number(frame) for frame in frames] == [300, 301]


def test_grey_video_comes_as_rgb(tmp_path: Path) -> None:
    path = encode_video(
        tmp_path / "v.mkv", [np.full((32, 32, 3), 120, np.uint8)] * 4, codec="ffv1", pixel_format="gray"
    )
    frames = list(VideoReader(path, 360))
    assert len(frames) == 4
    assert all(abs(int(level) - 120) <= 2 for level in frames[0].reshape(-1, 3).mean(axis=0))


def test_colours_follow_the_videos_own_matrix_and_range(tmp_path: Path) -> None:
    colour = np.array([200, 60, 30], np.uint8)
    for matrix, levels in ((1, 1), (1, 2), (5, 1), (5, 2)):
        path = tmp_path / f"{matrix}{levels}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
            stream.width = stream.height = 32
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, levels
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), colour), format="rgb24").reformat(
                format="yuv420p", src_colorspace=6 - matrix, dst_colorspace=matrix, src_color_range=2,
                dst_color_range=levels,
            )  # fmt: skip
            frame.colorspace, frame.color_range = matrix, levels
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        (pixels,) = VideoReader(path, 360)
        assert np.abs(pixels.reshape(-1, 3).mean(axis=0) - colour).max() < 4, (matrix, levels)


# Rotation

CORNERS = {"red": (230, 20, 20), "green": (20, 230, 20), "blue": (20, 20, 230), "white": (230, 230, 230)}


def corner_frame() -> np.ndarray:
    """Red at the top left, green at the top right, blue at the bottom left, white at the bottom right."""
    frame = np.empty((64, 96, 3), np.uint8)
    frame[:32, :48], frame[:32, 48:] = CORNERS["red"], CORNERS["green"]
    frame[32:, :48], frame[32:, 48:] = CORNERS["blue"], CORNERS["white"]
    return frame


def corners_of(frame: np.ndarray) -> list[str]:
    height, width = frame.shape[:2]
    places = [(y, x) for y in (height // 4, 3 * height // 4) for x in (width // 4, 3 * width // 4)]
    return [min(CORNERS, key=lambda name: np.abs(frame[place] - np.array(CORNERS[name])).sum()) for place in places]


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> None:
    """Write the matrix into the track header of an MP4 file (ISO 14496-12, 8.3.2)."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    data[place : place + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("matrix", "expected"),
    [
        ((1, 0, 0, 1), ["red", "green", "blue", "white"]),
        ((0, 1, -1, 0), ["blue", "red", "white", "green"]),  # turned clockwise, as an upright telephone films
        ((-1, 0, 0, -1), ["white", "blue", "green", "red"]),
        ((0, -1, 1, 0), ["green", "white", "red", "blue"]),  # anticlockwise
        ((-1, 0, 0, 1), ["green", "red", "white", "blue"]),  # mirrored
        ((0, 1, 1, 0), ["red", "blue", "green", "white"]),
    ],
)
def test_a_turned_video_is_made_upright(tmp_path: Path, matrix: tuple[int, int, int, int], expected: list[str]) -> None:
    path = encode_video(tmp_path / "v.mp4", [corner_frame()] * 2)
    set_display_matrix(path, *matrix)
    for frame in VideoReader(path, 32):
        assert corners_of(frame) == expected
        assert frame.shape == ((48, 32, 3) if matrix[0] == 0 else (32, 48, 3))


@pytest.mark.parametrize(
    ("aspect", "warnings"),
    [
        (None, []),
        (Fraction(101, 100), []),
        (Fraction(4, 3), ["its pixels are not square: frames keep the stored 96x64, players show 128x64"]),
    ],
)
def test_pixels_that_are_not_square_are_said(tmp_path: Path, aspect: Fraction | None, warnings: list[str]) -> None:
    """Frames of a camcorder would be squeezed beside those of a telephone, and nobody would know why."""
    path = encode_video(tmp_path / "v.mp4", [corner_frame()] * 2, pixel_aspect=aspect)
    reader = VideoReader(path, 32)
    assert [frame.shape for frame in reader] == [(32, 48, 3)] * 2
    assert reader.warnings == warnings


# Headers that lie, damage


def set_avi_frame_count(path: Path, count: int) -> None:
    data = bytearray(path.read_bytes())
    main, stream = data.index(b"avih") + 8, data.index(b"strh") + 8
    data[main + 16 : main + 20] = data[stream + 32 : stream + 36] = struct.pack("<I", count)
    path.write_bytes(data)


@pytest.mark.parametrize(("promised", "warns"), [(3, False), (31, False), (1000, True)])
def test_a_header_that_lies_about_the_frames_costs_none(tmp_path: Path, promised: int, warns: bool) -> None:
    path = encode_numbered_video(tmp_path / "v.avi", 30, codec="mpeg4")
    set_avi_frame_count(path, promised)
    with av.open(str(path)) as container:
        assert container.streams.video[0].frames == promised
    reader = VideoReader(path, 360)
    assert [frame_number(frame) for frame in reader] == list(range(30))
    assert bool(reader.warnings) == warns


def test_metadata_that_is_not_utf8_does_not_matter(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 3, metadata={"title": "TITLE"})
    path.write_bytes(path.read_bytes().replace(b"TITLE", b"\xff\xfe\xe9\xe8\x80"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    assert read_numbers(path) == [0, 1, 2]


def test_a_change_of_size_is_scaled_to_the_first_frames(tmp_path: Path) -> None:
    first = encode_numbered_video(tmp_path / "a.ts", 10, 48, 64)
    second = encode_numbered_video(tmp_path / "b.ts", 10, 96, 64, start=10)
    path = tmp_path / "v.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames = list(VideoReader(path, 360))
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    numbers = [frame_number(frame) for frame in frames]
    assert numbers == sorted(numbers)
    assert {0, 9, 10, 19} <= set(numbers)


def test_what_is_no_video_says_why(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "link.mp4").symlink_to("nowhere")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("404 not found\n" * 50)
    (tmp_path / "playlist.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:1/a.ts\n")
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        sound.sample_rate = 44100
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    for name, reason in (
        ("pipe", "is no file"),
        ("link", "a link to none"),
        ("empty", "0 bytes"),
        ("text", "cannot be opened as a video"),
        ("playlist", "HLS"),
        ("sound", "no video stream"),
    ):
        with pytest.raises(VideoError, match=reason):
            list(VideoReader(tmp_path / f"{name}.mp4", 360))


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv", "v.ts"])
def test_a_damaged_video_fails_unless_the_rest_is_wanted(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = encode_video(tmp_path / name, patterned(60), codec=codec)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 3000] = bytes(3000)
    path.write_bytes(data)
    with pytest.raises(VideoError, match="--keep-partial"):
        list(VideoReader(path, 360, keep_partial=False))
    with pytest.raises(VideoError) as failed:  # by a command that has no such flag
        list(VideoReader(path, 360))
    assert "--keep-partial" not in str(failed.value)
    reader = VideoReader(path, 360, keep_partial=True)
    assert 10 < len(list(reader)) <= 60
    assert reader.warnings


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv", "fragmented.mp4"])
@pytest.mark.parametrize("kept", [0.5, 0.8, 0.97])
def test_a_file_cut_short_fails_even_where_decoders_do_not_notice(tmp_path: Path, name: str, kept: float) -> None:
    options = {"movflags": "frag_keyframe+empty_moov" if name == "fragmented.mp4" else "faststart"}
    path = encode_video(
        tmp_path / name,
        patterned(60),
        codec="mpeg4" if name.endswith("avi") else "libx264",
        options={"g": "12"},
        container_options=options if name.endswith("mp4") else {},
    )
    assert missing_bytes(path) == 0
    assert len(list(VideoReader(path, 360))) == 60
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(VideoError):
        list(VideoReader(path, 360))


# Cutting


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("v.mp4", {"options": {"g": "30", "bf": "2", "crf": "10"}}),
        ("late.ts", {"options": {"g": "30", "crf": "10"}, "first_pts": 777}),
        ("v.webm", {"codec": "libvpx-vp9"}),
        ("v.avi", {"codec": "mpeg4"}),
    ],
)
@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (0.0, 1.0, range(0, 25)),
        (1.0, 2.0, range(25, 50)),
        (1.2, 1.2001, range(30, 31)),
        (2.41, 2.79, range(61, 70)),
        (3.0, 4.9, range(75, 100)),
    ],
)
def test_a_cut_has_the_frames_from_start_until_before_end(
    tmp_path: Path, name: str, encoding: dict[str, object], start: float, end: float, expected: range
) -> None:
    path = encode_numbered_video(tmp_path / name, 100, **encoding)
    reader = VideoReader(path, 360, Span(start, end))
    assert [frame_number(frame) for frame in reader] == list(expected)
    assert bool(reader.warnings) == (end == 4.9)


@pytest.mark.parametrize("tag", ["DURATION", "DURATIOX"])
def test_a_matroska_video_that_ends_before_its_stated_end_is_said(tmp_path: Path, tag: str) -> None:
    """A wrong bit in a length may hide all frames behind it. Sound that goes on after the video is no loss."""
    files = {}
    for name, frames in (("short.mkv", 31), ("long.mkv", 50), ("sound.mkv", 31)):
        with av.open(str(tmp_path / name), "w") as container:
            video = container.add_stream("mpeg4", rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            sound = container.add_stream("pcm_s16le", rate=8000, layout="mono") if name == "sound.mkv" else None
            for number in range(frames):
                frame = av.VideoFrame.from_ndarray(numbered_frame(number), format="rgb24")
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
            if sound is not None:
                samples = av.AudioFrame.from_ndarray(np.zeros((1, 32000), np.int16), format="s16", layout="mono")
                samples.sample_rate = 8000
                container.mux(sound.encode(samples))
        files[name] = (tmp_path / name).read_bytes().replace(b"DURATION", tag.encode())
    # The short video with the header of the long one, which says 2 s.
    with av.open(str(tmp_path / "long.mkv")) as container:
        assert container.duration == 2_000_000
    place = files["long.mkv"].index(b"\x44\x89\x88") + 3
    short = files["short.mkv"]
    files["short.mkv"] = short[:place] + files["long.mkv"][place : place + 8] + short[place + 8 :]
    files["short.mkv"] = files["short.mkv"].replace(b"00:00:01.24", b"00:00:02.00")
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        reader = VideoReader(tmp_path / name, 360)
        assert len(list(reader)) == (50 if name == "long.mkv" else 31)
        assert bool(reader.warnings) == (name == "short.mkv"), (name, reader.warnings)


@pytest.mark.parametrize("fragmented", [False, True])
def test_a_table_of_more_samples_than_bytes_is_not_opened(tmp_path: Path, fragmented: bool) -> None:
    """FFmpeg would take gigabytes for a few wrong bits in a small file."""
    flags = {"movflags": "frag_keyframe+empty_moov"} if fragmented else {}
    path = encode_numbered_video(tmp_path / "v.mp4", 20, container_options=flags)
    assert read_numbers(path) == list(range(20))
    data = bytearray(path.read_bytes())
    count = data.index(b"trun") + 8 if fragmented else data.index(b"stsz") + 12
    assert data[count : count + 4] == (20).to_bytes(4, "big") or fragmented
    data[count : count + 4] = (50_000_000).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(VideoError, match="50000000"):
        read_numbers(path)


def test_a_cut_behind_the_end_fails(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 50)
    with pytest.raises(VideoError, match="no frames from 8 to 9 s"):
        list(VideoReader(path, 360, Span(8, 9)))


def test_damage_elsewhere_does_not_spoil_a_cut(tmp_path: Path) -> None:
    frames = [numbered_frame(n, 96, 128) for n in range(40)] + patterned(60)
    path = encode_video(tmp_path / "v.mkv", frames, options={"g": "10", "crf": "10"})
    data = bytearray(path.read_bytes())
    data[-9000:-8000] = bytes(1000)
    path.write_bytes(data)
    assert read_numbers(path, span=Span(0.4, 1.2)) == list(range(10, 30))
