"""Videos become whole databases or a line in the list of failures, whatever they are and whoever kills the run."""

import csv
import os
import random
import resource
import shlex
import shutil
import signal
import sqlite3
import struct
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg

from common.cli import USAGE_ERROR
from common.errors import DataError
from data.prepare import verify
from data.prepare.conversion import Converted, Job, Settings, convert_video
from data.prepare.convert import main
from data.prepare.run_lock import only_run
from data.prepare.sources import Shard, find_sources
from data.store.frame_store import FrameStore, is_whole, leftovers
from data.store.origin import read_origin
from data.store.video_file import Span, VideoError
from tests.failing_disk import fail_from
from tests.numbered import (
    encode_numbered_video,
    encode_video,
    frame_numbers,
    jpeg,
    numbered_frame,
    numbered_jpegs,
    write_numbered_database,
)

ROOT = Path(__file__).parents[3]
SETTINGS = Settings(short_side=360, quality=90, keep_partial=False, threads=1)


@pytest.fixture(autouse=True)
def keep_signal_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def failures(path: Path) -> dict[str, tuple[str, str]]:
    """The rows of a list of failures: item -> kind, reason."""
    with path.open(newline="") as file:
        return {row["item"]: (row["kind"], row["reason"]) for row in csv.DictReader(file)}


def numbers_of(folder: Path) -> list[int]:
    """The numbers of all frames of a video that is whole."""
    assert is_whole(folder), folder
    store = FrameStore(folder)
    assert int((folder / "n_frames").read_text()) == store.check_numbering()
    return frame_numbers(store.read(range(len(store))))


def convert(source: Path, folder: Path, span: Span | None = None, settings: Settings = SETTINGS) -> list[str]:
    result = convert_video(settings, Job(source, span, folder), lambda: None)
    assert isinstance(result, Converted)
    return result.warnings


def write_jpegs(folder: Path, numbers: range, name: str = "{}.jpg") -> Path:
    """Write frames of these numbers as files."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in zip(numbers, numbered_jpegs(numbers), strict=True):
        (folder / name.format(number)).write_bytes(data)
    return folder


# Whole runs


def test_a_folder_of_videos_good_and_bad(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, out = tmp_path / "videos", tmp_path / "out"
    encode_numbered_video(videos / "playing guitar" / "-a #1 (b)!+.mp4", 12)
    encode_numbered_video(videos / "playing guitar" / "x.y.AVI", 9, start=50, codec="mpeg4")
    encode_numbered_video(videos / "run" / "twice.mp4", 5)
    encode_numbered_video(videos / "run" / "twice.avi", 5, codec="mpeg4")
    encode_numbered_video(videos / "run" / "good.mkv", 7, start=80)
    (videos / "run" / "empty.webm").write_bytes(b"")
    (videos / "run" / ".DS_Store").write_text("x")
    (videos / "run" / "._good.mkv").write_text("x")
    (videos / "notes.txt").write_text("x")
    assert main([str(videos), str(out), "--workers", "2"]) == 1
    printed = capsys.readouterr().out
    jpg = out / "jpg"
    assert numbers_of(jpg / "playing guitar" / "-a #1 (b)!+") == list(range(12))
    assert numbers_of(jpg / "playing guitar" / "x.y") == list(range(50, 59))
    assert numbers_of(jpg / "run" / "good") == list(range(80, 87))
    assert sorted(path.name for path in (jpg / "run").iterdir()) == ["good"]
    listed = failures(out / "convert_failures.csv")
    assert set(listed) == {"run/empty.webm", "run/twice"}
    assert listed["run/empty.webm"] == ("failed", "the file is empty (0 bytes)")
    assert "run/twice.avi and run/twice.mp4" in listed["run/twice"][1]
    assert "run/empty.webm" in printed and ".txt" in printed and ".DS_Store" in printed

    before = {path: path.stat().st_mtime_ns for path in jpg.rglob("frames.db")}
    (videos / "run" / "empty.webm").unlink()
    (videos / "run" / "twice.avi").unlink()
    assert main([str(videos), str(out), "--workers", "1"]) == 0
    assert numbers_of(jpg / "run" / "twice") == list(range(5))
    assert failures(out / "convert_failures.csv") == {}
    assert {path: path.stat().st_mtime_ns for path in before} == before, "what was there was converted again"


def test_shards_share_the_work_whether_they_count_from_0_or_1(tmp_path: Path) -> None:
    names = [f"class {n % 3}/{n}" for n in range(200)]
    for parts in (1, 2, 7):
        for first in (0, 1):
            shares = [{name for name in names if Shard(part + first, parts).has(name)} for part in range(parts)]
            assert set().union(*shares) == set(names)
            assert sum(map(len, shares)) == len(names)
            assert all(shares)
    for n in range(4):
        encode_numbered_video(tmp_path / "videos" / "walk" / f"{n}.mp4", 4)
    (tmp_path / "videos" / "walk" / "bad.mp4").write_bytes(b"")
    statuses = [main([str(tmp_path / "videos"), str(tmp_path / "out"), "--shard", f"{n}/2"]) for n in (0, 1)]
    assert len(list((tmp_path / "out" / "jpg" / "walk").iterdir())) == 4
    assert sorted(statuses) == [0, 1]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.csv")) == [
        "convert_failures_0_of_2.csv",
        "convert_failures_1_of_2.csv",
    ]


def test_a_run_of_all_parts_takes_over_the_lists_of_shards(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """They kept the failures of videos that had been mended since, for whoever reads all lists of a folder."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    for name in ("1", "2", "3"):
        encode_numbered_video(videos / "walk" / f"{name}.mp4", 3)
    bad = encode_numbered_video(videos / "walk" / "bad.mp4", 3)
    whole = bad.read_bytes()
    bad.write_bytes(b"")
    command = [str(videos), str(out), "--workers", "1"]
    assert sorted(main([*command, "--shard", f"{part}/2"]) for part in (1, 2)) == [0, 1]
    capsys.readouterr()
    main([*command, "--shard", "1/3"])
    assert "2 lists (convert_failures_1_of_2.csv, convert_failures_2_of_2.csv) of another" in capsys.readouterr().out
    bad.write_bytes(whole)
    assert main(command) == 0
    assert [path.name for path in out.glob("*.csv")] == ["convert_failures.csv"]
    assert failures(out / "convert_failures.csv") == {}


def test_warnings_outlast_a_run_that_was_stopped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A conversion is stopped and continued on each cluster; left-out pictures would be in no list, with status 0."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_jpegs(videos / "a" / "v", range(3))
    write_jpegs(videos / "a" / "v" / "more", range(5), "img_{}.jpg")
    encode_numbered_video(videos / "b" / "v.mp4", 5)
    listed = out / "convert_failures.csv"
    assert main([str(videos), str(out), "--workers", "1"]) == 0
    first = listed.read_text()
    assert "left out 5 pictures in the folder more" in first
    listed.unlink()  # a run that is stopped writes none
    for _ in range(2):
        assert main([str(videos), str(out), "--workers", "1"]) == 0
        assert listed.read_text() == first
        printed = capsys.readouterr().out
    assert f"1 warning of the conversion of 1 video already there: see {listed}" in printed
    assert "the frames of 2 videos have a shorter side" in printed
    assert read_origin(out / "jpg" / "a" / "v" / "frames.db").is_damaged is False


