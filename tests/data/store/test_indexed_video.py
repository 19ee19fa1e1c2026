"""Video files by frame number: another frame than that of a conversion would be another clip under the same name."""

import tracemalloc
import zlib
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest
import simplejpeg

from data.clips.one_video import crops_of
from data.store import keyframe_index
from data.store.crop_box import CropBox
from data.store.frame_store import FrameStore, write_frames
from data.store.gradual_refresh import refreshes_gradually
from data.store.indexed_video import IndexedVideo
from data.store.keyframe_index import FrameIndex, index_video
from data.store.video_container import VideoError
from data.store.video_file import Span, VideoReader
from data.store.video_source import VideoPart, VideoSourceError
from tests.data.store.test_video_colours import FULL, LIMITED, make_frame, write
from tests.data.store.test_video_file import corner_frame, corners_of, patterned, set_display_matrix
from tests.data.store.test_video_spans import H264, MPEG2, MPEG4, NEGATIVE, OPEN_GOP, encode_with_sound
from tests.numbered import encode_numbered_video, encode_video, frame_numbers
from tests.small_dataset import noisy_frames

WHOLE = 1 << 30


def part_of(path: Path, first: int = 0, frames: int | None = None) -> VideoPart:
    index, status = index_video(path), path.stat()
    number = len(index.times) if frames is None else frames
    return VideoPart(str(path), status.st_size, status.st_mtime_ns, index.packed(), first, number)


def index_of(part: VideoPart) -> FrameIndex:
    return FrameIndex.unpack(part.packed, part.size)


