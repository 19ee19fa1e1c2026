"""Holes in video files: a damaged file would be trained on with fewer or other frames, or a sound one refused."""

import random
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from data.store.video_damage import hole_in, zeros_replace_data
from data.store.video_file import Span, VideoError, VideoReader, check_whole
from data.store.video_structure import breaks
from tests.numbered import encode_numbered_video, encode_video, frame_number

VP8 = {"codec": "libvpx", "options": {"b": "1M", "deadline": "realtime", "cpu-used": "8", "g": "20"}}
H264 = {"codec": "libx264", "options": {"preset": "ultrafast", "g": "20", "crf": "20", "threads": "1", "bf": "2"}}
WMV = {"codec": "wmv2", "options": {"b": "1M"}}
MPEG2 = {"codec": "mpeg2video", "options": {"b": "1M", "bf": "2"}}
FRAGMENTS = {"movflags": "frag_keyframe+empty_moov"}
SCREEN = [0, 1, 2, 3, 11, 12, 13, 40, 41, 43, 44, 45]  # within a second and a half, as a screen recorder skips frames


def patterned(count: int, height: int = 96, width: int = 128) -> Iterator[np.ndarray]:
    """Moving pictures, so that their encoded frames hold more than a few bytes."""
    coarse = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    canvas = cv2.resize(coarse, (width + 2 * count, height + count), interpolation=cv2.INTER_CUBIC)
    return (np.ascontiguousarray(canvas[n : n + height, 2 * n : 2 * n + width]) for n in range(count))


def damage(path: Path, kind: str, place: int, length: int) -> Path:
    data = bytearray(path.read_bytes())
    data[place : place + length] = bytes(length) if kind == "zeroed" else b""
    damaged = path.with_stem("damaged")
    damaged.write_bytes(data)
    return damaged


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("v.webm", VP8),
        ("unfinished.webm", {**VP8, "container_options": {"live": "1"}}),
        ("v.mkv", H264),
        ("v.ts", H264),
        ("v.flv", H264),
        ("v.wmv", WMV),
        ("v.ogv", VP8),
        ("v.mpg", MPEG2),
        ("v.vob", MPEG2),
        ("v.mp4", {**H264, "container_options": {"movflags": "faststart"}}),
        ("v.mov", {"codec": "mpeg4", "container_options": {"movflags": "faststart"}}),
        ("v.avi", {"codec": "msmpeg4v2", "options": {"b": "1M"}}),
        ("pictures.avi", {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": {"huffman": "default"}}),
    ],
)
@pytest.mark.parametrize("kind", ["zeroed", "cut"])
def test_a_hole_is_found(tmp_path: Path, name: str, encoding: dict[str, object], kind: str) -> None:
    path = encode_video(tmp_path / name, patterned(60), **encoding)  # type: ignore[arg-type]
    sound = VideoReader(path, 360)
    assert len(list(sound)) == 60
    assert not sound.warnings
    places = random.Random(1)
    for _ in range(3):
        # Not a multiple of the 2048 bytes of a pack.
        damaged = damage(path, kind, int(path.stat().st_size * places.uniform(0.1, 0.9)), 3000)
        with pytest.raises(VideoError):
            list(VideoReader(damaged, 360))
        reader = VideoReader(damaged, 360, keep_partial=True)
        assert 0 < len(list(reader)) <= 60
        assert reader.warnings


@pytest.mark.parametrize("name", ["v.webm", "v.avi", "v.flv", "v.wmv", "v.ogv", "v.gif", "v.mpg", "v.ts", "v.y4m"])
def test_any_bytes_are_looked_through(tmp_path: Path, name: str) -> None:
    codecs = {".avi": "mpeg4", ".flv": "flv", ".wmv": "wmv2", ".gif": "gif", ".mpg": "mpeg1video", ".ts": "mpeg2video"}
    codec = {**codecs, ".y4m": "rawvideo"}.get(Path(name).suffix, "libvpx")
    path = encode_numbered_video(
        tmp_path / name, 5, codec=codec, pixel_format="rgb8" if codec == "gif" else "yuv420p", options={"b": "1M"}
    )
    data, damages = path.read_bytes(), random.Random(2)
    assert not list(breaks(path, 256))
    for trial in range(120):
        damaged = bytearray(data[: damages.randrange(1, 300)] if trial % 3 == 0 else data)
        for _ in range(8):
            damaged[damages.randrange(min(200, len(damaged)))] = damages.choice([0, 255, damages.randrange(256)])
        path.write_bytes(damaged)
        assert all(found.start <= found.place for found in breaks(path, 256))
    # A length of 2**63 bytes and more.
    path.write_bytes(data[:16] + b"\xff" * 24 + data[40:])
    assert all(found.start <= found.place for found in breaks(path, 256))