def test_a_warning_of_a_database_of_an_older_version_stays_listed(tmp_path: Path) -> None:
    """Such a database keeps no remarks: the list is their only place, and nobody tries the video again."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    write_jpegs(videos / "a" / "v", range(3))
    write_jpegs(videos / "a" / "v" / "more", range(5), "img_{}.jpg")
    command = [str(videos), str(out), "--workers", "1"]
    assert main(command) == 0
    with closing(sqlite3.connect(out / "jpg" / "a" / "v" / "frames.db")) as connection, connection:
        connection.execute("DELETE FROM Origin WHERE name IN ('remarks', 'pixels')")
    first = (out / "convert_failures.csv").read_text()
    for _ in range(2):
        assert main(command) == 0
        assert (out / "convert_failures.csv").read_text() == first
    shutil.rmtree(out / "jpg")
    shutil.rmtree(videos / "a" / "v" / "more")
    assert main(command) == 0
    assert failures(out / "convert_failures.csv") == {}


def test_labels_cut_whole_videos_and_take_those_cut_already(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos, out, labels = tmp_path / "videos", tmp_path / "out", tmp_path / "labels.csv"
    encode_numbered_video(videos / "deep" / "er" / "-tube.id_1.mp4", 100)
    encode_numbered_video(videos / "cut_000003_000005.mp4", 10, start=200)
    encode_numbered_video(videos / "a" / "both.mp4", 50)
    encode_numbered_video(videos / "b" / "both.mp4", 50, start=100)
    encode_numbered_video(videos / "v_hacs.mp4", 50, start=300)
    encode_numbered_video(videos / "not named.mp4", 5)
    labels.write_text(
        "label,youtube_id,time_start,time_end,split\n"
        "jump high,-tube.id_1,1,2,train\n"
        "jump high,-tube.id_1,2.5,3.2,val\n"
        "jump high,cut,3,5,train\n"
        "b,both,0,1,train\n"
        "c,both,0,1,train\n"
        "c,gone,10,20,train\n"
        "c,-tube.id_1,50,60,train\n"
        "hacs class,hacs,1,2,train\n"
    )
    assert main([str(videos), str(out), "--labels", str(labels)]) == 1
    jpg = out / "jpg"
    assert numbers_of(jpg / "jump high" / "-tube.id_1_000001_000002") == list(range(25, 50))
    assert numbers_of(jpg / "jump high" / "-tube.id_1_000002_000003") == list(range(63, 80))
    assert numbers_of(jpg / "jump high" / "cut_000003_000005") == list(range(200, 210))
    assert numbers_of(jpg / "b" / "both_000000_000001") == list(range(100, 125))
    assert numbers_of(jpg / "hacs class" / "hacs_000001_000002") == list(range(325, 350))
    assert len(list(jpg.glob("*/*"))) == 5
    listed = failures(out / "convert_failures.csv")
    assert "a/both.mp4 and b/both.mp4" in listed["c/both_000000_000001"][1]
    assert listed["c/gone_000010_000020"][0] == "missing"
    assert "no frames from 50 to 60 s" in listed["deep/er/-tube.id_1.mp4 50-60 s"][1]


def test_rows_without_times_among_others_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A row that lost its times is converted as the whole video, which may have hours. `verify` says it, too."""
    encode_numbered_video(tmp_path / "videos" / "x.mp4", 100)
    labels = tmp_path / "labels.csv"
    labels.write_text("label,id,time_start,time_end\nwalk,x,1,2\nwalk,x,,\n")
    assert main([str(tmp_path / "videos"), str(tmp_path / "out"), "--labels", str(labels)]) == 0
    line = f"1 of 2 rows of {labels} has no times: whole videos, not clips (line 3)"
    assert capsys.readouterr().err.count(line) == 1
    assert numbers_of(tmp_path / "out" / "jpg" / "walk" / "x") == list(range(100))
    assert verify.main([str(tmp_path / "out"), "--labels", str(labels)]) == 0
    assert "".join(capsys.readouterr()).replace("\n", " ").count(line) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere", "out"], "nowhere: no such folder"),
        (["flat", "out"], "outside class folders: expected VIDEOS/<class>/<video file>"),
        (["void", "out"], "no videos in"),
        (["good", "good/walk/a.mp4"], "is .* a folder that you may write to"),
        (["good", "out", "--labels", "no.csv"], "no.csv"),
    ],
)
def test_a_mistake_gets_one_clear_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    encode_numbered_video(tmp_path / "good" / "walk" / "a.mp4", 2)
    encode_numbered_video(tmp_path / "flat" / "a.mp4", 2)
    (tmp_path / "void").mkdir()
    with pytest.raises(DataError, match=reason) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "flags", [["--shard", "3/2"], ["--shard", "1"], ["--shard", "1/0"], ["--quality", "0"], ["--quality", "101"],
              ["--short-side", "0"], ["--workers", "-1"], ["--quallity", "90"]],
)  # fmt: skip
def test_a_wrong_command_line_gets_status_2(tmp_path: Path, flags: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), str(tmp_path / "out"), *flags])
    assert caught.value.code == USAGE_ERROR


def test_a_second_run_on_the_same_videos_is_refused(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "videos" / "walk" / "a.mp4", 2)
    with only_run(tmp_path / "out"), pytest.raises(DataError, match=f"{tmp_path / 'out'}.*another convert"):
        main([str(tmp_path / "videos"), str(tmp_path / "out")])


def test_the_output_folder_is_not_taken_for_a_class(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "walk" / "a.mp4", 2)
    convert(tmp_path / "walk" / "a.mp4", tmp_path / "jpg" / "walk" / "a")
    assert [source.label for source in find_sources(tmp_path, tmp_path).videos] == ["walk"]


# What is there already