@pytest.mark.parametrize(
    ("name", "encoding", "searched", "decoded"),
    [
        ("v.mp4", H264, True, False),
        ("v.mp4", OPEN_GOP, True, False),
        ("v.mp4", MPEG4, True, True),
        ("v.mp4", {**H264, "container_options": {"movflags": "frag_keyframe+empty_moov"}}, True, False),
        ("v.mp4", {"codec": "libx265", "options": {"x265-params": "keyint=20:bframes=3:log-level=none"}}, True, False),
        ("v.mov", {**H264, "pts": [n + 3 * (n // 7) + 9 * (n // 31) for n in range(90)]}, True, False),
        ("v.mov", {"codec": "mjpeg", "pixel_format": "yuvj420p", "options": {"q": "3"}}, True, False),
        ("v.mkv", OPEN_GOP, True, False),
        ("v.mkv", MPEG2, True, True),
        ("v.mkv", {**H264, "container_options": {"live": "1"}}, True, False),
        ("v.mkv", {**NEGATIVE, "first_pts": -40}, True, True),
        ("v.mkv", {"codec": "ffv1", "pixel_format": "bgr0"}, True, True),
        ("v.mp4", {"codec": "libaom-av1", "options": {"cpu-used": "8", "g": "20", "lag-in-frames": "9"}}, True, False),
        ("v.webm", {"codec": "libvpx-vp9", "options": {"g": "20", "deadline": "realtime"}}, True, False),
        ("v.webm", {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "8", "b": "1M"}}, True, True),
        ("v.avi", {"codec": "mpeg4", "options": {"bf": "2", "qmin": "2", "qmax": "2"}}, False, True),
        ("v.ts", OPEN_GOP, False, True),
        ("v.mpg", {"codec": "mpeg1video", "options": {"bf": "2", "qmin": "2", "qmax": "4", "b": "1M"}}, False, True),
        ("v.flv", H264, False, True),
        ("v.h264", H264, False, True),
    ],
)
def test_a_frame_is_that_of_a_conversion(
    tmp_path: Path,
    name: str,
    encoding: dict[str, object],
    searched: bool,
    decoded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its number and to the last grey level, whatever was read before it, or in what order."""
    path = encode_video(tmp_path / name, patterned(90, 64, 96), **encoding)  # type: ignore[arg-type]
    expected = list(VideoReader(path, WHOLE))
    wholly = []
    by_decoding = keyframe_index._by_decoding
    monkeypatch.setattr(keyframe_index, "_by_decoding", lambda path: wholly.append(path) or by_decoding(path))
    part = part_of(path)
    assert bool(wholly) == decoded and FrameIndex.frames_in(part.packed) == 90
    assert part.frames == len(expected) == 90 and (index_of(part).stamps is not None) == searched
    rng = np.random.default_rng(0)
    for wanted in ([0], [89], [44, 45], [0, 30, 61, 89], [71, 2, 2, 40], *rng.integers(0, 90, (4, 6)).tolist()):
        with IndexedVideo(part) as video:
            again = video.read(wanted[::-1])[::-1]
            for number, frame, same in zip(wanted, video.read(wanted), again, strict=True):
                assert np.array_equal(frame, expected[number]) and np.array_equal(same, frame), (wanted, number)


CRAFTED = {
    "no frames": {2: 0, 4: 0},
    "more frames than bytes": {2: 2**31},
    "more keyframes than frames": {3: 91},
    "other counts": {2: 89},
    "no size": {0: 0},
    "frames of 10 gigapixels": {0: 100_000, 1: 100_000},
    "no tick": {6: 0},
    "no end": {8: float("nan")},
    "an endless step": {9: float("inf")},
}


@pytest.mark.parametrize("fields", CRAFTED.values(), ids=CRAFTED)
def test_a_crafted_index_is_one_line(tmp_path: Path, fields: dict[int, float]) -> None:
    """It comes from a file of the dataset's folder, which others may write: it took all memory, or failed anywhere."""
    part = part_of(encode_video(tmp_path / "v.mp4", patterned(90, 64, 96), **H264))  # type: ignore[arg-type]
    header = list(keyframe_index.HEADER.unpack_from(part.packed))
    for place, value in fields.items():
        header[place] = value
    packed = keyframe_index.HEADER.pack(*header) + part.packed[keyframe_index.HEADER.size :]
    with pytest.raises(VideoSourceError, match=r"v\.mp4 has a damaged index; delete"):
        IndexedVideo(part._replace(packed=packed))


@pytest.mark.parametrize("content", ["bomb", "cut", "descending", "keyframes", "short"])
def test_numbers_that_are_no_index_are_one_line(tmp_path: Path, content: str) -> None:
    part = part_of(encode_video(tmp_path / "v.mp4", patterned(90, 64, 96), **H264))  # type: ignore[arg-type]
    head, packed = part.packed[: keyframe_index.HEADER.size], part.packed[keyframe_index.HEADER.size :]
    numbers = np.frombuffer(zlib.decompress(packed), "<i8").copy()
    if content == "bomb":
        packed = zlib.compress(bytes(2**26))
        tracemalloc.start()
    elif content == "descending":
        numbers[40] = -(2**40)
    elif content == "keyframes":
        numbers[-1] = 2**40
    if content in ("descending", "keyframes"):
        packed = zlib.compress(numbers.tobytes())
    part = part._replace(packed=head[:20] if content == "short" else head + packed[: -1 if content == "cut" else None])
    with pytest.raises(VideoSourceError, match="damaged index"):
        IndexedVideo(part)
    if content == "bomb":
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()


def test_only_what_a_clip_needs_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip at the end of a long video would take as long as the whole video."""
    part = part_of(
        encode_numbered_video(tmp_path / "v.mp4", 200, **{**H264, "options": {**H264["options"], "g": "10"}})
    )  # type: ignore[dict-item]
    decoded = []
    number = IndexedVideo._decoded
    monkeypatch.setattr(IndexedVideo, "_decoded", lambda *a: (decoded.append(each[0]) or each for each in number(*a)))
    assert frame_numbers(IndexedVideo(part).read([3, 183, 185])) == [3, 183, 185]
    assert max(decoded) < 190 and len(decoded) < 20


def test_frames_that_build_up_over_several_are_found(tmp_path: Path) -> None:
    """With recovery points in place of keyframes, a decoder gives no frame for a while after each."""
    refresh = {"x264-params": "intra-refresh=1:keyint=30:bframes=0", "crf": "20"}
    path = encode_video(tmp_path / "v.mp4", patterned(90), options=refresh)
    expected = list(VideoReader(path, WHOLE))
    part = part_of(path)
    for number in range(0, 90, 7):
        assert np.array_equal(IndexedVideo(part).read([number])[0], expected[number]), number


@pytest.mark.parametrize("name", ["v.mp4", "v.mkv"])
def test_a_picture_that_has_not_built_up_is_not_taken_for_the_frame(tmp_path: Path, name: str) -> None:
    """FFmpeg gives frames of a search too early where refreshes follow each other closely: training saw others."""
    refresh = {"x264-params": "intra-refresh=1:keyint=10", "crf": "20"}
    path = encode_video(tmp_path / name, patterned(60, 48, 64), options=refresh)
    index = index_video(path)
    assert index.stamps is not None and index.keyframes.tolist() == [0]
    expected, part = list(VideoReader(path, WHOLE)), part_of(path)
    for number in range(60):
        assert np.array_equal(IndexedVideo(part).read([number])[0], expected[number]), number


@pytest.mark.parametrize(
    ("point", "later"), [(b"\xc0", False), (b"\x30\x80", True), (b"", False)], ids=["at once", "later", "none"]
)
@pytest.mark.parametrize("starts", [False, True])
def test_a_recovery_point_is_read(point: bytes, later: bool, starts: bool) -> None:
    """One of 0 frames is the start of an open group of pictures, from which decoding can begin."""
    messages = b"\x05\xff\x01" + b"x" * 256 + (bytes([6, len(point)]) + point if point else b"") + b"\x80"
    for kind, gradual in ((1, later), (5, False)):
        units = [b"\x09\xf0", b"\x06" + messages, bytes([kind]) + b"slice"]
        if kind == 5:
            units = units[::2]
        framed = b"".join((b"\0\0\1" if starts else len(unit).to_bytes(4, "big")) + unit for unit in units)
        assert refreshes_gradually(framed, b"" if starts else b"\1\x64\0\x1f\xff") is gradual
    for header in (b"", b"\1\x64\0\x1f\xff"):
        assert not refreshes_gradually(b"", header) and not refreshes_gradually(b"\0\0\0\1\6", header)


def test_frames_before_the_start_of_an_edit_list_are_not_counted(tmp_path: Path) -> None:
    """Editors that cut without encoding leave frames in the file that players do not show."""
    path = encode_numbered_video(tmp_path / "v.mp4", 60, first_pts=-11, **H264)
    reader = VideoReader(path, WHOLE)
    expected = list(reader)
    part = part_of(path)
    assert part.frames == len(expected) < 60
    assert not reader.losses and not index_video(path).warning  # the header counts them, but none is lost
    assert frame_numbers(IndexedVideo(part).read([0, 20])) == frame_numbers(np.stack([expected[0], expected[20]]))


def test_fields_of_interlaced_video_are_frames_once(tmp_path: Path) -> None:
    options = {"x264-params": "interlaced=1:keyint=12", "crf": "10"}
    path = encode_numbered_video(tmp_path / "v.mp4", 40, options=options)
    assert part_of(path).frames == len(list(VideoReader(path, WHOLE)))


@pytest.mark.parametrize("encoding", [H264, MPEG4], ids=["h264", "mpeg4"])
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.ts", "v.avi"])
def test_a_part_of_a_video_has_the_frames_of_its_cut(tmp_path: Path, name: str, encoding: dict[str, object]) -> None:
    """A clip of other frames than those of its time would carry the wrong label."""
    path = encode_numbered_video(tmp_path / name, 120, 32, 48, **encoding)
    index = index_video(path)
    for start, end in ((0.0, 0.4), (0.5, 1.5), (1.16, 1.3), (1.2, 1.24), (4.3, 9.0)):
        first, count = index.part(start, end)
        assert list(range(first, first + count)) == [n for n in range(120) if start <= n / 25 < end]
        assert count == len(list(VideoReader(path, WHOLE, Span(start, end), keep_partial=True)))
        part = part_of(path, first, count)
        assert frame_numbers(IndexedVideo(part).read([0, count - 1])) == [first, first + count - 1]
        with pytest.raises(VideoSourceError, match="out of range"):
            IndexedVideo(part).read([count])


@pytest.mark.parametrize(("name", "sound"), [("v.mp4", "aac"), ("v.mkv", "pcm_s16le")])
def test_a_picture_that_starts_late_is_cut_by_the_times_of_the_file(tmp_path: Path, name: str, sound: str) -> None:
    path = encode_with_sound(tmp_path / name, 100, 1.0, "libx264", sound)
    first, count = index_video(path).part(1.8, 2.6)
    assert count == len(list(VideoReader(path, WHOLE, Span(1.8, 2.6))))
    assert first == 20


def quality_100(pixels: Iterable[np.ndarray], folder: Path) -> FrameStore:
    write_frames(folder, (simplejpeg.encode_jpeg(each, 100, colorsubsampling="444") for each in pixels))
    return FrameStore(folder)


@pytest.mark.parametrize("box", [None, CropBox(8, 20, 60, 80, 60, 80, True), CropBox(0, 4, 90, 110, 70, 80)])
@pytest.mark.parametrize("turned", [False, True])
def test_pixels_are_those_of_the_database(tmp_path: Path, box: CropBox | None, turned: bool) -> None:
    """Weights that were trained on the one kind of file would score otherwise on the other."""
    frames = noisy_frames(12, 128, 160, 120, seed=1)
    path = encode_video(tmp_path / "v.mp4", frames, options={"crf": "18"})
    if turned:
        set_display_matrix(path, 0, 1, -1, 0)
    store = quality_100(VideoReader(path, WHOLE), tmp_path / "v")
    video = IndexedVideo(part_of(path))
    assert video.size() == store.size() == ((160, 128) if turned else (128, 160))
    difference = np.abs(video.read([0, 5, 11], box).astype(int) - store.read([0, 5, 11], box))
    # At quality 100 a coefficient is off by half a level. A scaled box takes JPEG's fast transform.
    assert difference.mean() < (1 if box is None or not box.scales else 2) and difference.max() <= 8


@pytest.mark.parametrize("box", [CropBox(0, 0, 176, 176, 64, 64), CropBox(4, 8, 160, 176, 32, 36, True)])
def test_small_crops_of_large_frames_are_averaged_as_in_the_database(tmp_path: Path, box: CropBox) -> None:
    """A database's JPEG is decoded at a half or a quarter, which averages; skipped pixels look like other textures."""
    grey = np.random.default_rng(2).integers(16, 240, (2, 184, 192, 1), np.uint8)
    path = encode_video(tmp_path / "v.mp4", list(np.repeat(grey, 3, axis=3)), options={"crf": "1"})
    store = quality_100(VideoReader(path, WHOLE), tmp_path / "v")
    one, other = IndexedVideo(part_of(path)).read([0, 1], box), store.read([0, 1], box)
    assert np.abs(one.astype(int) - other).mean() < 3 and other.std() > 10
    with_others = np.empty((1, 2, *one.shape[1:]), np.uint8)
    IndexedVideo(part_of(path)).read_crops([0, 1], [box], with_others)
    assert (with_others[0] == one).all() and (crops_of(next(iter(VideoReader(path, WHOLE))), [box])[0] == one[0]).all()


@pytest.mark.parametrize("levels", [LIMITED, FULL])
def test_levels_of_both_ranges_are_those_of_the_database(tmp_path: Path, levels: int) -> None:
    frame = make_frame("yuv420p", 6, levels == FULL)
    frame.colorspace, frame.color_range = 6, levels
    path = write(tmp_path / "v.mp4", "libx264", frame)
    store = quality_100(VideoReader(path, WHOLE), tmp_path / "v")
    difference = np.abs(IndexedVideo(part_of(path)).read([0]).astype(int) - store.read([0]))
    assert difference.mean() < 2 and difference.max() <= 8


def test_a_turned_video_is_upright(tmp_path: Path) -> None:
    path = encode_video(tmp_path / "v.mp4", [corner_frame()] * 3)
    set_display_matrix(path, 0, 1, -1, 0)
    assert corners_of(IndexedVideo(part_of(path)).read([2])[0]) == ["blue", "red", "white", "green"]


def test_another_size_within_a_video_is_scaled_as_in_a_conversion(tmp_path: Path) -> None:
    first = encode_numbered_video(tmp_path / "a.ts", 10, 48, 64)
    second = encode_numbered_video(tmp_path / "b.ts", 10, 96, 64, start=10)
    path = tmp_path / "v.ts"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    clip = IndexedVideo(part_of(path)).read([17, 18])
    assert clip.shape == (2, 48, 64, 3) and frame_numbers(clip) == [17, 18]


@pytest.mark.parametrize("name", ["v.mp4", "v.avi", "v.mkv", "v.ts"])
def test_damage_is_found_by_the_index(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = encode_video(tmp_path / name, patterned(60), codec=codec)
    data = path.read_bytes()
    half = len(data) // 2
    path.write_bytes(data[:half] + bytes(3000) + data[half + 3000 :])
    with pytest.raises(VideoError):
        index_video(path)
    if not name.endswith("ts"):
        path.write_bytes(data[: int(len(data) * 0.9)])
        with pytest.raises(VideoError):
            index_video(path)


def test_damage_that_only_decoding_finds_is_an_error_of_the_video(tmp_path: Path) -> None:
    """Training replaces such a video, or stops; a clip of grey blocks would be learnt."""
    path = encode_video(tmp_path / "v.mp4", patterned(60), options={"g": "60", "bf": "0", "crf": "18"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    place, size = packets[20]
    data[place + 5 : place + size] = np.random.default_rng(0).bytes(size - 5)
    path.write_bytes(data)
    part = part_of(path)
    with pytest.raises(VideoSourceError, match=r"v\.mp4"):
        IndexedVideo(part).read([30])
    assert IndexedVideo(part).read([5]).shape == (1, 96, 128, 3)


def test_a_file_that_changed_since_the_scan_is_an_error_of_the_video(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 10)
    part = part_of(path)
    encode_numbered_video(path, 12)
    with pytest.raises(VideoSourceError, match="changed"):
        IndexedVideo(part).read([0])
    path.unlink()
    with pytest.raises(VideoSourceError, match="No such file"):
        IndexedVideo(part).read([0])


def test_frames_a_second_are_those_of_the_part(tmp_path: Path) -> None:
    path = encode_numbered_video(tmp_path / "v.mp4", 40, rate=10)
    assert IndexedVideo(part_of(path)).rate() == IndexedVideo(part_of(path, 7, 9)).rate() == 10
    assert IndexedVideo(part_of(path, 7, 1)).rate() is None
    pts = [*range(20), *range(20, 100, 4)]
    slow = encode_numbered_video(tmp_path / "slow.mkv", 40, rate=20, pts=pts)
    assert IndexedVideo(part_of(slow, 0, 20)).rate() == 20
    assert IndexedVideo(part_of(slow, 20, 20)).rate() == pytest.approx(5)
    assert IndexedVideo(part_of(encode_numbered_video(tmp_path / "v.h264", 9))).rate() is None


def test_an_index_of_a_constant_rate_takes_few_bytes(tmp_path: Path) -> None:
    """Those of a million videos are in memory."""
    path = encode_numbered_video(tmp_path / "v.mp4", 300, rate=30, options={"g": "12"})
    assert len(part_of(path).packed) < 200


@pytest.mark.slow
def test_ten_thousand_reads_leak_no_memory_file_or_thread(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    mp4 = part_of(encode_numbered_video(tmp_path / "v.mp4", 30, **H264))
    avi = part_of(encode_numbered_video(tmp_path / "v.avi", 30, codec="mpeg4"))
    box = CropBox(0, 0, 48, 48, 24, 24)

    def use(times: int) -> None:
        for number in range(times):
            for part in (mp4, avi):
                with IndexedVideo(part) as video:
                    video.read([number % 20, 25], box)

    use(500)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files = len(list(Path("/proc/self/fd").iterdir()))
    threads = len(list(Path("/proc/self/task").iterdir()))
    use(5000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    assert len(list(Path("/proc/self/task").iterdir())) == threads


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v.mp4", "v.mkv", "v.avi", "v.ts", "fragmented.mp4"])
def test_random_damage_is_an_error_of_the_video_or_changes_no_number(tmp_path: Path, name: str) -> None:
    """Never another exception, which would end a training with a traceback."""
    codec = "mpeg4" if name == "v.avi" else "libx264"
    more = {"movflags": "frag_keyframe+empty_moov"} if name == "fragmented.mp4" else {}
    path = encode_video(tmp_path / name, patterned(40), codec=codec, container_options=more)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    for _ in range(150):
        changed = bytearray(data)
        for place in rng.integers(0, len(data), int(rng.integers(1, 6))).tolist():
            changed[place : place + int(rng.integers(1, 40))] = rng.bytes(int(rng.integers(0, 40)))
        path.write_bytes(changed)
        try:
            part = part_of(path)
        except VideoError:
            outcomes.add("found by the index")
            continue
        try:
            clip = IndexedVideo(part).read(rng.integers(0, part.frames, 8).tolist())
            outcomes.add("read")
            assert clip.shape[0] == 8
        except VideoSourceError:
            outcomes.add("found by decoding")
    assert "found by the index" in outcomes


@pytest.mark.parametrize("kind", ["file", "database"])
def test_several_crops_are_each_as_if_read_alone(tmp_path, kind):
    """Three-crop scores would be of other pixels than those of the crops that they are said to be of."""
    pictures = noisy_frames(12, 48, 80, 120, 3)
    if kind == "file":
        encode_video(tmp_path / "v.mp4", pictures, **H264)
        source = IndexedVideo(part_of(tmp_path / "v.mp4"))
    else:
        write_frames(tmp_path / "v", (simplejpeg.encode_jpeg(picture) for picture in pictures))
        source = FrameStore(tmp_path / "v")
    boxes = [CropBox(2, left, 40, 40, 32, 32) for left in (0, 20, 40)]
    indices = [7, 1, 1, 10]
    out = np.empty((3, 4, 32, 32, 3), np.uint8)
    with source as video:
        video.read_crops(indices, boxes, out)
        for box, crop in zip(boxes, out, strict=True):
            assert (video.read(indices, box) == crop).all()
    assert (out[0] != out[2]).any()