def test_a_gif_that_ends_within_a_descriptor_keeps_its_good_frames(tmp_path: Path) -> None:
    """The last byte of a descriptor says how long the colours behind it are."""
    path = encode_numbered_video(tmp_path / "v.gif", 4, codec="gif", pixel_format="rgb8")
    data = path.read_bytes()
    last = data.rindex(b"\0,\0") + 1
    for end in range(last + 1, last + 14):
        path.write_bytes(data[:end])
        reader = VideoReader(path, 360, keep_partial=True)
        assert len(list(reader)) >= 3, end
        assert reader.warnings, end


@pytest.mark.parametrize("name", ["v.flv", "v.webm", "v.ogv", "v.ts", "v.gif", "v.y4m"])
def test_a_file_that_ends_within_a_frame_fails(tmp_path: Path, name: str) -> None:
    codecs = {".flv": H264, ".ts": H264, ".gif": {"codec": "gif", "pixel_format": "rgb8"}}
    encoding = codecs.get(Path(name).suffix, VP8 if name != "v.y4m" else {"codec": "rawvideo"})
    path = encode_video(tmp_path / name, patterned(30), **encoding)  # type: ignore[arg-type]
    assert len(list(VideoReader(path, 360))) == 30
    damaged = damage(path, "cut", int(path.stat().st_size * 0.7), path.stat().st_size)
    with pytest.raises(VideoError):
        list(VideoReader(damaged, 360))
    with pytest.raises(VideoError):
        check_whole(damaged)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        *(("v.mp4", H264), ("v.mkv", H264), ("v.webm", VP8), ("v.ts", H264), ("v.flv", H264), ("v.wmv", WMV)),
        ("v.gif", {"codec": "gif", "pixel_format": "rgb8"}),
    ],
)
def test_gaps_that_were_filmed_are_no_holes(tmp_path: Path, name: str, encoding: dict[str, object]) -> None:
    recorder = [60 * turn + time for turn in range(3) for time in SCREEN]
    dropped = [0, 1, 3, *range(4, 40)]  # one frame
    pause = [[0, *range(30, 75)]] if name in ("v.mp4", "v.gif") else []  # stated as that frame's duration
    for pts in (recorder, dropped, *pause):
        path = encode_video(tmp_path / name, patterned(len(pts)), pts=pts, **encoding)  # type: ignore[arg-type]
        reader = VideoReader(path, 360)
        assert len(list(reader)) == len(pts)
        assert not reader.warnings


def test_frames_removed_whole_from_a_constant_rate_are_missed(tmp_path: Path) -> None:
    pts = [*range(30), *range(40, 80)]
    path = encode_video(tmp_path / "v.webm", patterned(len(pts)), pts=pts, **VP8)  # type: ignore[arg-type]
    with pytest.raises(VideoError, match=r"between 1\.16 s and 1\.60 s"):
        list(VideoReader(path, 360))


def test_only_a_gap_in_a_constant_rate_is_a_hole() -> None:
    constant = [n * 0.04 for n in range(60)]
    shown = [0.04] * 60
    assert hole_in(constant, shown, 0.001) is None
    gap = constant[:30] + [time + 0.4 for time in constant[30:]]
    assert hole_in(gap, shown, 0.001) == (gap[29], gap[30])
    assert hole_in(gap, [0.44] * 60, 0.001) is None  # shown for as long
    ragged = [time + 0.006 * (n % 3) for n, time in enumerate(gap)]
    assert hole_in(ragged, shown, 0.001) is None
    assert hole_in([round(time, 3) for time in gap], shown, 0.001) is not None
    assert hole_in(gap[:20], shown, 0.001) is None