def rerun(videos: Path, out: Path, *flags: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """The exit status of a further run, and what its list says."""
    status = main([str(videos), str(out), "--workers", "1", *flags])
    return status, failures(out / "convert_failures.csv")


def test_a_further_run_keeps_the_failures_that_it_does_not_try_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list of another folder's or class's conversion was lost, and its failures with it."""
    first, second, out = tmp_path / "first", tmp_path / "second", tmp_path / "out"
    for name in ("walk/1", "walk/2", "walk/3", "run/4"):
        (first / name).parent.mkdir(parents=True, exist_ok=True)
        (first / f"{name}.mp4").touch()
    assert rerun(first, out)[0] == 1
    encode_numbered_video(second / "walk" / "2.avi", 3, codec="mpeg4")
    (second / "walk" / "5.mp4").touch()
    (tmp_path / "labels.csv").write_text("label,id\nwalk,2\nwalk,5\nwalk,6\n")
    status, listed = rerun(second, out, "--labels", str(tmp_path / "labels.csv"))
    assert status == 1
    assert set(listed) == {"walk/1.mp4", "walk/2.mp4", "walk/3.mp4", "run/4.mp4", "walk/5.mp4", "walk/6"}
    assert "4 problems of earlier runs" in capsys.readouterr().out
    (first / "walk" / "1.mp4").unlink()
    (first / "walk" / "2.mp4").unlink()
    encode_numbered_video(first / "walk" / "3.mp4", 3)
    assert set(rerun(first, out)[1]) == {"run/4.mp4", "walk/5.mp4", "walk/6"}
    assert set(rerun(second, out)[1]) == {"run/4.mp4", "walk/5.mp4", "walk/6"}


def test_a_frame_folder_among_video_files_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pictures of another kind than previews became a video without a word; the status stays 0, as it may be one."""
    encode_numbered_video(tmp_path / "v" / "run" / "1.mp4", 3)
    write_jpegs(tmp_path / "v" / "run" / "odd", range(3))
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})
    told = "1 folder of frames in classes that otherwise hold video files was taken as a video: run/odd"
    assert told in capsys.readouterr().out
    write_jpegs(tmp_path / "v" / "run" / "1", range(3))  # fails: it would be the database of 1.mp4
    assert set(rerun(tmp_path / "v", tmp_path / "out")[1]) == {"run/1"}
    assert told in capsys.readouterr().out


def test_videos_of_elsewhere_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that someone sent may have a link to the user's own videos: they came into the dataset unsaid."""
    for place in ("own/1.mp4", "own/2.mp4", "v/jump/3.mp4"):
        encode_numbered_video(tmp_path / place, 3)
    (tmp_path / "v" / "walk").mkdir()
    (tmp_path / "v" / "walk" / "4.mp4").symlink_to(tmp_path / "v" / "jump" / "3.mp4")
    (tmp_path / "linked").symlink_to(tmp_path / "v")
    assert rerun(tmp_path / "linked", tmp_path / "out") == (0, {})
    assert "through links" not in capsys.readouterr().out
    (tmp_path / "v" / "run").symlink_to(tmp_path / "own")
    (tmp_path / "v" / "jump" / "1.mp4").symlink_to(tmp_path / "own" / "1.mp4")
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})
    told = f"3 videos reached through links out of {tmp_path / 'v'}, such as"
    assert told in " ".join(capsys.readouterr().out.split())


def rows_of(out: Path) -> list[tuple[str, str, str]]:
    """The kind, the item and the name of the folder of each row of the list, sorted."""
    with (out / "convert_failures.csv").open(newline="") as file:
        return sorted((row["kind"], row["item"], Path(row["videos"]).name) for row in csv.DictReader(file))


def test_a_failure_stays_listed_if_another_folder_has_a_video_of_the_same_name(tmp_path: Path) -> None:
    """The broken video of one camera was in no database, and after the other camera's run in no list either."""
    first, second, out = tmp_path / "cam1", tmp_path / "cam2", tmp_path / "out"
    bad = first / "run" / "001.mp4"
    whole = encode_numbered_video(bad, 3).read_bytes()
    bad.write_bytes(b"")
    (first / "run" / "002.mp4").touch()
    encode_numbered_video(second / "run" / "001.mp4", 3, start=50)
    (second / "run" / "003.mp4").touch()
    assert rerun(first, out)[0] == 1
    assert rerun(second, out)[0] == 1
    both = [("failed", "run/001.mp4", "cam1"), ("failed", "run/002.mp4", "cam1"), ("failed", "run/003.mp4", "cam2")]
    assert rows_of(out) == both
    rerun(second, out)
    assert rows_of(out) == both
    bad.write_bytes(whole)
    rerun(first, out)
    assert rows_of(out) == [("differs", "run/001", "cam1"), *both[1:]]
    rerun(second, out)  # whose video is the one in the database
    assert rows_of(out) == [("differs", "run/001", "cam1"), *both[1:]]
    bad.unlink()
    rerun(first, out)
    assert rows_of(out) == both[1:]


def test_the_rows_of_a_renamed_folder_are_not_listed_twice(tmp_path: Path) -> None:
    """A row of a folder that is no longer there could never be mended."""
    for name in ("1", "2"):
        (tmp_path / "old" / "run").mkdir(parents=True, exist_ok=True)
        (tmp_path / "old" / "run" / f"{name}.mp4").touch()
    assert rerun(tmp_path / "old", tmp_path / "out")[0] == 1
    (tmp_path / "link").symlink_to("old")
    rerun(tmp_path / "link", tmp_path / "out")
    assert len(rows_of(tmp_path / "out")) == 2
    (tmp_path / "old").rename(tmp_path / "new")
    rerun(tmp_path / "new", tmp_path / "out")
    assert rows_of(tmp_path / "out") == [("failed", "run/1.mp4", "new"), ("failed", "run/2.mp4", "new")]


def test_a_row_without_a_folder_is_dropped_when_its_video_is_tried(tmp_path: Path) -> None:
    """Lists of older versions do not name the folder."""
    encode_numbered_video(tmp_path / "v" / "run" / "1.mp4", 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "convert_failures.csv").write_text("kind,item,reason\nfailed,run/1.mp4,x\ndiffers,run/1,y\n")
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})


def test_a_missing_row_is_dropped_when_another_folder_has_its_video(tmp_path: Path) -> None:
    """A dataset on two disks is converted with the same labels from each."""
    encode_numbered_video(tmp_path / "disk1" / "run" / "1.mp4", 3)
    encode_numbered_video(tmp_path / "disk2" / "run" / "2.mp4", 3)
    (tmp_path / "labels.csv").write_text("label,id\nrun,1\nrun,2\n")
    labels = ("--labels", str(tmp_path / "labels.csv"))
    assert set(rerun(tmp_path / "disk1", tmp_path / "out", *labels)[1]) == {"run/2"}
    assert set(rerun(tmp_path / "disk2", tmp_path / "out", *labels)[1]) == {"run/1"}


def test_another_video_of_the_same_name_is_not_taken_for_the_one_there(tmp_path: Path) -> None:
    """Else train/walk/1.mp4 would stand for val/walk/1.mp4, and nobody would notice."""
    out = tmp_path / "out"
    encode_numbered_video(tmp_path / "train" / "walk" / "1.mp4", 6)
    encode_numbered_video(tmp_path / "val" / "walk" / "1.mp4", 6, start=100)
    encode_numbered_video(tmp_path / "val" / "walk" / "2.mp4", 6, start=200)
    assert rerun(tmp_path / "train", out) == (0, {})
    status, listed = rerun(tmp_path / "val", out)
    assert status == 1
    assert set(listed) == {"walk/1"} and listed["walk/1"][0] == "differs"
    assert "train/walk/1.mp4" in listed["walk/1"][1] and "val/walk/1.mp4" in listed["walk/1"][1]
    assert numbers_of(out / "jpg" / "walk" / "1") == list(range(6))
    assert numbers_of(out / "jpg" / "walk" / "2") == list(range(200, 206))
    assert rerun(tmp_path / "val", out, "--replace") == (0, {})
    assert numbers_of(out / "jpg" / "walk" / "1") == list(range(100, 106))
    assert rerun(tmp_path / "val", out) == (0, {})


