"""What is wrong in a dataset folder is listed, and only what can be made again is deleted."""

import csv
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal

import pytest

from common.cli import USAGE_ERROR
from common.errors import DataError
from data.prepare import convert
from data.prepare.run_lock import only_run
from data.prepare.verify import main
from data.prepare.video_check import check_video
from data.store.frame_store import FrameStore, write_frames
from data.store.origin import Origin
from tests.numbered import (
    encode_numbered_video,
    numbered_jpegs,
    write_database,
    write_numbered_database,
)
from tests.processes import ROOT


@pytest.fixture(autouse=True)
def keep_signal_handler() -> Iterator[None]:
    handler = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, handler)


def problems(dataset: Path) -> set[tuple[str, str]]:
    with (dataset / "verify_problems.csv").open(newline="") as file:
        return {(row["kind"], row["item"]) for row in csv.DictReader(file)}


def kinds(folder: Path, decode: str = "first") -> list[str]:
    return [kind for kind, _ in check_video(decode, folder, lambda: None).problems]


def cut_file(path: Path, kept: float) -> None:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def damaged_dataset(tmp_path: Path) -> Path:
    """A dataset with one video of each fault, and the labels of what should be there."""
    dataset = tmp_path / "data"
    jpg = dataset / "jpg"
    videos = ["good", "theirs", "cut", "uncounted", "miscounted", "hollow", "leftover", "gap", "gone"]
    for name in videos[:-1]:
        write_numbered_database(jpg / "play_guitar" / name, 6, indexed=name != "theirs")
    cut_file(jpg / "play_guitar" / "cut" / "frames.db", 0.6)
    (jpg / "play_guitar" / "uncounted" / "n_frames").unlink()
    (jpg / "play_guitar" / "miscounted" / "n_frames").write_text("1")
    (jpg / "play_guitar" / "hollow" / "frames.db").unlink()
    (jpg / "play_guitar" / "leftover" / ".frames.db.1234.tmp").write_bytes(b"x")
    numbered = numbered_jpegs(range(6))
    (jpg / "play_guitar" / "gap" / "frames.db").unlink()
    write_database(jpg / "play_guitar" / "gap", numbered, order=[0, 1, 3, 4, 5])
    write_numbered_database(jpg / "play_guitar" / "other", 3)
    cut_file(write_numbered_database(jpg / "unknown class" / "v", 3) / "frames.db", 0.5)
    (jpg / "play_guitar" / "notes.txt").write_text("x")
    labels = "label,id,split\n" + "".join(f"play guitar,{name},train\n" for name in videos)
    (dataset / "labels").mkdir()
    (dataset / "labels" / "train.csv").write_text(labels)
    return dataset


EXPECTED = {
    ("broken", "play_guitar/cut"),
    ("broken", "play_guitar/gap"),
    ("wrong count", "play_guitar/uncounted"),
    ("wrong count", "play_guitar/miscounted"),
    ("empty", "play_guitar/hollow"),
    ("leftover", "play_guitar/leftover"),
    ("missing", "play guitar/gone"),
    ("stray", "play_guitar/other"),
    ("stray", "unknown class"),
    ("stray", "play_guitar/notes.txt"),
}