def test_zeros_are_damage_only_where_a_codec_does_not_write_them() -> None:
    hole = b"\x91" * 900 + bytes(600) + b"\x17" * 900
    assert all(zeros_replace_data(codec, hole) for codec in ("vp8", "vp9", "av1", "h264", "hevc", "wmv3"))
    assert not any(zeros_replace_data(codec, hole) for codec in ("rawvideo", "huffyuv", "mpeg2video", "png"))
    assert not zeros_replace_data("h264", b"\x91" * 900 + bytes(600))  # padding between two units
    assert not zeros_replace_data("h264", b"\x91" * 900 + bytes(600) + b"\1\x65\x88")
    tables = b"\xff\xd8\xff\xc4\x00\x14\x10\x01" + bytes(15) + b"%c\xff\xda" + hole
    assert zeros_replace_data("mjpeg", tables.replace(b"%c", b"\x01"))
    assert not zeros_replace_data("mjpeg", tables.replace(b"%c", b"\x00"))  # blocks of one colour


def test_a_black_mjpeg_video_is_sound(tmp_path: Path) -> None:
    black = [np.zeros((480, 640, 3), np.uint8)] * 3
    path = encode_video(tmp_path / "v.avi", black, codec="mjpeg", pixel_format="yuvj420p")
    assert len(list(VideoReader(path, 360))) == 3