def test_the_same_bytes_under_another_path_are_the_same_video(tmp_path: Path) -> None:
    source = encode_numbered_video(tmp_path / "a" / "walk" / "1.mp4", 6)
    assert rerun(tmp_path / "a", tmp_path / "out")[0] == 0
    before = (tmp_path / "out" / "jpg" / "walk" / "1" / "frames.db").stat().st_mtime_ns
    (tmp_path / "b" / "walk").mkdir(parents=True)
    (tmp_path / "b" / "walk" / "1.avi").write_bytes(source.read_bytes())
    assert rerun(tmp_path / "b", tmp_path / "out", "--replace") == (0, {})
    assert (tmp_path / "out" / "jpg" / "walk" / "1" / "frames.db").stat().st_mtime_ns == before


def test_a_database_whose_video_was_removed_or_moved_is_named(tmp_path: Path) -> None:
    """A wrong or private video was removed and all commands given again: label files made of OUT/jpg still named it."""
    for place, name in enumerate(("walk/1", "walk/2", "run/3", "run/5")):
        encode_numbered_video(tmp_path / "v" / f"{name}.mp4", 3, start=4 * place)
    encode_numbered_video(tmp_path / "more" / "run" / "4.mp4", 3)
    assert rerun(tmp_path / "v", tmp_path / "out")[0] == 0
    (tmp_path / "v" / "walk" / "1.mp4").unlink()
    (tmp_path / "v" / "run" / "3.mp4").rename(tmp_path / "v" / "walk" / "3.mp4")
    (tmp_path / "v" / "run" / "5.mp4").rename(tmp_path / "v" / "run" / "other.mp4")
    assert rerun(tmp_path / "more", tmp_path / "out") == (0, {})  # of another folder of videos
    status, listed = rerun(tmp_path / "v", tmp_path / "out")
    assert status == 0
    assert {name: kind for name, (kind, _) in listed.items()} == dict.fromkeys(("walk/1", "run/3", "run/5"), "gone")
    assert "the same file is run/other.mp4" in listed["run/5"][1]
    assert "walk/1.mp4" in listed["walk/1"][1] and "walk/3" not in listed["walk/1"][1]
    assert "walk/3.mp4" in listed["run/3"][1] and str(tmp_path / "out" / "jpg" / "run" / "3") in listed["run/3"][1]
    for name in ("walk/1", "run/3", "run/5"):
        shutil.rmtree(tmp_path / "out" / "jpg" / name)
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})


def test_databases_of_no_video_here_are_counted_under_any_name_of_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two videos were removed from a copy of the folder: label files made of OUT/jpg still named them."""
    for name in ("walk/1", "walk/2", "run/3"):
        encode_numbered_video(tmp_path / "v" / f"{name}.mp4", 3)
    write_numbered_database(tmp_path / "out" / "jpg" / "walk" / "theirs", 3)
    assert rerun(tmp_path / "v", tmp_path / "out")[0] == 0
    assert "of unknown origin: 1 database (walk/theirs)" in capsys.readouterr().out
    shutil.copytree(tmp_path / "v", tmp_path / "clean")
    (tmp_path / "clean" / "walk" / "1.mp4").unlink()
    (tmp_path / "clean" / "run" / "3.mp4").unlink()
    assert rerun(tmp_path / "clean", tmp_path / "out") == (0, {})
    printed = capsys.readouterr().out
    assert "made from another folder, v: 2 databases (run/3, walk/1)" in printed
    assert "renamed or cleaned copy" in printed
    assert rerun(tmp_path / "v", tmp_path / "out")[0] == 0
    assert "another folder" not in capsys.readouterr().out


@pytest.mark.parametrize(("flags", "kind"), [(["--short-side", "24"], "size"), (["--quality", "50"], "quality")])
def test_another_size_or_quality_is_said(tmp_path: Path, flags: list[str], kind: str) -> None:
    encode_numbered_video(tmp_path / "v" / "walk" / "1.mp4", 3)
    rerun(tmp_path / "v", tmp_path / "out")
    status, listed = rerun(tmp_path / "v", tmp_path / "out", *flags)
    assert status == 1
    assert listed["walk/1"][0] == "differs" and listed["walk/1"][1].startswith(kind)


def test_another_span_is_said(tmp_path: Path) -> None:
    """Both spans have the same folder, which is named in whole seconds."""
    encode_numbered_video(tmp_path / "v" / "1.mp4", 100)
    for number, start in enumerate(("1.2", "1.6")):
        (tmp_path / f"{number}.csv").write_text(f"label,id,time_start,time_end\nwalk,1,{start},3\n")
    assert rerun(tmp_path / "v", tmp_path / "out", "--labels", str(tmp_path / "0.csv"))[0] == 0
    status, listed = rerun(tmp_path / "v", tmp_path / "out", "--labels", str(tmp_path / "1.csv"))
    assert status == 1
    assert "1.2 to 3.0" in listed["walk/1_000001_000003"][1] and "1.6 to 3.0" in listed["walk/1_000001_000003"][1]


def test_a_frame_folder_that_was_changed_is_said(tmp_path: Path) -> None:
    source = tmp_path / "v" / "walk" / "1"
    source.mkdir(parents=True)
    for number, data in enumerate(numbered_jpegs(range(5))):
        (source / f"{number}.jpg").write_bytes(data)
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})
    (source / "5.jpg").write_bytes(numbered_jpegs([5])[0])
    status, listed = rerun(tmp_path / "v", tmp_path / "out")
    assert (status, listed["walk/1"][0]) == (1, "differs")


def test_keep_partial_for_some_videos_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    """It is given in a second run, for the few videos that failed in the first."""
    for video, missing in (("whole", 9), ("gap", 2), ("thumb", 9)):
        (tmp_path / "v" / "walk" / video).mkdir(parents=True)
        for number, data in enumerate(numbered_jpegs(range(5))):
            if number != missing:
                (tmp_path / "v" / "walk" / video / f"{number}.jpg").write_bytes(data)
    (tmp_path / "v" / "walk" / "thumb" / "thumb.jpg").write_bytes(numbered_jpegs([9])[0])
    status, listed = rerun(tmp_path / "v", tmp_path / "out")
    assert status == 1 and listed["walk/gap"][0] == "failed"
    status, listed = rerun(tmp_path / "v", tmp_path / "out", "--keep-partial")
    assert (status, set(listed)) == (0, {"walk/gap", "walk/thumb"})
    assert numbers_of(tmp_path / "out" / "jpg" / "walk" / "gap") == [0, 1, 3, 4]
    assert numbers_of(tmp_path / "out" / "jpg" / "walk" / "thumb") == list(range(5))
    assert rerun(tmp_path / "v", tmp_path / "out", "--keep-partial") == (0, listed)
    status, listed = rerun(tmp_path / "v", tmp_path / "out")
    assert (status, {name: kind for name, (kind, _) in listed.items()}) == (
        1,
        {"walk/gap": "differs", "walk/thumb": "warning"},
    )


def test_a_database_of_unknown_origin_is_kept_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of older versions and of dataset2database need not be made again."""
    encode_numbered_video(tmp_path / "v" / "walk" / "1.mp4", 3)
    write_numbered_database(tmp_path / "out" / "jpg" / "walk" / "1", 3, start=50, indexed=False)
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})
    assert "origin unknown" in capsys.readouterr().out
    assert numbers_of(tmp_path / "out" / "jpg" / "walk" / "1") == [50, 51, 52]


