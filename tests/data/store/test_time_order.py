"""Times that go back: of files joined to one, rates were wrong, and frames lost, without a word; sound files pass."""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from data.store.indexed_video import IndexedVideo
from data.store.keyframe_index import index_video
from data.store.video_file import Span, VideoError, VideoReader, check_whole
from tests.data.store.test_indexed_video import part_of
from tests.data.store.test_video_damage import H264, VP8, patterned
from tests.numbered import encode_numbered_video, encode_video, frame_number, frame_numbers

CLUSTER = bytes.fromhex("1F43B675")
APNG = {"codec": "apng", "pixel_format": "rgb24"}
LIVE = {"live": "1", "cluster_time_limit": "780"}  # 10 or 20 frames each
BACK = "the times of its frames go back"


def read(path: Path) -> list[np.ndarray]:
    return list(VideoReader(path, 360))


def fails(path: Path, why: str) -> None:
    for use in (read, index_video):
        with pytest.raises(VideoError, match=why):
            use(path)


@pytest.mark.parametrize(
    ("name", "encoding", "kept"),
    [
        ("v.mkv", H264, 80),
        ("v.mkv", {**H264, "container_options": {"live": "1"}}, 80),
        ("v.webm", VP8, 80),
        ("v.webm", {**VP8, "container_options": {"live": "1"}}, 80),
        ("v.apng", APNG, 40),
    ],
)
def test_joined_files_fail_as_joined_mp4_does(
    tmp_path: Path, name: str, encoding: dict[str, object], kept: int
) -> None:
    """Two videos were one of another rate; with --fps, frames of the second were lost."""
    path = encode_video(tmp_path / name, patterned(40), **encoding)  # type: ignore[arg-type]
    one = path.read_bytes()
    check_whole(path)
    path.write_bytes(2 * one)
    fails(path, f"another video starts at byte {len(one)} ")
    with pytest.raises(VideoError, match="another video starts"):
        check_whole(path)
    for fps in (None, 25):
        reader = VideoReader(path, 360, keep_partial=True, fps=fps)
        assert (len(list(reader)), reader.rate) == (kept, 25) and len(reader.warnings) == 1
    assert len(list(VideoReader(path, 360, Span(0.2, 0.6)))) == 10  # of the first


def test_a_clip_behind_the_first_of_joined_files_fails(tmp_path: Path) -> None:
    """It had the frames of another video."""
    path = encode_video(tmp_path / "a.mkv", patterned(40), **H264)  # type: ignore[arg-type]
    longer = encode_video(tmp_path / "b.mkv", patterned(60), **H264)  # type: ignore[arg-type]
    path.write_bytes(path.read_bytes() + longer.read_bytes())
    with pytest.raises(VideoError, match="another video starts"):
        list(VideoReader(path, 360, Span(1.8, 2.2)))


def clusters(data: bytes) -> list[bytes]:
    """What comes before the clusters of a live Matroska file, and these."""
    first, *others = data.split(CLUSTER)
    return [first, *(CLUSTER + each for each in others)]


@pytest.mark.parametrize("frames_between", [0, 2])
@pytest.mark.parametrize("order", [[0, 1, 3, 2, 4], [0, 1, 2, 2, 3, 4], [0, 1, 2, 1, 4]])
def test_clusters_in_another_order_fail(tmp_path: Path, order: list[int], frames_between: int) -> None:
    """Frames came in the order of storage in conversions, and in that of their times from files."""
    options = {**H264["options"], "bf": str(frames_between), "sc_threshold": "0"}  # type: ignore[dict-item]
    path = encode_video(tmp_path / "v.mkv", patterned(80), options=options, container_options=LIVE)
    parts = clusters(path.read_bytes())
    assert len(parts) >= 5 and len(read(path)) == len(index_video(path).times) == 80
    path.write_bytes(b"".join([*(parts[number] for number in order), *parts[5:]]))
    fails(path, BACK)


def flv_tags(data: bytes) -> list[bytes]:
    """The file's header, and its tags."""
    tags, place = [data[:13]], 13
    while place + 11 <= len(data):
        end = place + 15 + int.from_bytes(data[place + 1 : place + 4], "big")
        tags.append(data[place:end])
        place = end
    return tags


def test_tags_of_flv_in_another_order_fail(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "v.flv", patterned(60), codec="flv", options={"g": "10"})
    tags = flv_tags(path.read_bytes())
    assert len(read(path)) == len(index_video(path).times) == 60
    path.write_bytes(b"".join([*tags[:22], *tags[32:42], *tags[22:32], *tags[42:]]))
    fails(path, BACK)


def with_times(path: Path, count: int, change: Callable[[av.Packet, int], None]) -> Path:
    """A video with frames between, whose packets' times are changed before they are written."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "3", "b_strategy": "0", "threads": "1"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        packets = []
        for frame in encoded(path.with_suffix(".nut"), count):
            packets += stream.encode(frame)
        for number, packet in enumerate([*packets, *stream.encode(None)]):
            change(packet, number)
            container.mux(packet)
    return path


def encoded(path: Path, count: int) -> list[av.VideoFrame]:
    """Numbered frames for an encoder."""
    encode_numbered_video(path, count)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    for frame in frames:
        frame.pict_type = 0
    return frames


def in_order_of_storage(packet: av.Packet, number: int) -> None:
    assert packet.time_base is not None
    packet.pts = packet.dts = number * round(0.04 / packet.time_base)


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.flv", "v.nut"])
def test_times_in_the_order_of_storage_are_no_damage(tmp_path: Path, name: str) -> None:
    """Old writers, and FFmpeg in MXF, give the packets such times: the file is sound, and its frames are sorted.

    Read by its index, it gave frames in the order of storage.
    """
    path = with_times(tmp_path / name, 40, in_order_of_storage)
    assert [frame_number(frame) for frame in read(path)] == list(range(40))
    assert frame_numbers(IndexedVideo(part_of(path)).read(range(40))) == list(range(40))


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.flv", "v.wmv"])
@pytest.mark.parametrize(
    "pts",
    [
        [40 * n for n in range(60)],
        [40 * n + (7 * n) % 13 for n in range(60)],
        [5000 + 40 * n for n in range(60)],
        [33 * n + 900 * (n // 7) for n in range(60)],
    ],
    ids=["even", "uneven", "late", "slides"],
)
def test_usual_times_pass(tmp_path: Path, name: str, pts: list[int]) -> None:
    encoding = {"codec": "wmv2"} if name == "v.wmv" else H264
    path = encode_video(tmp_path / name, patterned(60), rate=1000, pts=pts, **encoding)  # type: ignore[arg-type]
    assert len(read(path)) == len(index_video(path).times) == 60
