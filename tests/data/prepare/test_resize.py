"""resize: the files that training reads must hold the frames, times and pixels of what they were made from."""

import csv
import os
import signal
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from common.cli import run_command
from common.errors import DataError
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.prepare import encoding
from data.prepare.encoding import Job, Settings, made_before
from data.prepare.resize import main
from data.store.keyframe_index import index_video
from data.store.video_file import Span, VideoReader
from tests.data.store.tags import rewritten
from tests.data.store.test_video_file import corner_frame, corners_of, patterned, set_display_matrix
from tests.data.store.test_video_spans import encode_with_sound
from tests.numbered import encode_numbered_video, encode_video, frame_number, numbered_jpegs
from tests.processes import ROOT
from tests.small_dataset import noisy_frames


def resize(*arguments: object) -> int:
    return main([*map(str, arguments), "--workers", "1"])


def problems(out: Path) -> list[tuple[str, str, str]]:
    with (out / "resize_failures.csv").open(newline="") as file:
        return [(row["kind"], row["item"], row["reason"]) for row in csv.DictReader(file)]


def numbers(path: Path) -> list[int]:
    return [frame_number(frame) for frame in VideoReader(path, 1 << 30)]


def test_a_folder_of_videos_becomes_files_that_seek_fast(tmp_path: Path) -> None:
    """Frames, their times and their order stay; sound and odd sides go."""
    pts = [n + 3 * (n // 7) for n in range(60)]
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    encode_numbered_video(videos / "wave/variable.mkv", 60, 90, 121, pts=pts, pixel_format="yuv444p")
    encode_numbered_video(videos / "wave/old.avi", 40, 80, 64, codec="mpeg4", rate=30)
    (videos / "clap").mkdir()
    encode_with_sound(videos / "clap/sound.mp4", 30, 0.0, "libx264", "aac")
    assert resize(videos, out, "--short-side", 48, "--gop", 8) == 0
    for place, count, size in (
        ("wave/variable", 60, (48, 64)),
        ("wave/old", 40, (60, 48)),
        ("clap/sound", 30, (32, 48)),
    ):
        made = out / "videos" / f"{place}.mp4"
        index, before = index_video(made), index_video(next(videos.glob(f"{place}.*")))
        assert numbers(made) == list(range(count)) and index.size == size
        assert np.abs(index.times - index.times[0] - before.times + before.times[0]).max() < 2e-5
        assert index.end - index.times[0] == pytest.approx(before.end - before.times[0], abs=0.2)
        assert np.diff(index.keyframes, append=count).max() <= 8
        with av.open(str(made)) as container:
            (stream,) = container.streams
            context = stream.codec_context
            assert (context.pix_fmt, context.color_range, context.colorspace) == ("yuv420p", 1, 6)
        assert made.read_bytes()[:200].find(b"moov") > 0, "the tables come first"
    assert problems(out) == []


def test_pixels_and_orientation_stay(tmp_path: Path) -> None:
    """Colours that were tagged otherwise, or not at all, must look as before."""
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    turned = encode_video(videos / "a/turned.mp4", [corner_frame()] * 3, pixel_aspect=Fraction(4, 3))
    set_display_matrix(turned, 0, 1, -1, 0)
    source = encode_video(videos / "a/noise.mp4", noisy_frames(5, 128, 160, 120, 1), options={"crf": "10"})
    assert resize(videos, out, "--short-side", 128, "--crf", 5) == 0
    for frame in VideoReader(out / "videos/a/turned.mp4", 360):
        assert corners_of(frame) == ["blue", "red", "white", "green"]
    with av.open(str(out / "videos/a/turned.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(3, 4), "players would show it squeezed"
    pairs = zip(VideoReader(source, 360), VideoReader(out / "videos/a/noise.mp4", 360), strict=True)
    assert max(np.abs(one.astype(int) - other).mean() for one, other in pairs) < 2


def test_clips_are_cut_by_a_label_file_and_train(tmp_path: Path) -> None:
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    encode_numbered_video(videos / "whole.mkv", 100)
    encode_numbered_video(videos / "wave/other.mp4", 30)
    (out / "labels").mkdir(parents=True)
    for name, row in (("train", "wave,whole,1.2,2.2"), ("val", "wave,gone,0,1")):
        (out / "labels" / f"{name}.csv").write_text(f"label,youtube_id,time_start,time_end\n{row}\n")
    files = [flag for name in ("train", "val") for flag in ("--labels", out / "labels" / f"{name}.csv")]
    assert resize(videos, out, *files) == 1
    assert [kind for kind, *_ in problems(out)] == ["missing"]
    (made,) = (out / "videos").rglob("*.mp4")
    assert made.relative_to(out) == Path("videos/wave/whole_000001_000002.mp4")
    assert numbers(made) == [frame_number(f) for f in VideoReader(videos / "whole.mkv", 360, Span(1.2, 2.2))]
    (out / "labels/val.csv").write_text((out / "labels/train.csv").read_text())
    splits = load_splits(out, DatasetSpec("custom", "train.csv", "val.csv"), source="videos")
    assert splits.train.frame_counts.tolist() == [25]


@pytest.mark.parametrize(
    ("columns", "cut", "same", "other"),
    [
        ("time_start,time_end", "1.2,2.2", "1.21,2.2", "1.4,2.2"),
        ("start_frame,end_frame", "10,20", "10,20", ""),
    ],
)
def test_a_clip_whose_times_have_changed_is_not_trained_on(
    tmp_path: Path, columns: str, cut: str, same: str, other: str
) -> None:
    """Its name has whole seconds: else training would use what was cut for the old times."""
    videos, labels = tmp_path / "VIDEOS", tmp_path / "labels"
    encode_numbered_video(videos / "a.mp4", 60, 32, 32)
    labels.mkdir()

    def write(times: str) -> None:
        for name in ("train.csv", "val.csv"):
            (labels / name).write_text(f"label,youtube_id,{columns}\nwave,a,{times}\n")

    def load() -> list[int]:
        return load_splits(
            tmp_path, DatasetSpec("custom", "train.csv", "val.csv"), source="videos"
        ).train.frame_counts.tolist()

    write(cut)
    assert resize(videos, tmp_path, "--labels", labels / "train.csv") == 0
    for times in (cut, same):
        write(times)
        assert len(load()) == 1
    if not other:  # the name has all of a frame's number, so only a renamed file can be another part
        (made,) = (tmp_path / "videos/wave").iterdir()
        made.rename(made.with_name(made.name.replace("10", "11")))
        other = cut.replace("10", "11")
    write(other)
    for _ in range(2):  # also with the kept index
        with pytest.raises(DataError, match=r"data\.prepare\.resize"):
            load()
    assert resize(videos, tmp_path, "--labels", labels / "train.csv", "--replace") == 0
    assert len(load()) == 1


def test_clips_are_cut_by_frames(tmp_path: Path) -> None:
    """Else the whole video would stand under the name of the clip."""
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    encode_numbered_video(videos / "whole.mp4", 40)
    labels = tmp_path / "labels.csv"
    labels.write_text("label,id,start_frame,end_frame\nwave,whole,10,20\n")
    assert resize(videos, out, "--labels", labels) == 0
    (made,) = (out / "videos").rglob("*.mp4")
    assert numbers(made) == list(range(10, 20))


def test_a_second_run_makes_nothing_again_and_says_what_differs(tmp_path: Path) -> None:
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    for name in ("a", "b"):
        encode_numbered_video(videos / f"wave/{name}.mp4", 20, 64, 96)
    assert resize(videos, out, "--short-side", 48) == 0
    made = out / "videos/wave/a.mp4"
    times = made.stat().st_mtime_ns
    assert resize(videos, out, "--short-side", 48) == 0 and made.stat().st_mtime_ns == times
    for flags in (("--short-side", 32), ("--gop", 4), ("--crf", 30)):
        assert resize(videos, out, *(("--short-side", 48) if flags[0] != "--short-side" else ()), *flags) == 1
        assert [(kind, flags[0] in reason) for kind, _, reason in problems(out)] == [("differs", True)] * 2
        assert made.stat().st_mtime_ns == times
    encode_numbered_video(videos / "wave/a.mp4", 25, 64, 96)
    assert resize(videos, out, "--short-side", 48) == 1
    assert [(kind, item) for kind, item, _ in problems(out)] == [("differs", "wave/a.mp4")]
    assert resize(videos, out, "--short-side", 48, "--replace") == 0
    assert len(numbers(made)) == 25 and problems(out) == []


def test_a_file_that_another_program_shortened_is_a_failure(tmp_path: Path) -> None:
    """`ffmpeg -t 1 -c copy` keeps the tag: a rerun said "already there", and training had fewer frames."""
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    encode_numbered_video(videos / "wave/a.mp4", 20)
    assert resize(videos, out) == 0
    made = out / "videos/wave/a.mp4"
    before = made_before(made)
    assert before is not None and (before.frames, before.video) == (20, "wave/a")
    rewritten(made, dict, frames=16)
    assert resize(videos, out) == 1
    assert [(kind, "16 of the 20 frames" in reason) for kind, _, reason in problems(out)] == [("failed", True)]
    rewritten(made, lambda tag: {name: value for name, value in tag.items() if name not in ("frames", "video")})
    assert resize(videos, out) == 0  # older versions do not tell


def test_failures_are_listed_and_leave_nothing(tmp_path: Path) -> None:
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    for name in ("good", "cut", "two"):
        encode_video(videos / f"wave/{name}.mp4", patterned(20))
    cut = videos / "wave/cut.mp4"
    cut.write_bytes(cut.read_bytes()[:-500])
    encode_numbered_video(videos / "wave/tiny.mkv", 3, 1, 1, codec="ffv1", pixel_format="bgr0")
    encode_numbered_video(out / "videos/wave/two.avi", 5, codec="mpeg4")
    assert resize(videos, out) == 1
    assert sorted((kind, item) for kind, item, _ in problems(out)) == [
        ("failed", f"wave/{name}") for name in ("cut.mp4", "tiny.mkv", "two.mp4")
    ]
    assert sorted(path.name for path in (out / "videos/wave").iterdir()) == ["good.mp4", "two.avi"]


def test_a_file_of_another_program_stays_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    encode_numbered_video(videos / "wave/a.mp4", 10)
    theirs = encode_numbered_video(out / "videos/wave/a.mp4", 5, start=99)
    assert resize(videos, out) == 0 and numbers(theirs) == list(range(99, 104))
    assert "origin unknown" in capsys.readouterr().out
    assert made_before(theirs) is None


@pytest.mark.parametrize(
    "flags", [("--short-side", 1), ("--crf", 52), ("--gop", 0), ("--workers", 0), ("--labels", "nowhere.csv")]
)
def test_mistakes_are_refused_in_one_line(tmp_path: Path, flags: tuple[object, ...]) -> None:
    encode_numbered_video(tmp_path / "VIDEOS/wave/a.mp4", 3)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main([str(tmp_path / "VIDEOS"), str(tmp_path / "out"), *map(str, flags)]))
    assert ended.value.code == 2 and not (tmp_path / "out/videos").exists()


@pytest.mark.parametrize("out", ["VIDEOS/..", "VIDEOS", "."])
def test_old_and_new_videos_are_not_mixed(tmp_path: Path, out: str) -> None:
    folder = tmp_path / "videos"
    encode_numbered_video(folder / "wave/a.mp4", 3)
    (tmp_path / "VIDEOS").symlink_to(folder)
    with pytest.raises(SystemExit) as ended:
        run_command(lambda: main([str(folder), str(tmp_path / out)]))
    assert ended.value.code == 2


def test_a_class_folder_that_leads_to_nothing_is_told_before_the_work(tmp_path: Path) -> None:
    """Else each of its videos fails, as "File exists"."""
    encode_numbered_video(tmp_path / "VIDEOS/wave/a.mp4", 3)
    (tmp_path / "out/videos").mkdir(parents=True)
    (tmp_path / "out/videos/wave").symlink_to(tmp_path / "off")
    with pytest.raises(DataError, match=f"wave is a link to {tmp_path / 'off'}, where nothing is, but videos go there"):
        main([str(tmp_path / "VIDEOS"), str(tmp_path / "out")])


def test_a_full_disk_leaves_no_half_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg may not tell of it: the file is counted when it is complete."""
    source = encode_video(tmp_path / "VIDEOS/wave/a.mp4", patterned(60))
    job = Job(source, None, tmp_path / "out/videos/wave/a.mp4")
    copy = encoding._copy

    def cut(video: Path, path: Path, tags: dict[str, str]) -> None:
        copy(video, path, tags)
        os.truncate(path, path.stat().st_size - 300)

    monkeypatch.setattr(encoding, "_copy", cut)
    with pytest.raises(Exception, match="cut short"):
        encoding.encode_video(Settings(64, 8, 20, tmp_path / "VIDEOS"), job, lambda: None)
    assert list(job.file.parent.iterdir()) == []


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    videos, out = tmp_path / "VIDEOS", tmp_path / "out"
    for number in range(6):
        encode_video(videos / f"wave/{number}.mp4", patterned(80, 240, 320))
    command = [sys.executable, "-m", "data.prepare.resize", str(videos), str(out), "--workers", "1"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not (out / "videos/wave/1.mp4").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    made = {path.name for path in (out / "videos/wave").glob("?.mp4")}
    assert 2 <= len(made) < 6
    time.sleep(1)  # the worker ends by itself
    assert resize(videos, out) == 0
    assert sorted(path.name for path in (out / "videos/wave").iterdir()) == [f"{n}.mp4" for n in range(6)]
    assert all(len(index_video(path).times) == 80 for path in (out / "videos/wave").iterdir())


def test_folders_of_frames_are_not_said_to_be_videos(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same output says that all of them failed."""
    encode_numbered_video(tmp_path / "v" / "run" / "1.mp4", 3)
    (tmp_path / "v" / "run" / "odd").mkdir()
    for number, data in enumerate(numbered_jpegs(range(3))):
        (tmp_path / "v" / "run" / "odd" / f"{number}.jpg").write_bytes(data)
    assert resize(tmp_path / "v", tmp_path / "out") == 1
    assert [row[:2] for row in problems(tmp_path / "out")] == [("failed", "run/odd")]
    assert "taken as" not in capsys.readouterr().out