def test_a_damaged_file_that_was_completed_in_place_is_not_taken_for_the_old_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A preallocated download has its size from the beginning, and its holes may lie outside of the fingerprint."""
    noise = np.random.default_rng(0).integers(0, 255, (60, 192, 256, 3)).astype(np.uint8)
    source = encode_video(tmp_path / "v" / "walk" / "1.avi", noise, codec="mpeg4")
    whole = source.read_bytes()
    place = len(whole) // 4
    assert len(whole) > 8 * 65536
    source.write_bytes(whole[:place] + bytes(8192) + whole[place + 8192 :])
    status, listed = rerun(tmp_path / "v", tmp_path / "out", "--keep-partial")
    assert (status, listed["walk/1.avi"][0]) == (0, "warning")
    assert rerun(tmp_path / "v", tmp_path / "out", "--keep-partial") == (status, listed)
    assert "already there, with damage" in capsys.readouterr().out
    rerun(tmp_path / "v", tmp_path / "out", "--keep-partial", "--replace")
    assert "replaced" in capsys.readouterr().out
    source.write_bytes(whole)
    status, listed = rerun(tmp_path / "v", tmp_path / "out", "--keep-partial")
    assert (status, listed["walk/1"][0]) == (1, "differs")
    assert rerun(tmp_path / "v", tmp_path / "out", "--keep-partial", "--replace") == (0, {})
    assert (tmp_path / "out" / "jpg" / "walk" / "1" / "n_frames").read_text() == "60"
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})


def test_a_whole_database_without_n_frames_is_not_overwritten(tmp_path: Path) -> None:
    """Its frames may be worth more than the video that has its name now; only the small file is missing."""
    videos, jpg = tmp_path / "v", tmp_path / "out" / "jpg"
    for video in ("same", "other", "unknown", "damaged"):
        encode_numbered_video(videos / "walk" / f"{video}.mp4", 3)
    assert rerun(videos, tmp_path / "out") == (0, {})
    encode_numbered_video(videos / "walk" / "other.mp4", 4, start=90)
    (jpg / "walk" / "unknown" / "frames.db").unlink()
    write_numbered_database(jpg / "walk" / "unknown", 3, start=50, indexed=False)
    damaged = jpg / "walk" / "damaged" / "frames.db"
    damaged.write_bytes(damaged.read_bytes()[:3000])
    for count in jpg.glob("*/*/n_frames"):
        count.unlink()
    before = {path: path.stat().st_mtime_ns for path in jpg.rglob("frames.db") if path != damaged}
    status, listed = rerun(videos, tmp_path / "out")
    assert status == 1 and {path: path.stat().st_mtime_ns for path in before} == before
    assert {item: kind for item, (kind, _) in listed.items()} == {"walk/other": "differs", "walk/unknown": "differs"}
    assert numbers_of(jpg / "walk" / "same") == [0, 1, 2] and numbers_of(jpg / "walk" / "damaged") == [0, 1, 2]
    assert rerun(videos, tmp_path / "out", "--replace") == (0, {})
    assert numbers_of(jpg / "walk" / "other") == [90, 91, 92, 93] and numbers_of(jpg / "walk" / "unknown") == [0, 1, 2]


def test_a_damaged_database_is_not_called_already_there(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "v" / "walk" / "1.mp4", 3)
    rerun(tmp_path / "v", tmp_path / "out")
    (tmp_path / "out" / "jpg" / "walk" / "1" / "frames.db").write_bytes(b"x" * 5000)
    status, listed = rerun(tmp_path / "v", tmp_path / "out")
    assert status == 1 and listed["walk/1.mp4"][0] == "failed"


@pytest.mark.parametrize("linked", ["class", "video"])
@pytest.mark.parametrize("there", ["whole", "cut, without n_frames", "not counted", "nothing"])
def test_nothing_of_another_dataset_is_replaced_through_a_link(tmp_path: Path, linked: str, there: str) -> None:
    """Else the frames of the dataset to which the link leads would be lost."""
    theirs = tmp_path / "theirs" / "jpg" / "run" / "v"
    theirs.mkdir(parents=True)
    if there != "nothing":
        write_numbered_database(theirs, 4)
    if there in ("cut, without n_frames", "not counted"):
        (theirs / "n_frames").unlink()
    if there.startswith("cut"):
        os.truncate(theirs / "frames.db", 5000)
    if there == "whole":  # made of another file
        encode_numbered_video(tmp_path / "first" / "run" / "v.mp4", 4)
        (theirs / "frames.db").unlink()
        assert main([str(tmp_path / "first"), str(tmp_path / "theirs"), "--workers", "1"]) == 0
    before = {path: path.read_bytes() for path in theirs.iterdir()}
    target = tmp_path / ("out/jpg/run" if linked == "class" else "out/jpg/run/v")
    link = theirs.parent if linked == "class" else theirs
    target.parent.mkdir(parents=True)
    target.symlink_to(link)
    encode_numbered_video(tmp_path / "v" / "run" / "v.mp4", 5)
    status, listed = rerun(tmp_path / "v", tmp_path / "out", "--replace")
    if linked == "class" and there == "nothing":  # a class folder on another disk
        assert status == 0 and is_whole(theirs)
        return
    assert status == 1 and listed["run/v.mp4"][0] == "failed" and str(target) in listed["run/v.mp4"][1]
    assert {path: path.read_bytes() for path in theirs.iterdir()} == before


def test_a_dataset_behind_a_link_is_converted_and_replaced(tmp_path: Path) -> None:
    """OUT, or OUT/jpg, on a large disk is a common set-up."""
    (tmp_path / "disk" / "jpg").mkdir(parents=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "jpg").symlink_to(tmp_path / "disk" / "jpg")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    encode_numbered_video(tmp_path / "v" / "run" / "v.mp4", 5)
    assert rerun(tmp_path / "v", tmp_path / "link") == (0, {})
    assert rerun(tmp_path / "v", tmp_path / "link", "--replace", "--short-side", "24") == (0, {})
    assert FrameStore(tmp_path / "disk" / "jpg" / "run" / "v").size()[0] == 24


def test_a_class_folder_that_leads_to_nothing_is_told_before_the_work(tmp_path: Path) -> None:
    """Hours later, all its videos had failed as "File exists". What is hidden, such as a lock of Emacs, is no class."""
    (tmp_path / "out" / "jpg").mkdir(parents=True)
    (tmp_path / "out" / "jpg" / ".#notes").symlink_to("me@host")
    (tmp_path / "out" / "jpg" / "run").symlink_to(tmp_path / "off")
    encode_numbered_video(tmp_path / "v" / "run" / "v.mp4", 5)
    with pytest.raises(DataError, match=f"run is a link to {tmp_path / 'off'}, where nothing is, but databases go"):
        main([str(tmp_path / "v"), str(tmp_path / "out")])
    (tmp_path / "off").mkdir()
    assert rerun(tmp_path / "v", tmp_path / "out") == (0, {})


def test_a_replacement_that_fails_leaves_the_old_video(tmp_path: Path) -> None:
    source = encode_numbered_video(tmp_path / "v" / "walk" / "1.mp4", 3)
    rerun(tmp_path / "v", tmp_path / "out")
    source.write_bytes(source.read_bytes()[:-200])
    status, listed = rerun(tmp_path / "v", tmp_path / "out", "--replace")
    assert status == 1 and listed["walk/1.mp4"][0] == "failed"
    assert numbers_of(tmp_path / "out" / "jpg" / "walk" / "1") == [0, 1, 2]


def test_one_name_that_cannot_be_a_folder_does_not_stop_the_others(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "v" / "1.mp4", 60)
    rows = ["label,id,time_start,time_end", "walk,1,0,1", f"{'L' * 300},1,1,2", f"walk,{'1' * 300},0,1"]
    (tmp_path / "l.csv").write_text("\n".join(rows))
    for _ in range(2):  # the second run finds OUT/jpg, and then what is there
        status, listed = rerun(tmp_path / "v", tmp_path / "out", "--labels", str(tmp_path / "l.csv"))
        assert status == 1
        assert len(listed) == 2 and {kind for kind, _ in listed.values()} <= {"failed", "missing"}
        assert numbers_of(tmp_path / "out" / "jpg" / "walk" / "1_000000_000001") == list(range(25))


def test_a_run_whose_folder_is_moved_stops(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest came into a new folder that was not locked, and the report counted all as converted."""
    out = tmp_path / "out"
    for number in range(12):
        encode_numbered_video(tmp_path / "v" / "walk" / f"{number:02d}.mp4", 3)
    code = f"""
import pathlib
from data.prepare import conversion_run, convert
run_jobs, out = conversion_run.run_jobs, pathlib.Path({str(out)!r})
def moving(*arguments, **flags):
    for number, outcome in enumerate(run_jobs(*arguments, **flags)):
        if number == 3:
            out.rename(out.with_name("kept"))
        yield outcome
conversion_run.run_jobs = moving
raise SystemExit(convert.main([{str(tmp_path / "v")!r}, {str(out)!r}, "--workers", "1"]))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "out was moved or deleted" in done.stderr
    assert len(list((tmp_path / "kept" / "jpg").rglob("n_frames"))) >= 4


def test_a_full_disk_stops_the_run_and_keeps_what_is_whole(tmp_path: Path) -> None:
    """Decoding all other videos for nothing takes days."""
    pixels = np.random.default_rng(0).integers(0, 255, (96, 128, 3), dtype=np.uint8)
    for number in range(8):
        encode_video(tmp_path / "v" / "walk" / f"{number}.mp4", [pixels] * 5, options={"crf": "30", "threads": "1"})
    disk = tmp_path / "disk"
    disk.mkdir()
    command = f"{shlex.quote(sys.executable)} -m data.prepare.convert {tmp_path}/v {disk} --workers 1"
    check = f"for f in {disk}/jpg/walk/*; do ls -A $f; done; ls -A {disk}"
    mounted = f"mount -t tmpfs -o size=300k none {disk} || exit 77; {command}; echo status $?; {check}"
    run = subprocess.run(["unshare", "-rm", "sh", "-c", mounted], cwd=ROOT, capture_output=True, text=True)
    if run.returncode == 77 or "unshare" in run.stderr:
        pytest.skip("needs the right to mount")
    assert "status 1" in run.stdout, run.stderr
    assert run.stderr.count("the disk is full") == 1 and "Traceback" not in run.stderr
    left = run.stdout.partition("status 1")[2].split()
    assert 0 < left.count("n_frames") <= left.count("frames.db") < 8
    assert not [name for name in left if name.endswith(".tmp")]


def test_a_file_that_grows_too_large_fails_alone(tmp_path: Path) -> None:
    source = encode_numbered_video(tmp_path / "v.mp4", 60)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, limits[1]))
    try:
        with pytest.raises(DataError, match="larger than"):
            convert(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "out").exists()


def test_the_databases_are_not_mixed_with_the_videos(tmp_path: Path) -> None:
    encode_numbered_video(tmp_path / "jpg" / "a.mp4", 2)  # a class named jpg
    encode_numbered_video(tmp_path / "walk" / "a.mp4", 2)
    with pytest.raises(DataError, match=r"jpg holds 1 video \(a\.mp4\)"):
        main([str(tmp_path), str(tmp_path)])
    (tmp_path / "jpg" / "a.mp4").unlink()
    assert main([str(tmp_path), str(tmp_path), "--workers", "1"]) == 0
    with pytest.raises(DataError, match="another OUT"):
        main([str(tmp_path / "jpg"), str(tmp_path)])


# Single videos


def test_frames_are_scaled_and_encoded_as_told(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 160, 3), dtype=np.uint8)
    source = encode_video(tmp_path / "v.mp4", [noise] * 3)
    sizes = []
    for quality in (20, 95):
        settings = SETTINGS._replace(short_side=45, quality=quality)
        convert(source, tmp_path / str(quality), settings=settings)
        store = FrameStore(tmp_path / str(quality))
        assert store.size() == (45, 80)
        assert store.read(range(3)).shape == (3, 45, 80, 3)
        sizes.append((tmp_path / str(quality) / "frames.db").stat().st_size)
    assert sizes[0] < sizes[1]


def test_videos_smaller_than_asked_for_are_counted_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Training enlarges them, and a user who asked for 360 pixels would not know that half of the videos have 240."""
    for name in ("a", "b"):
        encode_numbered_video(tmp_path / "v" / "walk" / f"{name}.mp4", 3)
    encode_numbered_video(tmp_path / "v" / "walk" / "large.mp4", 3, height=96, width=80)
    write_jpegs(tmp_path / "v" / "walk" / "frames", range(2))
    assert rerun(tmp_path / "v", tmp_path / "out", "--short-side", "60") == (0, {})
    assert FrameStore(tmp_path / "out" / "jpg" / "walk" / "a").size() == (48, 64)
    assert FrameStore(tmp_path / "out" / "jpg" / "walk" / "large").size() == (72, 60)
    assert "the frames of 3 videos have a shorter side of less than 60 pixels" in capsys.readouterr().out
    assert rerun(tmp_path / "v", tmp_path / "out", "--short-side", "60") == (0, {})
    assert "the frames of 3 videos have a shorter side" in capsys.readouterr().out