def test_every_fault_is_listed_and_nothing_is_touched(
    damaged_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = tree(damaged_dataset / "jpg")
    assert main([str(damaged_dataset), "--workers", "2"]) == 1
    assert problems(damaged_dataset) == EXPECTED
    assert tree(damaged_dataset / "jpg") == before
    printed = capsys.readouterr().out
    assert "verify_problems.csv" in printed and "deleted" not in printed


def test_a_sound_dataset_has_status_0(tmp_path: Path) -> None:
    write_frames(tmp_path / "jpg" / "walk" / "a", numbered_jpegs(range(20)))
    (tmp_path / "labels.csv").write_text("label,id\nwalk,a\n")
    for decode in ("none", "first", "all"):
        assert (
            main([str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--decode", decode, "--workers", "1"]) == 0
        )
    assert main([str(tmp_path), "--workers", "1"]) == 0
    assert problems(tmp_path) == set()


def test_classes_of_one_name_in_two_spellings_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Before a run begins, and not in the log of it."""
    for label in ("01", "1"):
        write_frames(tmp_path / "jpg" / label / "a", numbered_jpegs(range(2)))
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "train.csv").write_text("label,id\n01,a\n1,a\n")
    assert main([str(tmp_path), "--workers", "1"]) == 0
    assert "'01' and '1' are different classes" in capsys.readouterr().out


def test_delete_broken_deletes_what_convert_makes_again_and_that_alone(
    damaged_dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    guitar = damaged_dataset / "jpg" / "play_guitar"
    before = tree(damaged_dataset / "jpg")
    assert main([str(damaged_dataset), "--workers", "1", "--delete-broken"]) == 1
    after = tree(damaged_dataset / "jpg")
    gone = {
        f"play_guitar/{name}"
        for name in (
            "cut/frames.db", "cut/n_frames", "gap/frames.db", "gap/n_frames", "miscounted/n_frames", "hollow/n_frames",
            "leftover/.frames.db.1234.tmp",
        )
    }  # fmt: skip
    assert set(before) - set(after) == gone
    assert all(after[name] == before[name] for name in after)
    assert not (guitar / "cut").exists() and not (guitar / "hollow").exists()
    printed = capsys.readouterr().out
    assert all(f"deleted {damaged_dataset}/jpg/{name}" in printed for name in gone)

    for name in ("cut", "gap", "uncounted", "miscounted", "hollow", "gone"):
        encode_numbered_video(damaged_dataset.parent / "videos" / "play_guitar" / f"{name}.mp4", 6)
    assert (
        convert.main([str(damaged_dataset.parent / "videos"), str(damaged_dataset), "--workers", "1", "--replace"]) == 0
    )
    main([str(damaged_dataset), "--workers", "1"])
    assert problems(damaged_dataset) == {each for each in EXPECTED if each[0] == "stray"}


def test_delete_broken_keeps_foreign_files_and_what_is_no_file(tmp_path: Path) -> None:
    folder = write_numbered_database(tmp_path / "jpg" / "walk" / "a", 3)
    cut_file(folder / "frames.db", 0.5)
    (folder / "frame_00001.jpg").write_bytes(b"mine")
    (tmp_path / "jpg" / "walk" / "b" / "frames.db").mkdir(parents=True)
    assert main([str(tmp_path), "--workers", "1", "--delete-broken"]) == 1
    assert [path.name for path in folder.iterdir()] == ["frame_00001.jpg"]
    assert (tmp_path / "jpg" / "walk" / "b" / "frames.db").is_dir()


def test_nothing_is_deleted_while_a_conversion_is_at_work(damaged_dataset: Path) -> None:
    with only_run(damaged_dataset, (1, 2)), pytest.raises(DataError, match=f"{damaged_dataset}.*another convert"):
        main([str(damaged_dataset), "--delete-broken"])


def test_how_many_frames_are_decoded_is_the_users_choice(tmp_path: Path) -> None:
    jpegs = numbered_jpegs(range(40))
    for name, number in (("first", 0), ("late", 37)):
        damaged = [*jpegs[:number], jpegs[number][:-60], *jpegs[number + 1 :]]
        write_database(tmp_path / name, damaged)
    write_database(tmp_path / "sizes", [*jpegs[:30], *numbered_jpegs([30], 16, 16)])
    assert [kinds(tmp_path / name, "none") for name in ("first", "late", "sizes")] == [[], [], []]
    assert [kinds(tmp_path / name, "first") for name in ("first", "late", "sizes")] == [["broken"], [], []]
    assert [kinds(tmp_path / name, "all") for name in ("first", "late", "sizes")] == [
        ["broken"],
        ["broken"],
        ["unreadable"],
    ]


def test_whole_databases_without_a_count_stay_usable(tmp_path: Path) -> None:
    folder = write_numbered_database(tmp_path / "jpg" / "walk" / "a", 3)
    (folder / "n_frames").unlink()
    assert main([str(tmp_path), "--workers", "1", "--delete-broken"]) == 1
    assert len(FrameStore(folder)) == 3


def test_frames_that_were_never_put_into_a_database_are_called_empty_with_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    (folder / "frame_00001.jpg").write_bytes(b"x")
    ((kind, reason),) = check_video("first", folder, lambda: None).problems
    assert kind == "empty" and "frame_00001.jpg" in reason


def test_a_database_of_another_video_is_listed_and_stays(tmp_path: Path) -> None:
    """Else a class would be trained with the videos of another, and nobody would notice."""
    for label, name in (("a", "val_5"), ("b", "train_2"), ("b", "train_3")):
        write_numbered_database(tmp_path / "jpg" / label / name, 3)
    shutil.copy(tmp_path / "jpg/a/val_5/frames.db", tmp_path / "jpg/b/train_2/frames.db")
    assert main([str(tmp_path), "--workers", "1", "--delete-broken"]) == 1
    assert problems(tmp_path) == {("other name", "b/train_2")}
    assert (tmp_path / "jpg/b/train_2/frames.db").is_file()


def test_a_database_of_another_class_with_the_same_name_is_listed(tmp_path: Path) -> None:
    """001 is in each class, so that the names tell nothing; the folder of the file that it was made from does."""
    for label, source in (
        ("run", "run/001.mp4"),
        ("jump up", "run/001.mp4"),
        ("fly", "parts/Fly/001.mp4"),
        ("sit", "001.mp4"),
    ):
        origin = Origin("videos", source, len(label), label, None, None, 360, 90, False)
        write_frames(tmp_path / "jpg" / label / "001", numbered_jpegs(range(2)), origin.rows)
    assert main([str(tmp_path), "--workers", "1", "--delete-broken"]) == 1
    assert problems(tmp_path) == {("other class", "jump up/001")}
    for name, start in (("dQw4w9WgXcQ", None), ("clip", 1.0)):
        made = Origin("videos", f"run/{name}.mp4", 1, name, start, start and 2.0, 360, 90, False)
        write_frames(tmp_path / "jpg" / "sit" / name, numbered_jpegs(range(2)), made.rows)
        assert kinds(tmp_path / "jpg" / "sit" / name) == []
    assert (tmp_path / "jpg" / "jump up" / "001" / "frames.db").is_file()


def test_a_database_that_lost_its_last_frames_is_not_made_to_look_whole(tmp_path: Path) -> None:
    """n_frames alone tells of it: --delete-broken deleted that file, and convert wrote the smaller number."""
    folder = write_numbered_database(tmp_path / "jpg" / "a" / "v", 6)
    (folder / "n_frames").write_text("16")
    assert main([str(tmp_path), "--workers", "1", "--delete-broken"]) == 1
    assert problems(tmp_path) == {("frames missing", "a/v")}
    assert (folder / "n_frames").read_text() == "16"


def test_copies_of_one_video_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`x (1).mp4` beside `x.mp4` gets into training and validation, whose score is then too high."""
    for name, start in (("x", None), ("x (1)", None), ("cut", 1.0), ("other", None)):
        origin = Origin(
            "videos", f"{name}.mp4", 7, "ab" if name != "other" else "cd", start, start and 2.0, 360, 90, False
        )
        frames = range(2) if name.startswith("x") else range(2, len(name))
        write_frames(tmp_path / "jpg" / "a" / name, numbered_jpegs(frames), origin.rows)
    assert main([str(tmp_path), "--workers", "1"]) == 0
    output = capsys.readouterr().out
    assert "a/x = a/x (1)" in output
    assert "cut" not in output and "other" not in output


@pytest.mark.parametrize(
    ("rows", "divided"),
    [
        (("a,x,train", "a,y,val", "a,z,val"), True),
        (("a,x,train", "a,y,train", "a,z,val"), False),
        (("a,x,train", "a,y,train", "a,z,train", "a,x,val", "a,y,val", "a,z,val"), False),  # two divisions
    ],
)
def test_copies_in_two_splits_are_told_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: tuple[str, ...], divided: bool
) -> None:
    """Among many copies within a split, those that make the score too high would be lost."""
    (tmp_path / "labels").mkdir()
    for split in ("train", "val"):
        lines = [row for row in rows if row.endswith(split)]
        (tmp_path / "labels" / f"{split}.csv").write_text("\n".join(["label,id,split", *lines]) + "\n")
    for name in "xyz":
        origin = Origin("videos", f"{name}.mp4", 7, "cd" if name == "z" else "ab", None, None, 360, 90, False)
        write_frames(tmp_path / "jpg" / "a" / name, numbered_jpegs(range(ord(name))), origin.rows)
    assert main([str(tmp_path), "--workers", "1"]) == 0
    assert ("in two splits, though" in " ".join(capsys.readouterr().out.split())) == divided


def test_frames_of_other_times_than_the_labels_say_are_listed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Times that were corrected after converting may keep a folder's name: the old part was trained as the new one."""
    rows = ["a,x1,10,20", "a,moved,10.5,20", "a,later,30,40.9", "a,whole,50,60", "a,cut,50,60", "a,unknown,50,60"]
    (tmp_path / "labels.csv").write_text("\n".join(["label,youtube_id,time_start,time_end", *rows, ""]))
    (tmp_path / "more.csv").write_text("label,id\na,x2_000001_000003\na,x3_000001_000003\n")
    for name, source, start, end in (
        ("x1_000010_000020", "x1.mp4", 10.2, 20.0),  # less than a frame
        ("moved_000010_000020", "v_moved.mp4", 10.0, 20.0),
        ("later_000030_000040", "later.mp4", 30.0, 40.0),
        ("whole_000050_000060", "a/whole.webm", None, None),
        ("cut_000050_000060", "a/cut_000050_000060.mp4", None, None),
        ("x2_000001_000003", "v_x2.mp4", 1.5, 3.0),
        ("x3_000001_000003", "x3.mp4", 5.0, 7.0),
    ):
        origin = Origin("videos", source, 1, name, start, end, 360, 90, False)
        write_frames(tmp_path / "jpg" / "a" / name, numbered_jpegs(range(40)), origin.rows)
    write_frames(tmp_path / "jpg" / "a" / "unknown_000050_000060", numbered_jpegs(range(2)))
    labels = [text for name in ("labels.csv", "more.csv") for text in ("--labels", str(tmp_path / name))]
    assert main([str(tmp_path), *labels, "--workers", "1", "--delete-broken"]) == 1
    names = ("moved_000010_000020", "later_000030_000040", "whole_000050_000060", "x3_000001_000003")
    assert problems(tmp_path) == {("other times", f"a/{name}") for name in names}
    output = capsys.readouterr().out
    assert "10 to 20 s" in output and "10.5 to 20 s" in output and "--replace" in output
    assert "1 database of rows with times" in output


def test_a_whole_video_named_as_a_clip_is_said_by_convert_and_by_verify(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was taken for the clip that was cut beforehand, and minutes of other things were trained as its class."""
    videos, youtube = tmp_path / "videos", "dQw4w9WgXcQ"
    lengths = {"long_000000_000002": 100, f"{youtube}_000003_000005": 100, "short_000000_000020": 50}
    for name, frames in {**lengths, "right_000002_000004": 48, "frames_000000_000001": 60}.items():
        encode_numbered_video(videos / "a" / f"{name}.mp4", frames)  # 25 frames a second
    rows = ["a,long,0,2", "a,short,0,20", "a,right,2,4"]
    (tmp_path / "labels.csv").write_text("\n".join(["label,youtube_id,time_start,time_end", *rows, ""]))
    labels = ["--labels", str(tmp_path / "labels.csv")]
    cut = tmp_path / "cut"
    assert convert.main([str(videos), str(cut), *labels, "--workers", "1"]) == 0
    with (cut / "convert_failures.csv").open(newline="") as file:
        listed = {row["item"]: (row["kind"], row["reason"]) for row in csv.DictReader(file)}
    assert listed.keys() == {"a/long_000000_000002.mp4", "a/short_000000_000020.mp4"}
    assert listed["a/long_000000_000002.mp4"] == (
        "warning", "lasts 4.0 s, but its label row or name says 0 to 2 s, which are 2 s: is it the whole video?"
    )  # fmt: skip
    capsys.readouterr()
    assert main([str(cut), *labels, "--workers", "1"]) == 1
    assert problems(cut) == {("other length", "a/long_000000_000002")}
    assert "(a/short_000000_000020)" in capsys.readouterr().out
    whole = tmp_path / "whole"  # without labels, the names of YouTube alone tell
    assert convert.main([str(videos), str(whole), "--workers", "1"]) == 0
    assert main([str(whole), "--workers", "1"]) == 1
    assert problems(whole) == {("other length", f"a/{youtube}_000003_000005")}


def test_names_with_suffixes_and_dots_and_links_are_the_same_video(tmp_path: Path) -> None:
    """dataset2database may keep the suffix of a video file."""
    for number, (written, name) in enumerate([("v.mp4", "v"), ("v", "v.mp4"), ("v 1.2", "v 1.2"), ("v", "v")]):
        folder = write_numbered_database(tmp_path / str(number) / written, 2)
        shutil.copytree(folder, tmp_path / "jpg" / str(number) / name)
        assert kinds(tmp_path / "jpg" / str(number) / name) == []
    (tmp_path / "link").symlink_to(folder)
    assert kinds(tmp_path / "link") == []
    assert kinds(folder.rename(folder.with_name("V"))) == ["other name"]
    write_frames(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")), numbered_jpegs(range(2)))
    assert kinds(Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))) == []


def test_videos_kept_with_damage_are_counted_and_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    origin = Origin("videos", "walk/a.mp4", 1, "ab", None, None, 360, 90, True)
    write_frames(tmp_path / "jpg" / "walk" / "a", numbered_jpegs(range(3)), lambda: origin.rows(["decoding stops"]))
    write_frames(tmp_path / "jpg" / "walk" / "b", numbered_jpegs(range(3)), origin.rows)
    assert main([str(tmp_path), "--workers", "1"]) == 0
    assert "kept with damage, by convert --keep-partial: 1 video (walk/a)" in capsys.readouterr().out


def test_videos_converted_with_a_warning_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else pictures that were left out would be known to those alone who saw the first conversion."""
    origin = Origin("videos", "walk/a.mp4", 1, "ab", None, None, 360, 90, False)
    left_out = "left out 300 pictures in the folder more"
    write_frames(tmp_path / "jpg" / "walk" / "a", numbered_jpegs(range(3)), lambda: origin.rows([], [left_out]))
    write_frames(tmp_path / "jpg" / "walk" / "b", numbered_jpegs(range(3)), lambda: origin.rows(["9 frames of 90"]))
    assert main([str(tmp_path), "--workers", "1"]) == 0
    assert "convert_failures.csv: 2 videos (walk/a, walk/b)" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_list_that_cannot_be_written_is_a_failure(tmp_path: Path) -> None:
    """A job would take status 0 for a sound dataset, though nothing was said of it."""
    write_numbered_database(tmp_path / "jpg" / "walk" / "a", 2)
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "data.prepare.verify", str(tmp_path), "--workers", "1"]
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1 and "the disk is full" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["--decode", "some"], ["--workers", "0"], ["--delete-brokn"]])
def test_a_wrong_command_line_gets_status_2(tmp_path: Path, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), *arguments])
    assert caught.value.code == USAGE_ERROR


