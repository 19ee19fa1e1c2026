"""From label rows to video files: another file, or another part of one, would carry the wrong label."""

import os
import shutil
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path

import av
import numpy as np
import pytest

from common.errors import DataError
from data.clips.dataset import ClipDataset
from data.clips.enlarged import enlarged_frames
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels import index_cache
from data.labels.content import UNREAD, content_of
from data.labels.dataset_spec import DatasetSpec
from data.labels.passport import passport_of
from data.labels.splits import Splits, load_splits, load_val
from data.store.frame_store import write_frames
from data.store.indexed_video import IndexedVideo
from data.store.video_file import VideoReader
from data.store.video_source import VideoPart
from tests.failing_disk import fail_from
from tests.numbered import encode_numbered_video, frame_numbers, jpeg
from tests.other_user import without_rights

SPEC = DatasetSpec("custom", "train.csv", "val.csv")
TIMED = "label,youtube_id,time_start,time_end\n"
FINE = {"crf": "10", "g": "10", "preset": "ultrafast", "threads": "1"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A video of frames 0 to 49, 25 a second, in each format."""
    folder = tmp_path_factory.mktemp("sample")
    return {
        ".mp4": encode_numbered_video(folder / "v.mp4", 50, options=FINE),
        ".avi": encode_numbered_video(folder / "v.avi", 50, codec="mpeg4"),
        ".mkv": encode_numbered_video(folder / "v.mkv", 50, options=FINE),
    }


class Disk:
    """A dataset of copies of the sample video."""

    def __init__(self, root: Path, sample: dict[str, Path]) -> None:
        self.root, self.sample = root, sample

    def files(self, *names: str) -> "Disk":
        for name in names:
            path = self.root / "videos" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.sample.get(path.suffix.lower(), self.sample[".mp4"]), path)
        return self

    def labels(self, train: Iterable[str], val: Iterable[str], header: str = "label,id\n") -> "Disk":
        (self.root / "labels").mkdir(parents=True, exist_ok=True)
        for name, rows in (("train.csv", train), ("val.csv", val)):
            (self.root / "labels" / name).write_text(header + "".join(f"{row}\n" for row in rows))
        return self

    def load(self) -> Splits:
        return load_splits(self.root, SPEC, source="videos")

    def error(self, source: str = "videos") -> str:
        with pytest.raises(DataError) as error:
            load_splits(self.root, SPEC, source=source)
        assert "\n" not in str(error.value)
        return str(error.value)


@pytest.fixture
def disk(tmp_path: Path, sample: dict[str, Path]) -> Disk:
    return Disk(tmp_path / "data", sample)


def said(lines: Iterable[str], *words: str) -> bool:
    return any(all(word in line for word in words) for line in lines)


def test_videos_of_any_suffix_are_found_by_their_ids(disk: Disk) -> None:
    disk.files("wave/-a#1.mp4", "wave/b.AVI", "clap hands/c.x.mkv").labels(
        ["wave,-a#1", "clap_hands,c.x"], ["wave,b", "wave,gone"]
    )
    splits = disk.load()
    assert splits.train.source == splits.val.source == "videos"
    assert splits.train.frame_counts.tolist() == [50, 50] and splits.val.frame_counts.tolist() == [50]
    clips = ClipDataset(splits.val, UniformClips(2), 0)
    clip = clips[ClipRequest(0, ClipShape(5, 40, 40), 0)]
    assert frame_numbers(clip.frames[0].numpy()) == [20, 22, 24, 26, 28]
    assert said(splits.report, "gone", "not on disk")
    val, report = load_val(disk.root, SPEC, source="videos")
    assert val.digest() == splits.val.digest() and said(report, "gone")


def test_a_row_with_times_is_a_cut_clip_or_a_part_of_a_whole_video(disk: Disk) -> None:
    disk.files("wave/cut_000000_000001.mp4", "wave/cut.mp4", "wave/whole.mkv", "wave/v_hacs.avi")
    disk.labels(["wave,cut,0,1", "wave,whole,0.4,1.2"], ["wave,hacs,1,1.5", "wave,whole,1.9,2.5"], TIMED)
    splits = disk.load()
    assert splits.train.frame_counts.tolist() == [50, 20]
    assert splits.val.frame_counts.tolist() == [13]
    for videos, index, first in ((splits.train, 0, 0), (splits.train, 1, 10), (splits.val, 0, 25)):
        with IndexedVideo(videos.place(index)) as video:  # type: ignore[arg-type]
            assert frame_numbers(video.read([0, 5])) == [first, first + 5]
    assert said(splits.report, "whole_000001_000002", "middle of the clip")


def test_a_whole_video_under_the_name_of_a_clip_is_said(disk: Disk, indexed: list[str]) -> None:
    """Minutes of other things were trained as its class. `verify` said it of databases alone."""
    youtube, right = "dQw4w9WgXcQ_000003_000007", "dQw4w9WgXcQ_000013_000015"
    disk.sample[".mov"] = encode_numbered_video(disk.root.parent / "long.mov", 200, options=FINE)  # 8 s
    disk.files("wave/x_000005_000007.mov", "wave/y_000005_000007.mp4", "wave/short_000010_000020.mp4")
    disk.files(f"wave/{youtube}.mov", f"wave/{right}.mp4", "wave/v_000001_000002.mov", "wave/z.mov")
    timed = ["wave,x,5,7", "wave,y,5,7", "wave,short,10,20", "wave,z,5,7"]
    disk.labels(timed, [f"wave,{name},," for name in (youtube, right, "v_000001_000002")], TIMED)
    for _ in range(2):
        lines = [line for line in disk.load().report if "longer than" in line]
        assert len(lines) == 1, "one line, and the same with the kept index"
        assert f"2 video files are longer than the times of the clip: (wave/{youtube}.mov) lasts 8.0 s" in lines[0]
        assert "(wave/x_000005_000007.mov) lasts 8.0 s, but its label row or name says 5 to 7 s" in lines[0]
    assert len(indexed) == 7
    assert said(load_val(disk.root, SPEC, source="videos")[1], "1 video file is longer", youtube)
    for name in ("x_000005_000007", youtube):
        shutil.copy(disk.sample[".mp4"], disk.root / "videos" / "wave" / f"{name}.mov")
    assert not said(disk.load().report, "longer than")


def test_a_row_with_frames_is_a_part_of_a_whole_video(disk: Disk) -> None:
    disk.files("wave/whole.mp4").labels(
        ["wave,whole,10,20", "wave,whole,0,5"], ["wave,whole,40,58", "wave,whole,45,90"],
        "label,id,start_frame,end_frame\n",
    )  # fmt: skip
    splits = disk.load()
    rows = [splits.train.place(0), splits.train.place(1), splits.val.place(0)]
    assert len(splits.val) == 1 and said(splits.report, "has 50 frames")
    for part, number in zip(rows, (10, 0, 40), strict=True):
        with IndexedVideo(part) as video:  # type: ignore[arg-type]
            assert frame_numbers(video.read([0])) == [number]
    assert splits.val.frame_counts.tolist() == [10]


def test_the_suffix_of_a_row_chooses_between_files_of_one_name(disk: Disk) -> None:
    disk.files("wave/a.mp4", "wave/a.mkv").labels(["wave,a.mkv"], ["wave,a.mkv"])
    assert disk.load().train.place(0).path.endswith("a.mkv")  # type: ignore[union-attr]


def test_two_files_of_one_name_are_refused_if_a_row_needs_one(disk: Disk) -> None:
    """Else the one that the folder lists first would be trained on."""
    disk.files("wave/a.mp4", "wave/a.mkv", "wave/b.mp4").labels(["wave,b"], ["wave,b"])
    disk.load()
    disk.labels(["wave,b"], ["wave,a"])
    assert all(name in disk.error() for name in ("wave/a.mp4", "wave/a.mkv"))


def test_only_the_other_kind_of_folder_is_told_with_the_flag(disk: Disk) -> None:
    disk.files("wave/a.mp4").labels(["wave,a"], ["wave,a"])
    message = disk.error("frames")
    assert "--source videos" in message and "data.prepare.convert" in message
    (disk.root / "videos").rename(disk.root / "jpg")
    assert "--source videos" in disk.error() and "jpg" in disk.error()
    (disk.root / "jpg").rename(disk.root / "films")
    assert "films" in disk.error()


def test_damaged_videos_are_listed_and_left_out(disk: Disk) -> None:
    disk.files("wave/a.mp4", "wave/cut.mp4", "wave/empty.mp4", "wave/text.mkv").labels(
        ["wave,a", "wave,cut", "wave,empty", "wave,text", "wave,pipe"], ["wave,a"]
    )
    folder = disk.root / "videos/wave"
    (folder / "cut.mp4").write_bytes((folder / "cut.mp4").read_bytes()[:-400])
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "text.mkv").write_text("no video")
    os.mkfifo(folder / "pipe.mp4")
    for _ in range(2):  # the second time from the kept index
        splits = disk.load()
        assert len(splits.train) == 1
        assert said(splits.report, "4 of 5", "cut.mp4", "empty.mp4", "text.mkv", "and 1 more")
    disk.labels(["wave,cut"], ["wave,cut"])
    assert "cut.mp4" in disk.error()
    disk.files("wave/cut.mp4")
    assert len(disk.load().train) == 1


def test_nothing_found_says_where_was_looked(disk: Disk) -> None:
    disk.files("wave/a.mp4").labels(["wave,b"], ["wave,b"])
    message = disk.error()
    assert "videos/wave/b" in message and "convert" not in message and "frames.db" not in message


def test_the_source_changes_neither_draws_nor_identities(disk: Disk, tmp_path: Path) -> None:
    """Weights know their training videos by class and id, whatever file they were read from."""
    disk.files("wave/a.mp4", "clap hands/b.avi", "wave/c.mkv").labels(["wave,a", "clap hands,b"], ["wave,c"])
    for path in (disk.root / "videos").rglob("*.*"):
        frames = (jpeg(pixels, 100) for pixels in VideoReader(path, 360))
        write_frames(disk.root / "jpg" / path.parent.name / path.stem, frames)
    of_files, of_frames = disk.load().train, load_splits(disk.root, SPEC).train
    assert of_files.digest() == of_frames.digest()
    assert np.array_equal(of_files.hashes(), of_frames.hashes())
    sampling = RandomClips((1, 3), flip=True, augment=True)
    for epoch in range(3):
        request = ClipRequest(epoch % 2, ClipShape(6, 32, 32), epoch)
        one, other = (ClipDataset(videos, sampling, 5)[request] for videos in (of_files, of_frames))
        assert frame_numbers(one.frames[0].numpy()) == frame_numbers(other.frames[0].numpy())
        assert np.array_equal(one.augmentation_params, other.augmentation_params) and one.label == other.label


def test_the_content_of_video_files_is_told_from_another(disk: Disk) -> None:
    """A run that is resumed on other videos under the same names must say so."""
    disk.files("wave/a.mp4", "wave/b.mp4").labels(["wave,a", "wave,b"], ["wave,a"])
    content = content_of(disk.load().train)
    assert content_of(disk.load().train) == content
    encode_numbered_video(disk.root / "videos/wave/b.mp4", 50, start=99, options=FINE)
    videos = disk.load().train
    assert content.differences(content_of(videos)) == "other frames (in 1 of 2 videos looked at)"
    (disk.root / "videos/wave/b.mp4").unlink()
    assert content_of(videos).samples[1] == UNREAD


def test_small_frames_are_told(disk: Disk) -> None:
    disk.files("wave/a.mp4").labels(["wave,a"], ["wave,a"])
    assert enlarged_frames(disk.load().train, ClipShape(4, 112, 112), "training") is not None


# The kept indexes


@pytest.fixture
def indexed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are indexed."""
    made: list[str] = []
    index, lock = index_cache.index_video, threading.Lock()

    def noted(path: Path) -> object:
        with lock:
            made.append(path.name)
        return index(path)

    monkeypatch.setattr(index_cache, "index_video", noted)
    return made


def test_files_are_indexed_once_and_again_if_they_change(disk: Disk, indexed: list[str]) -> None:
    disk.files("wave/a.mp4", "wave/b.mp4").labels(["wave,a"], ["wave,b"])
    disk.load()
    assert sorted(indexed) == ["a.mp4", "b.mp4"]
    disk.load()
    assert len(indexed) == 2
    encode_numbered_video(disk.root / "videos/wave/b.mp4", 30, options=FINE)
    assert disk.load().val.frame_counts.tolist() == [30] and indexed[2:] == ["b.mp4"]
    disk.files("wave/c.mp4").labels(["wave,a", "wave,c"], ["wave,b"])
    disk.load()
    assert indexed[3:] == ["c.mp4"]
    os.utime(disk.root / "videos/wave/a.mp4", ns=(1, 1))  # as after a restore: it may be another file
    disk.load()
    assert indexed[4:] == ["a.mp4"]


def test_damage_is_looked_at_twice_and_then_kept(disk: Disk, indexed: list[str]) -> None:
    """A dataset with thousands of damaged files would start slowly."""
    disk.files("wave/a.mp4", "wave/b.mp4").labels(["wave,a"], ["wave,a", "wave,b"])
    (disk.root / "videos/wave/b.mp4").write_bytes(b"damaged" * 100)
    for _ in range(2):
        assert said(disk.load().report, "cannot be used", "wave/b.mp4")
        assert sorted(indexed) == ["a.mp4", "b.mp4", "b.mp4"]


@pytest.mark.parametrize("times", [None, 1], ids=["lasting", "passing"])
def test_an_error_of_the_disk_is_not_kept(disk: Disk, times: int | None) -> None:
    """The file was left out of every later start, whole and unchanged as it was."""
    disk.files("wave/a.mp4", "wave/b.mkv").labels(["wave,a"], ["wave,a", "wave,b"])
    path = disk.root / "videos/wave/b.mkv"
    with pytest.MonkeyPatch.context() as monkeypatch:
        fail_from(monkeypatch, path, path.stat().st_size // 2, times)
        found = disk.load()
    if times is None:
        assert said(found.report, "cannot be used", "wave/b.mkv) cannot be read (Input/output error)")
    else:
        assert found.val.frame_counts.tolist() == [50, 50]  # the second look
    assert disk.load().val.frame_counts.tolist() == [50, 50]


def test_a_file_with_a_time_that_no_array_holds_is_read(disk: Disk, indexed: list[str]) -> None:
    """A camera with a wrong clock, or an archive, ended each start with a traceback."""
    path = disk.files("wave/a.mp4", "wave/b.mp4").root / "videos/wave/a.mp4"
    os.utime(path, (13_569_465_600, 13_569_465_600))  # the year 2400
    if path.stat().st_mtime_ns < 2**63:
        pytest.skip("the file system has no such times")
    disk.labels(["wave,a"], ["wave,b"])
    for _ in range(2):
        splits = disk.load()
        assert passport_of(splits.train, "train")["unreadable"] == 0
        part = splits.train.place(0)
        assert isinstance(part, VideoPart)
        with IndexedVideo(part) as video:
            assert len(video.read([0])) == 1
    assert len(indexed) == 2


@pytest.mark.parametrize("damage", ["cut", "byte", "text", "fifo", "gone"])
def test_damaged_indexes_are_made_again(disk: Disk, indexed: list[str], damage: str) -> None:
    disk.files("wave/a.mp4").labels(["wave,a"], ["wave,a"])
    counts = disk.load().train.frame_counts.tolist()
    path = disk.root / ".index" / index_cache.NAME
    data = path.read_bytes()
    path.unlink()
    if damage == "cut":
        path.write_bytes(data[:-100])
    elif damage == "byte":
        place = data.index(b"index_ends") - 100
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    elif damage == "text":
        path.write_text("no index")
    elif damage == "fifo":
        os.mkfifo(path)
    splits = disk.load()
    assert splits.train.frame_counts.tolist() == counts and indexed == ["a.mp4"] * 2
    assert damage == "gone" or said(splits.report, str(path))
    disk.load()
    assert len(indexed) == 2 or damage == "fifo"


@pytest.mark.parametrize("name", ["indexes", "index_ends", "sizes"])
def test_a_crafted_index_is_made_again(disk: Disk, indexed: list[str], name: str) -> None:
    """Right checksums, but numbers of frames, lengths or types that would take all memory, or end the start."""
    disk.files("wave/a.mp4", "wave/b.mp4").labels(["wave,a"], ["wave,b"])
    counts = disk.load().train.frame_counts.tolist()
    path = disk.root / ".index" / index_cache.NAME
    with np.load(path) as file:
        arrays = {each: file[each].copy() for each in file.files}
    if name == "indexes":
        arrays[name][9:13] = 255  # the number of frames of the first, in the header that FrameIndex.packed writes
    elif name == "index_ends":
        arrays[name] = np.array([len(arrays["indexes"]), 5])
    else:
        arrays[name] = np.array(["a", "b"])
    np.savez(path, allow_pickle=False, **arrays)
    splits = disk.load()
    assert splits.train.frame_counts.tolist() == counts and said(splits.report, str(path), "indexed again")
    assert sorted(indexed[2:]) == (["a.mp4"] if name == "indexes" else ["a.mp4", "b.mp4"])
    disk.load()
    assert len(indexed) == (3 if name == "indexes" else 4)


def test_a_file_with_fewer_frames_than_its_header_promises_is_said(disk: Disk, indexed: list[str]) -> None:
    """A damaged table of an MP4 hides most frames from every reader: a conversion warns, a run on the files did not."""
    disk.files("wave/a.mp4", "wave/b.mp4").labels(["wave,a"], ["wave,b"])
    path = disk.root / "videos/wave/a.mp4"
    content = bytearray(path.read_bytes())
    content[content.index(b"stsz") + 40] = 0x90  # of the size of the seventh frame
    path.write_bytes(content)
    for _ in range(2):  # the second time from the kept index
        splits = disk.load()
        assert splits.train.frame_counts.tolist() == [6] and splits.val.frame_counts.tolist() == [50]
        assert said(splits.report, "1 video file may have lost frames", "a.mp4, 6 frames where the header promises 50")
    assert sorted(indexed) == ["a.mp4", "a.mp4", "b.mp4"]  # the disk may have failed for a moment: a second look
    disk.labels(["wave,b"], ["wave,b"])
    assert not said(disk.load().report, "may have lost frames")


@pytest.mark.parametrize("other", [f"3 {av.__version__}", "4 of another FFmpeg"])
def test_indexes_of_another_version_are_made_again(
    other: str, disk: Disk, indexed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Indexes of format 3 name keyframes from which decoding gives other pictures (H.264 with gradual refresh)."""
    disk.files("wave/a.mp4").labels(["wave,a"], ["wave,a"])
    with monkeypatch.context() as before:
        before.setattr(index_cache, "FORMAT", other)
        disk.load()
    disk.load()
    assert len(indexed) == 2


def test_a_folder_that_cannot_be_written_is_said(sample: dict[str, Path], indexed: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        disk = Disk(Path(folder, "data"), sample).files("wave/a.mp4").labels(["wave,a"], ["wave,a"])
        folders = [disk.root, disk.root / "labels"]
        for each in folders:
            each.chmod(0o555)
        try:
            with without_rights():
                splits = disk.load()
        finally:
            for each in folders:
                each.chmod(0o755)
        assert len(splits.train) == 1 and indexed == ["a.mp4"] and said(splits.report, "every start", ".index")


@pytest.mark.parametrize("name", [".index", ".index/videos.lock"])
def test_nothing_is_written_through_a_link_in_a_dataset(
    disk: Disk, indexed: list[str], tmp_path: Path, name: str
) -> None:
    """Who gave the dataset would have a file of the user's replaced, emptied or made."""
    disk.files("wave/a.mp4").labels(["wave,a"], ["wave,a"])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "videos.npz").write_text("mine")
    link = disk.root / name
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere / "new" if link.suffix else elsewhere)
    assert said(disk.load().report, f"{link} is a link to {elsewhere}")
    assert [path.read_text() for path in elsewhere.iterdir()] == ["mine"]
    assert not said(disk.load().report, "is a link") and len(indexed) == 1


def test_of_several_runs_one_indexes_and_the_others_wait(disk: Disk, indexed: list[str]) -> None:
    disk.files(*(f"wave/{n}.mp4" for n in range(6))).labels([f"wave,{n}" for n in range(6)], ["wave,0"])
    found: list[list[int]] = []
    runs = [threading.Thread(target=lambda: found.append(disk.load().train.frame_counts.tolist())) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert found == [[50] * 6] * 4 and sorted(indexed) == [f"{n}.mp4" for n in range(6)]


def test_an_interrupted_start_keeps_what_it_has_indexed(
    disk: Disk, indexed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of thousands of files take hours."""
    disk.files(*(f"wave/{n}.mp4" for n in range(6))).labels([f"wave,{n}" for n in range(6)], ["wave,0"])
    index = index_cache.index_video

    def stopped(path: Path) -> object:
        if path.name == "5.mp4":
            raise KeyboardInterrupt
        return index(path)

    with monkeypatch.context() as patch:
        patch.setattr(index_cache, "index_video", stopped)
        with pytest.raises(KeyboardInterrupt):
            disk.load()
    before = len(indexed)
    disk.load()
    assert before >= 3 and len(indexed) < before + 5