def test_a_video_that_fails_leaves_no_folder_and_with_keep_partial_its_good_frames(tmp_path: Path) -> None:
    source = encode_numbered_video(
        tmp_path / "v.mp4", 60, 96, 128, options={"g": "10", "crf": "0"}, container_options={"movflags": "faststart"}
    )
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 2 // 3])
    with pytest.raises(VideoError, match="keep-partial"):
        convert(source, tmp_path / "out" / "v")
    assert not (tmp_path / "out" / "v").exists()
    warnings = convert(source, tmp_path / "out" / "v", settings=SETTINGS._replace(keep_partial=True))
    assert warnings
    numbers = numbers_of(tmp_path / "out" / "v")
    assert numbers[:20] == list(range(20)) and len(numbers) < 60


@pytest.mark.parametrize("times", [None, 1], ids=["lasting", "passing"])
def test_an_error_of_the_disk_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int | None
) -> None:
    """With --keep-partial, a whole database was replaced by one of the frames before the error, and that one kept."""
    options = {"g": "10", "crf": "0"}
    source = encode_numbered_video(
        tmp_path / "v.mp4", 60, 96, 128, options=options, container_options={"movflags": "faststart"}
    )
    convert(source, tmp_path / "out" / "v")
    fail_from(monkeypatch, source, source.stat().st_size * 2 // 3, times)
    with pytest.raises(VideoError, match="second look" if times else "Input/output error"):
        convert(source, tmp_path / "out" / "v", settings=SETTINGS._replace(keep_partial=True))
    assert numbers_of(tmp_path / "out" / "v") == list(range(60))


def test_jpeg_files_are_stored_as_they_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    source = tmp_path / "walk" / "v"
    source.mkdir(parents=True)
    jpegs = numbered_jpegs(range(12))
    for number, data in enumerate(jpegs):
        (source / f"img{number}.{'JPEG' if number % 2 else 'jpg'}").write_bytes(data)
    (source / "thumbs.db").write_text("x")
    assert [video.path for video in find_sources(tmp_path, tmp_path / "out").videos] == [source]
    assert convert(source, tmp_path / "out") == []
    assert numbers_of(tmp_path / "out") == list(range(12))
    with FrameStore(tmp_path / "out") as store:
        assert [store._fetch(store._connection, index) for index in range(12)] == jpegs  # type: ignore[arg-type]


def test_jpeg_files_are_encoded_again_only_to_get_one_size(tmp_path: Path) -> None:
    source = tmp_path / "v"
    source.mkdir()
    for number, size in enumerate([(60, 80), (60, 80), (30, 40), (120, 160)]):
        (source / f"{number:03d}.jpg").write_bytes(jpeg(numbered_frame(number, *size)))
    (warning,) = convert(source, tmp_path / "whole")
    assert "2 frames of 40x30 and 160x120 instead of 80x60" in warning
    assert "distorts" not in warning
    assert read_origin(tmp_path / "whole" / "frames.db").is_damaged is False  # nothing of the video is missing
    assert FrameStore(tmp_path / "whole").read(range(4)).shape == (4, 60, 80, 3)
    convert(source, tmp_path / "small", settings=SETTINGS._replace(short_side=30))
    assert FrameStore(tmp_path / "small").read(range(4)).shape == (4, 30, 40, 3)
    assert numbers_of(tmp_path / "small") == list(range(4))


def test_frames_that_scaling_distorts_are_said(tmp_path: Path) -> None:
    """A folder with the frames of two videos, or of a phone that was turned, would train on people twice as wide."""
    source = tmp_path / "v"
    source.mkdir()
    for number, size in enumerate([(60, 80), (60, 80), (80, 60)]):
        (source / f"{number}.jpg").write_bytes(jpeg(numbered_frame(number, *size)))
    (warning,) = convert(source, tmp_path / "out")
    assert "1 frames of 60x80" in warning
    assert "distorts" in warning


def test_a_thumbnail_as_the_first_frame_does_not_shrink_the_others(tmp_path: Path) -> None:
    """All frames would be squeezed to its few pixels."""
    source = tmp_path / "v"
    source.mkdir()
    for number, size in enumerate([(16, 16), *4 * [(60, 80)]]):
        (source / f"{number}.jpg").write_bytes(jpeg(numbered_frame(number, *size)))
    with pytest.raises(VideoError, match=r"4 of 5 frames are 80x60 .* first, 0\.jpg"):
        convert(source, tmp_path / "out")
    (warning,) = convert(source, tmp_path / "out", settings=SETTINGS._replace(keep_partial=True))
    assert "1 frames of 16x16 instead of 80x60" in warning
    assert FrameStore(tmp_path / "out").read(range(5)).shape == (5, 60, 80, 3)
    # Of no consequence if all are scaled to the same size.
    (source / "0.jpg").write_bytes(jpeg(numbered_frame(0, 120, 160)))
    assert len(convert(source, tmp_path / "out", settings=SETTINGS._replace(short_side=30))) == 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("order", ["<", ">"])
def test_frames_of_a_turned_camera_are_upright(tmp_path: Path, orientation: int, order: str) -> None:
    """Telephones store pictures as their sensor lies, and say in Exif how to show them, as viewers and OpenCV do."""
    y, x = np.mgrid[:48, :64]
    plain = jpeg(np.stack([4 * x, 5 * y, x + y], -1).astype(np.uint8), quality=95)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, 2)
    tags = struct.pack(f"{order}HHIHHHHIHH", 0x10F, 3, 1, 0, 0, 0x112, 3, 1, orientation, 0)
    block = b"Exif\0\0" + head + tags + bytes(4)
    end = 4 + int.from_bytes(plain[4:6], "big")  # of the JFIF segment
    data = plain[:end] + b"\xff\xe1" + struct.pack(">H", 2 + len(block)) + block + plain[end:]
    (tmp_path / "v").mkdir()
    (tmp_path / "v" / "1.jpg").write_bytes(data)
    (warning,) = convert(tmp_path / "v", tmp_path / "out")
    assert "has one frame" in warning
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1].astype(int)
    with FrameStore(tmp_path / "out") as store:
        (frame,) = store.read([0])
        assert frame.shape == expected.shape and np.abs(frame - expected).mean() < 2
        assert (store._fetch(store._connection, 0) == data) == (orientation == 1)  # type: ignore[arg-type]