@pytest.mark.parametrize("encoding", [H264, MPEG2, {"codec": "mpeg4", "options": {"b": "1M"}}])
def test_a_broadcast_that_starts_between_keyframes_loses_only_what_cannot_be_decoded(
    tmp_path: Path, encoding: dict[str, object]
) -> None:
    path = encode_numbered_video(tmp_path / "v.ts", 80, **encoding)
    data = path.read_bytes()
    path.write_bytes(data[188 * (len(data) // 188 // 6) :])
    numbers = [frame_number(frame) for frame in VideoReader(path, 360)]
    assert numbers == list(range(numbers[0], 80))
    assert 0 < numbers[0] <= 24


@pytest.mark.parametrize(("name", "encoding"), [("v.ts", H264), ("v.ts", MPEG2), ("v.mpg", MPEG2)])
def test_recordings_that_were_joined_are_sound(tmp_path: Path, name: str, encoding: dict[str, object]) -> None:
    path = encode_numbered_video(tmp_path / name, 50, **encoding)
    path.write_bytes(path.read_bytes() * 2)
    assert [frame_number(frame) for frame in VideoReader(path, 360)] == [*range(50), *range(50)]
    second = VideoReader(path, 360, Span(2.4, 2.8))
    assert [frame_number(frame) for frame in second] == list(range(10, 20))


def test_packets_of_192_bytes_are_sound(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.ts", 50, **H264)
    data = path.read_bytes()
    path.write_bytes(b"".join(bytes(4) + data[place : place + 188] for place in range(0, len(data), 188)))
    assert [frame_number(frame) for frame in VideoReader(path, 360)] == list(range(50))
    damaged = damage(path, "cut", path.stat().st_size // 2, 192)
    assert list(breaks(damaged, 256))


def test_an_empty_chunk_of_an_avi_file_ends_nothing(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.avi", 40, codec="mpeg4")
    data = path.read_bytes()
    place = data.index(b"00dc", data.index(b"00dc", data.index(b"movi")) + 4)
    path.write_bytes(data[:place] + b"00dc\0\0\0\0" + data[place:])
    assert [frame_number(frame) for frame in VideoReader(path, 360)] == list(range(40))


@pytest.mark.parametrize(("name", "encoding"), [("v.webm", VP8), ("v.flv", H264), ("v.ts", H264), ("v.wmv", WMV)])
def test_damage_outside_of_a_span_does_not_spoil_it(tmp_path: Path, name: str, encoding: dict[str, object]) -> None:
    path = encode_video(tmp_path / name, patterned(100), **encoding)  # type: ignore[arg-type]
    size = path.stat().st_size
    for place, span in ((0.15, Span(2.0, 2.8)), (0.85, Span(0.4, 1.2))):
        expected = list(VideoReader(path, 360, span))
        damaged = damage(path, "zeroed", int(size * place), 2500)
        frames = list(VideoReader(damaged, 360, span))
        assert len(frames) == len(expected) == 20
        assert all(np.array_equal(*pair) for pair in zip(frames, expected, strict=True))
        with pytest.raises(VideoError):
            list(VideoReader(damaged, 360))


@pytest.mark.parametrize(
    ("name", "encoding"), [("v.mpg", MPEG2), ("v.avi", {"codec": "msmpeg4v2", "options": {"b": "1M"}})]
)
def test_damage_before_a_span_fails_it_where_frames_are_counted(
    tmp_path: Path, name: str, encoding: dict[str, object]
) -> None:
    path = encode_video(tmp_path / name, patterned(100), **encoding)  # type: ignore[arg-type]
    damaged = damage(path, "cut", int(path.stat().st_size * 0.15), 2500)
    with pytest.raises(VideoError):
        list(VideoReader(damaged, 360, Span(2.0, 2.8)))


def test_damage_within_a_span_fails_it(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "v.webm", patterned(100), **VP8)  # type: ignore[arg-type]
    damaged = damage(path, "zeroed", path.stat().st_size // 2, 2500)
    with pytest.raises(VideoError):
        list(VideoReader(damaged, 360, Span(1.2, 3.0)))


def test_a_fragmented_file_that_repeats_its_start_is_sound(tmp_path: Path) -> None:
    """Downloaders of streams may write the first segment again before each part."""
    relative = {"movflags": f"{FRAGMENTS['movflags']}+default_base_moof"}
    fragmented = {**H264, "container_options": relative}
    path = encode_video(tmp_path / "v.mp4", patterned(80), **fragmented)  # type: ignore[arg-type]
    data = path.read_bytes()
    places = [place - 4 for place in range(len(data)) if data.startswith(b"moof", place)]
    assert len(places) == 4
    path.write_bytes(data[: places[2]] + data[: places[0]] + data[places[2] :])
    reader = VideoReader(path, 360)
    assert len(list(reader)) == 80 and not reader.warnings


@pytest.mark.parametrize(
    ("name", "encoding", "is_read"),
    [
        ("v.mp4", H264, False),
        ("v.mp4", {**H264, "container_options": {"movflags": "faststart"}}, False),
        ("v.mp4", {**H264, "container_options": {"movflags": "hybrid_fragmented"}}, False),
        ("v.mov", {"codec": "mpeg4"}, False),
        ("v.wmv", WMV, False),
        ("v.gif", {"codec": "gif", "pixel_format": "rgb8"}, True),
        ("v.mp4", {**H264, "container_options": FRAGMENTS}, False),
        ("v.mp4", {**H264, "container_options": {"movflags": "dash+frag_keyframe"}}, False),
    ],
)
def test_a_second_file_joined_to_the_first_is_read_or_reported(
    tmp_path: Path, name: str, encoding: dict[str, object], is_read: bool
) -> None:
    """Decoders end with the first file: half of the frames would be missing, without a word."""
    path = encode_video(tmp_path / name, patterned(40), **encoding)  # type: ignore[arg-type]
    one = path.read_bytes()
    assert len(list(VideoReader(path, 360))) == 40
    check_whole(path)
    path.write_bytes(2 * one)
    if is_read:
        assert len(list(VideoReader(path, 360))) == 80
        return
    for read in (check_whole, lambda path: list(VideoReader(path, 360))):
        with pytest.raises(VideoError, match=f"another video starts at byte {len(one)} "):
            read(path)
    kept = VideoReader(path, 360, keep_partial=True)
    assert len(list(kept)) < 80 and kept.losses
    assert len(list(VideoReader(path, 360, Span(0.2, 0.6)))) == 10  # of the first


def test_a_second_table_of_the_same_samples_is_no_second_file(tmp_path: Path) -> None:
    """Programs that copy an MP4's table to its start may leave the old one at its end."""
    faststart = {**H264, "container_options": {"movflags": "faststart"}}
    path = encode_video(tmp_path / "v.mp4", patterned(40), **faststart)  # type: ignore[arg-type]
    data = path.read_bytes()
    place = data.index(b"moov") - 4
    path.write_bytes(data + data[place : place + int.from_bytes(data[place : place + 4], "big")])
    reader = VideoReader(path, 360)
    assert len(list(reader)) == 40 and not reader.warnings