def test_a_folder_that_is_no_dataset_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no folder jpg"):
        main([str(tmp_path)])


def test_missing_videos_whose_names_differ_in_a_suffix_are_told_apart(tmp_path: Path) -> None:
    """Two rows of the report with one item: which of the two files to get?"""
    write_numbered_database(tmp_path / "jpg" / "wave" / "b", 3)
    (tmp_path / "all.csv").write_text(
        "label,file,split\nwave,b.avi,train\nwave,c1,train\nwave,c1.avi,val\nwave,d.avi,val\n"
    )
    assert main([str(tmp_path), "--labels", str(tmp_path / "all.csv"), "--workers", "1"]) == 1
    assert problems(tmp_path) == {("missing", f"wave/{name}") for name in ("c1", "c1.avi", "d")}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_that_look_alike_are_said_to_be_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: Literal["NFC", "NFD"]
) -> None:
    """run/café was listed as missing and as stray, and nothing on the screen told the names apart."""
    other: Literal["NFC", "NFD"] = "NFD" if form == "NFC" else "NFC"
    write_numbered_database(tmp_path / "jpg" / "run" / unicodedata.normalize(form, "café"), 3)
    (tmp_path / "labels.csv").write_text(f"label,id\nrun,{unicodedata.normalize(other, 'café')}\n", encoding="utf-8")
    assert main([str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--workers", "1"]) == 1
    assert {kind for kind, _ in problems(tmp_path)} == {"missing", "stray"}
    output = capsys.readouterr().out
    assert "caf\\xe9" in output and "cafe\\u0301" in output and "encoded in two ways" in output
    (tmp_path / "labels.csv").write_text("label,id\nrun,gone\n")
    assert main([str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--workers", "1"]) == 1
    assert "two ways" not in capsys.readouterr().out


def test_missing_videos_whose_names_the_locale_cannot_write_are_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same name was listed as missing and as stray."""
    write_database(tmp_path / "jpg" / "run" / "v", numbered_jpegs(range(3)))
    (tmp_path / "labels.csv").write_text("label,id\nrun,v\nn\xe9,w\n", encoding="utf-8")
    words = [str(tmp_path), "--labels", str(tmp_path / "labels.csv"), "--workers", "1"]
    for encoding, is_told in (("utf-8", False), ("ascii", True)):
        monkeypatch.setattr("sys.getfilesystemencoding", lambda encoding=encoding: encoding)
        assert main(words) == 1
        assert ("PYTHONUTF8=1" in capsys.readouterr().out) == is_told


def test_frames_that_were_changed_since_they_were_written_are_found(tmp_path: Path) -> None:
    """A byte that a disk loses inside of a JPEG may still decode: to another picture, without a word."""
    encode_numbered_video(tmp_path / "videos" / "walk" / "a.mp4", 6)
    convert.main([str(tmp_path / "videos"), str(tmp_path / "data"), "--workers", "1"])
    folder = tmp_path / "data" / "jpg" / "walk" / "a"
    assert kinds(folder, "all") == []
    with closing(sqlite3.connect(folder / "frames.db")) as database, database:
        database.execute(
            "UPDATE Images SET frames = (SELECT frames FROM Images WHERE ObjId = 'a/frame_00003') "
            "WHERE ObjId = 'a/frame_00004'"
        )
    assert kinds(folder, "first") == []
    assert kinds(folder, "all") == ["other frames"]
    assert main([str(tmp_path / "data"), "--decode", "all", "--delete-broken", "--workers", "1"]) == 1
    assert FrameStore(folder).check_numbering() == 6  # another program may have changed them on purpose


def test_a_copy_in_another_file_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One recording in both splits makes a score that no new video reaches."""
    video = tmp_path / "videos" / "walk" / "a.mp4"
    encode_numbered_video(video, 6)
    video.with_name("b.mp4").write_bytes(video.read_bytes() + b"\0\0\0\x08free")  # as a container that was written anew
    encode_numbered_video(video.with_name("c.mp4"), 7)
    convert.main([str(tmp_path / "videos"), str(tmp_path / "data"), "--workers", "1"])
    capsys.readouterr()
    assert main([str(tmp_path / "data"), "--workers", "1"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "walk/a = walk/b" in printed and "walk/c" not in printed