def test_a_damaged_jpeg_file_does_not_get_in(tmp_path: Path) -> None:
    source = tmp_path / "v"
    source.mkdir()
    for number, data in enumerate(numbered_jpegs(range(4))):
        (source / f"{number}.jpg").write_bytes(data[:-50] if number == 2 else data)
    with pytest.raises(VideoError, match=r"2\.jpg is a damaged JPEG"):
        convert(source, tmp_path / "out")
    warnings = convert(source, tmp_path / "out", settings=SETTINGS._replace(keep_partial=True))
    assert "2.jpg" in warnings[0]
    assert numbers_of(tmp_path / "out") == [0, 1, 3]
    with pytest.raises(VideoError, match="cannot be cut out"):
        convert(source, tmp_path / "cut", Span(0, 1))


@pytest.mark.parametrize("keep_partial", [False, True])
def test_a_huge_or_foreign_picture_is_refused_before_it_is_decoded(tmp_path: Path, keep_partial: bool) -> None:
    """A header that promises 65000x65000 pixels would take 12 GB."""
    data = bytearray(numbered_jpegs([0])[0])
    place = data.find(b"\xff\xc0")
    data[place + 5 : place + 9] = struct.pack(">HH", 65000, 65000)
    settings = SETTINGS._replace(keep_partial=keep_partial)
    (tmp_path / "v").mkdir()
    for content, reason in ((bytes(data), "65000x65000|no frames"), (b"\x89PNG\r\n", "PNG|no frames")):
        (tmp_path / "v" / "1.jpg").write_bytes(content)
        with pytest.raises(DataError, match=reason):
            convert(tmp_path / "v", tmp_path / "out", settings=settings)


