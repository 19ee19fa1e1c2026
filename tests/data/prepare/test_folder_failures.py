"""Folders of which some videos cannot be converted: no label files that teach nothing, and no class without a side."""

import csv
import re
import shutil
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare import verify
from tests.data.prepare.test_folder import keep_signal_handler, labels, make, run, split_of
from tests.numbered import encode_numbered_video, numbered_jpegs

__all__ = ["keep_signal_handler"]


def spoil(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"no video" + file.name.encode())


def test_videos_of_one_class_alone_become_no_label_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else training on one class reports 100 %."""
    videos = make(tmp_path / "videos", "wave/0.mp4 wave/1.mp4 wave/2.mp4")
    spoil(*(videos / "jump" / f"{number}.mp4" for number in range(3)))
    assert run(videos, tmp_path / "out") == 1
    assert labels(tmp_path / "out") == {} and "train_custom.py" not in capsys.readouterr().out
    make(videos, "jump/0.mp4 jump/1.mp4 jump/2.mp4", 3)
    assert run(videos, tmp_path / "out") == 0 and len(split_of(tmp_path / "out")) == 6


@pytest.mark.parametrize(("source", "folder"), [("frames", "jpg"), ("videos", "videos")])
def test_a_class_on_a_disk_that_is_not_mounted_stays_in_the_label_files(
    tmp_path: Path, source: str, folder: str
) -> None:
    """Its videos could not be written, and a training that was started then lacked the class."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/{i}.mp4" for c in ("wave", "jump", "run") for i in range(3)))
    out, disk = tmp_path / "out", tmp_path / "disk" / "jump"
    assert run(videos, out, "--source", source) == 0
    before = labels(out)
    disk.parent.mkdir()
    shutil.move(out / folder / "jump", disk)
    (out / folder / "jump").symlink_to(disk)
    disk.parent.rename(tmp_path / "off")
    make(videos, "run/new.mp4", 9)
    for flags in ((), ("--replace-labels",), ("--dry-run",)):
        with pytest.raises(DataError, match=f"{folder}/jump is a link to {disk}, where nothing is, .* mount the disk"):
            run(videos, out, "--source", source, *flags)
    assert labels(out) == before
    (tmp_path / "off").rename(disk.parent)
    assert run(videos, out, "--source", source) in (0, 1) and len(split_of(out)) == 10


def test_another_video_takes_the_only_val_place_of_a_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Else the class is never validated, and the message does not say what to do."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/{i}.mp4" for c in ("wave", "jump") for i in range(4)))
    assert run(videos, tmp_path / "whole") == 0
    (broken,) = (video for video in labels(tmp_path / "whole")["val"] if video.startswith("wave/"))
    spoil(videos / f"{broken}.mp4")
    assert run(videos, tmp_path / "out") == 1
    before = split_of(tmp_path / "out")
    assert "val" not in {split for video, split in before.items() if video.startswith("wave/")}
    assert any(f"{broken}.mp4" in line and "--replace-labels" in line for line in capsys.readouterr().out.splitlines())
    assert run(videos, tmp_path / "out", "--replace-labels") == 1
    after = split_of(tmp_path / "out")
    assert after.keys() == before.keys()
    assert {split for video, split in after.items() if video.startswith("wave/")} == {"train", "val"}
    assert all(after[video] == split for video, split in before.items() if video.startswith("jump/"))
    assert run(videos, tmp_path / "out") == 1 and split_of(tmp_path / "out") == after


def test_why_videos_are_in_one_group_is_said(tmp_path: Path) -> None:
    """36 clips in 1 group cannot be divided: a user does not know what a group is, and what to do."""
    videos = make(tmp_path / "videos", "a/s1/1.mp4 b/s1/2.mp4")
    with pytest.raises(DataError, match="--by-folder 1"):
        run(videos, tmp_path / "out", "--by-folder", "1")
    (tmp_path / "rows.csv").write_text("label,youtube_id,time_start,time_end\nwave,1,0,0.04\njump,1,0.04,0.1\n")
    with pytest.raises(DataError, match=r"1\.mp4.*column split"):
        run(videos, tmp_path / "out", "--labels", tmp_path / "rows.csv")
    (videos / "b" / "s1" / "2.mp4").write_bytes((videos / "a" / "s1" / "1.mp4").read_bytes())
    with pytest.raises(DataError, match=r"1\.mp4 and .*2\.mp4"):
        run(videos, tmp_path / "out")


def test_the_rows_that_were_left_out_are_named_where_too_few_remain(tmp_path: Path) -> None:
    """Two videos cannot be divided: that they are only two has another reason, which is in the label file."""
    videos = make(tmp_path / "videos", "s1/000.mp4 s2/000.mp4 x.mp4 y.mp4")
    (tmp_path / "rows.csv").write_text("label,id\nwave,000.mp4\nwave,x.mp4\njump,y.mp4\n")
    with pytest.raises(DataError, match=r"left out: 1 video.*000"):
        run(videos, tmp_path / "out", "--labels", tmp_path / "rows.csv")