def test_a_frame_of_gigabytes_is_not_read_whole(tmp_path: Path) -> None:
    """A sparse file of any size takes no memory: 16 workers would fill that of the machine."""
    (tmp_path / "1").mkdir()
    for number, data in enumerate(numbered_jpegs(range(3))):
        (tmp_path / "1" / f"{number}.jpg").write_bytes(data)
    with (tmp_path / "1" / "1.jpg").open("ab") as file:
        file.truncate(2**28)
    tracemalloc.start()
    try:
        with pytest.raises(VideoError, match=r"1\.jpg .*bytes"):
            convert(tmp_path / "1", tmp_path / "out")
        assert convert(tmp_path / "1", tmp_path / "out", settings=SETTINGS._replace(keep_partial=True))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert numbers_of(tmp_path / "out") == [0, 2]


def test_a_pipe_among_the_frames_does_not_stop_the_work(tmp_path: Path) -> None:
    (tmp_path / "v").mkdir()
    os.mkfifo(tmp_path / "v" / "1.jpg")
    with pytest.raises(DataError, match=r"1\.jpg is no file"):
        convert(tmp_path / "v", tmp_path / "out")


def test_chroma_is_halved_as_by_other_converters(tmp_path: Path) -> None:
    convert(encode_numbered_video(tmp_path / "v.mp4", 1), tmp_path / "out")
    with FrameStore(tmp_path / "out") as store:
        data = store._fetch(store._connection, 0)  # type: ignore[arg-type]
    assert simplejpeg.decode_jpeg_header(data)[3] == "420"


# Kills


def start(videos: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "data.prepare.convert", str(videos), str(out), "--workers", "2"]
    return subprocess.Popen(
        command, cwd=ROOT, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def await_files(process: subprocess.Popen[bytes], out: Path, pattern: str, number: int) -> None:
    """Wait until the run has that many more files of the pattern under `out` than now, or has ended."""
    there = len(list(out.rglob(pattern)))
    while process.poll() is None and len(list(out.rglob(pattern))) < there + number:
        time.sleep(0.005)


def await_group_end(group: int) -> bool:
    """Whether all processes of a group end within half a minute."""
    for _ in range(600):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.fixture(scope="module")
def many_videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "videos"
    for n in range(8):
        encode_numbered_video(folder / f"class{n % 2}" / f"v{n}.mp4", 120 + n, 96, 128, start=20 * n)
    return folder


@pytest.mark.parametrize(
    "kills", [2, pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)])], ids=["few", "many"]
)
def test_killed_runs_lose_nothing_and_leave_nothing_half_written(many_videos: Path, tmp_path: Path, kills: int) -> None:
    out, draw = tmp_path / "out", random.Random(kills)
    expected = {f"class{n % 2}/v{n}": [k % 512 for k in range(20 * n, 20 * n + 120 + n)] for n in range(8)}
    for kill in range(kills):
        counts = list(out.glob("jpg/*/*/n_frames"))
        if len(counts) > len(expected) // 2:  # the work would end before the kills do
            for path in counts:
                path.unlink()
        process = start(many_videos, out)
        await_files(process, out, "*", draw.randrange(6))
        time.sleep(draw.random() * 0.1)
        if kill % 2 and process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
        process.wait()
        assert await_group_end(process.pid), "workers outlive the killed run"
        for folder in out.glob("jpg/*/*"):
            name = f"{folder.parent.name}/{folder.name}"
            if (folder / "frames.db").exists():  # even without n_frames
                assert frame_numbers(FrameStore(folder).read(range(len(expected[name])))) == expected[name]
            assert is_whole(folder) or not (folder / "n_frames").exists()
    assert start(many_videos, out).wait() == 0
    assert {f"{path.parent.name}/{path.name}" for path in out.glob("jpg/*/*")} == set(expected)
    for name, numbers in expected.items():
        assert numbers_of(out / "jpg" / name) == numbers
        assert sorted(path.name for path in (out / "jpg" / name).iterdir()) == ["frames.db", "n_frames"]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopping_a_run_leaves_no_process_and_no_temporary_file(tmp_path: Path, number: int, status: int) -> None:
    frames = [np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)] * 4
    source = tmp_path / "videos" / "walk" / "long"
    source.mkdir(parents=True)
    for n in range(600):
        (source / f"{n}.jpg").write_bytes(jpeg(frames[0]) if n == 0 else b"")
    for n in range(1, 600):
        (source / f"{n}.jpg").unlink()
        (source / f"{n}.jpg").hardlink_to(source / "0.jpg")
    process = start(tmp_path / "videos", tmp_path / "out")
    await_files(process, tmp_path / "out", ".frames.db.*", 1)
    assert leftovers(tmp_path / "out" / "jpg" / "walk" / "long")
    os.kill(process.pid, number)
    assert process.wait(timeout=30) == status
    assert await_group_end(process.pid)
    assert not list((tmp_path / "out" / "jpg").glob("*/*"))


def test_a_worker_that_is_killed_costs_one_video(many_videos: Path, tmp_path: Path) -> None:
    process = start(many_videos, tmp_path / "out")
    await_files(process, tmp_path / "out", ".frames.db.*", 1)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        pytest.skip("needs /proc")
    workers = [
        int(child)
        for child in children.read_text().split()
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    os.kill(workers[0], signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    listed = failures(tmp_path / "out" / "convert_failures.csv")
    assert [reason for _, reason in listed.values()] == ["worker died (signal 9, SIGKILL)"]
    assert len(list((tmp_path / "out" / "jpg").glob("*/*/n_frames"))) == 7
    assert not list((tmp_path / "out").rglob("*.tmp"))