def test_a_file_of_two_classes_in_two_splits_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its scores say how well the network knows the video by heart."""
    videos = make(tmp_path / "videos", "x.mp4 y.mp4")
    rows = "label,filename,split\nwave,x.mp4,train\njump,x.mp4,val\njump,y.mp4,train\nwave,y.mp4,train\n"
    (tmp_path / "rows.csv").write_text(rows)
    assert run(videos, tmp_path / "out", "--labels", tmp_path / "rows.csv", "--dry-run") == 0
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "in two splits" in line)
    assert "x.mp4" in line and "y.mp4" not in line and "wave" in line and "jump" in line


def test_a_dry_run_shows_what_fails_for_folders_of_frames(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Hours later each video fails for a flag that was forgotten."""
    for place, name in enumerate(("a/1", "a/2", "b/1", "b/2")):
        folder = tmp_path / "videos" / name
        folder.mkdir(parents=True)
        for number, data in enumerate(numbered_jpegs(range(4 * place, 4 * place + 3), 16, 16)):
            for series in ("img", "flow") if name == "b/2" else ("img",):
                (folder / f"{series}_{number}.jpg").write_bytes(data)
    assert run(tmp_path / "videos", tmp_path / "out", "--dry-run") == 1
    assert "--frames" in capsys.readouterr().out
    assert run(tmp_path / "videos", tmp_path / "out", "--dry-run", "--frames", "img_*.jpg") == 0
    assert run(tmp_path / "videos", tmp_path / "out", "--dry-run", "--frames", "rgb_*.jpg") == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("place", "is_named"), [
    ("videos/annotations.txt", True), ("labels.csv", True), ("videos/x.tsv", True), ("videos/notes.txt", False),
])  # fmt: skip
def test_a_label_file_beside_videos_without_classes_is_named(tmp_path: Path, place: str, is_named: bool) -> None:
    """A user who has one does not see that it has to be given."""
    videos = make(tmp_path / "videos", "one/1.mp4 one/2.mp4")
    (tmp_path / place).write_text("label,filename\n")
    with pytest.raises(DataError) as caught:
        run(videos, tmp_path / "out")
    assert (str(tmp_path / place) in str(caught.value), "--labels" in str(caught.value)) == (is_named, is_named)


def test_the_rates_and_the_command_for_the_test_file_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Clips of 25 and of 60 frames a second do not show the same motion; and a test file is never read by itself."""
    names = " ".join(f"{split}/{c}/{split}.mp4" for split in ("train", "val", "test") for c in "ab")
    videos = make(tmp_path / "videos", names)
    assert run(videos, tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "frames a second: 25 (6 videos)" in printed
    assert any("--evaluate" in line and "test.csv" in line for line in printed.splitlines())


def test_a_video_that_was_moved_is_not_called_removed(tmp_path: Path) -> None:
    """A user looks for a file that is there, and deletes the wrong thing."""
    videos = make(tmp_path / "videos", "a/1.mp4 a/2.mp4 a/3.mp4 b/1.mp4 b/2.mp4")
    assert run(videos, tmp_path / "out") == 0
    (videos / "b").rename(videos / "c")
    with pytest.raises(DataError) as caught:
        run(videos, tmp_path / "out")
    assert "b/1 is c/1" in str(caught.value) and "removed" not in str(caught.value)
    (videos / "c").rename(videos / "b")
    (videos / "b" / "1.mp4").unlink()
    with pytest.raises(DataError, match="removed"):
        run(videos, tmp_path / "out")


def test_a_list_of_names_that_a_spreadsheet_saved_is_named(tmp_path: Path) -> None:
    """The videos were said to be gone, and --replace-labels, as was advised, converted all again under other ids."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/{i:05d}.mp4" for c in ("wave", "jump") for i in range(3)))
    out = tmp_path / "out"
    assert run(videos, out) == 0
    before, names = split_of(out), out / "folder_names.csv"
    names.write_text(re.sub(",0000([0-9]),", r",\1,", names.read_text()))
    with pytest.raises(
        DataError, match=r"6 videos .* removed, as folder_names.csv has no such row: .* move it away"
    ) as error:
        run(videos, out)
    assert "no such video" not in str(error.value)
    names.unlink()
    assert run(videos, out) == 0 and split_of(out) == before


def test_times_that_change_within_a_second_are_found(tmp_path: Path) -> None:
    """The list of names has the new times, and the database the old part: nothing would tell it later."""
    rows = [f"{label},{name},{start}" for label in "ab" for name, start in (("x", 0.011), ("y", 0.25))]
    videos, out, file = tmp_path / "videos", tmp_path / "out", tmp_path / "rows.csv"
    for place, name in enumerate("xy"):
        encode_numbered_video(videos / f"{name}.mp4", 20, 32, 32, start=50 * place)

    def go(end: str, *flags: str) -> int:
        file.write_text("label,filename,time_start,time_end\n" + "".join(f"{row},{end}\n" for row in rows))
        return run(videos, out, "--labels", file, *flags)

    def found() -> set[tuple[str, str]]:
        verify.main([str(out), "--workers", "1"])
        with (out / "verify_problems.csv").open(newline="") as text:
            return {(row["kind"], row["item"]) for row in csv.DictReader(text)}

    assert go("0.6666666666666666") == 0 and found() == set()
    assert go("0.5") == 1
    assert found() == {("other times", f"{label}/{name}_000000_000000") for label in "ab" for name in "xy"}
    assert go("0.5", "--replace") == 0 and found() == set()
    (out / "folder_names.csv").write_text("mine\n1\n")
    assert found() == set()
