"""A video keeps its side of the split when its file is moved, renamed, or put under another class or other times."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.folder_state import read_names
from tests.data.prepare.test_folder import keep_signal_handler, make, run
from tests.numbered import encode_numbered_video, numbered_jpegs

__all__ = ["keep_signal_handler"]

FILES = " ".join(f"{label}/{number}.mp4" for label in ("jump", "run", "wave") for number in range(6))


def sides(videos: Path, out: Path) -> dict[str, str]:
    """The split of each content, by a digest of all bytes of the file or of the folder's frames."""
    found: dict[str, str] = {}
    for row in read_names(out / "folder_names.csv"):
        path = videos / row.source
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        digest = hashlib.md5(b"".join(file.read_bytes() for file in files)).hexdigest()
        assert found.setdefault(digest, row.split) == row.split
    return found


def to_batches(videos: Path) -> None:
    """The files of a class come into a folder, and others of the same names into one beside it."""
    for folder in sorted(videos.iterdir()):
        files = sorted(folder.iterdir())
        for file in files:
            (folder / "b1").mkdir(exist_ok=True)
            file.rename(folder / "b1" / file.name)
        for number, file in enumerate(files):
            encode_numbered_video(folder / "b2" / file.name, 4, 32, 32, start=10 + number)


def to_other_names(videos: Path) -> None:
    for file in sorted(videos.glob("*/*")):
        file.rename(file.with_name(f"new_{file.name}"))


def to_another_class(videos: Path) -> None:
    (videos / "wave").rename(videos / "waving")
    (videos / "run").rename(videos / "running")


@pytest.mark.parametrize("source", ["frames", "videos"])
@pytest.mark.parametrize("move", [to_batches, to_other_names, to_another_class])
def test_a_moved_file_keeps_its_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], move: Callable[[Path], None], source: str
) -> None:
    """Videos that a network was trained on came into val, whose scores are then too high."""
    videos, out = make(tmp_path / "videos", FILES), tmp_path / "out"
    assert run(videos, out, "--source", source) == 0
    before = sides(videos, out)
    move(videos)
    with pytest.raises(DataError, match="named anew, as the files were moved") as error:
        run(videos, out, "--source", source)
    assert "removed" not in str(error.value)
    assert run(videos, out, "--source", source, "--replace-labels") == 0
    assert before.items() <= sides(videos, out).items()
    assert "18 videos as before" in capsys.readouterr().out


@pytest.mark.parametrize("suffix", ["", ".avi"])
def test_a_moved_folder_of_frames_keeps_its_side(tmp_path: Path, suffix: str) -> None:
    """As a file does; scripts name such folders as the video, often with its suffix."""
    videos, out = tmp_path / "videos", tmp_path / "out"
    for place, name in enumerate(FILES.split()):
        folder = videos / name.replace(".mp4", suffix)
        folder.mkdir(parents=True)
        for number, jpeg in enumerate(numbered_jpegs(range(4 * place, 4 * place + 3), 32, 32)):
            (folder / f"{number}.jpg").write_bytes(jpeg)
    assert run(videos, out) == 0
    before = sides(videos, out)
    to_other_names(videos)
    with pytest.raises(DataError, match=r"18 videos .* would be named anew, as the files were moved"):
        run(videos, out)
    assert run(videos, out, "--replace-labels") == 0
    assert sides(videos, out) == before


@pytest.mark.parametrize("correction", ["class", "times"])
def test_a_corrected_label_row_keeps_the_side(tmp_path: Path, correction: str) -> None:
    """The same recording was trained on under its old label, or with its old times, and then validated on."""
    names = [f"{number:02d}.mp4" for number in range(16)]
    videos, out, labels = tmp_path / "videos", tmp_path / "out", tmp_path / "labels.csv"
    for place, name in enumerate(names):
        encode_numbered_video(videos / name, 51, 32, 32, start=place)

    def write(number: int, is_corrected: bool) -> None:
        rows = ["id,label,start,end"]
        for place, name in enumerate(names[:number]):
            other = is_corrected and place % 5 < 4
            label = ("run", "wave")[(place + (other and correction == "class")) % 2]
            rows.append(f"{name},{label},{int(other and correction == 'times')},2")
        labels.write_text("\n".join(rows) + "\n")

    for number in (4, 8, 16):  # a division of all at once would be another one
        write(number, is_corrected=False)
        assert run(videos, out, "--labels", labels) == 0
    before = sides(videos, out)
    write(16, is_corrected=True)
    assert run(videos, out, "--labels", labels, "--replace-labels") in (0, 1)
    assert sides(videos, out) == before


def test_a_file_that_made_room_for_another_keeps_its_side(tmp_path: Path) -> None:
    """The row of its old name stays, with the old frames: they would be in train and val at once."""
    videos, out = make(tmp_path / "videos", FILES), tmp_path / "out"
    assert run(videos, out) == 0
    before = {row.source: row.split for row in read_names(out / "folder_names.csv")}
    for number, name in enumerate(before):
        old = videos / Path(name).parent / "old" / Path(name).name
        old.parent.mkdir(exist_ok=True)
        shutil.move(videos / name, old)
        encode_numbered_video(videos / name, 5, 32, 32, start=10 + number)
    assert run(videos, out) == 1  # they differ
    now = {row.source: row.split for row in read_names(out / "folder_names.csv")}
    assert len(now) == 36
    for name, split in before.items():
        assert now[name] == now[f"{Path(name).parent}/old/{Path(name).name}"] == split


@pytest.mark.parametrize("other", ["class", "times"])
def test_a_file_that_made_room_for_one_with_another_label_row_keeps_its_side(tmp_path: Path, other: str) -> None:
    """The new take, of another class or with other times, was taken for the old one, which was then validated on."""
    videos, out, labels = tmp_path / "videos", tmp_path / "out", tmp_path / "labels.csv"
    rows = {f"{number:02d}.mp4": (("run", "wave")[number % 2], 0) for number in range(12)}

    def write() -> None:
        lines = (f"{name},{label},{start},{start + 2}" for name, (label, start) in rows.items())
        labels.write_text("\n".join(["id,label,start,end", *lines]) + "\n")

    for place, name in enumerate(rows):
        encode_numbered_video(videos / name, 51, 32, 32, start=place)
    write()
    assert run(videos, out, "--labels", labels) == 0
    before = sides(videos, out)
    for place, (name, (label, start)) in enumerate(list(rows.items())):
        (videos / name).rename(videos / f"old_{name}")
        rows[f"old_{name}"] = label, start
        encode_numbered_video(videos / name, 76, 32, 32, start=100 + place)
        rows[name] = ("wave" if label == "run" else "run", 0) if other == "class" else (label, 1)
    write()
    with pytest.raises(DataError, match=r"run/00_000000_000002 is run/old_00_000000_000002.* as the files were moved"):
        run(videos, out, "--labels", labels)
    assert run(videos, out, "--labels", labels, "--replace-labels") == 0
    now = sides(videos, out)
    assert before.items() <= now.items()
    assert {now[each] for each in now.keys() - before.keys()} == {"train", "val"}  # divided as others are


@pytest.mark.parametrize("as_frames", [False, True])
def test_a_folder_in_the_place_of_another_changes_no_side(tmp_path: Path, as_frames: bool) -> None:
    """A folder is renamed and one of older files put there: no time of a file tells that it is another one."""

    def batch(place: Path, label: str, start: int, length: int) -> None:
        for number in range(6):
            name = place / label / "b1" / str(number)
            if not as_frames:
                encode_numbered_video(name.with_suffix(".mp4"), length, 32, 32, start=start + length * number)
                continue
            name.mkdir(parents=True)
            for frame, jpeg in enumerate(numbered_jpegs(range(start + number, start + number + length), 32, 32)):
                (name / f"{frame}.jpg").write_bytes(jpeg)

    videos, takes, out = tmp_path / "videos", tmp_path / "takes", tmp_path / "out"
    for place, label in enumerate(("jump", "run", "wave")):
        batch(videos, label, 100 * place, 4)
        batch(takes, label, 100 * place + 50, 5)
    assert run(videos, out) == 0
    before = {row.source: row.split for row in read_names(out / "folder_names.csv")}
    for label in ("jump", "run", "wave"):
        (videos / label / "b1").rename(videos / label / "old")
        (takes / label / "b1").rename(videos / label / "b1")
    assert run(videos, out) == 1  # they differ
    now = {row.source: row.split for row in read_names(out / "folder_names.csv")}
    assert {name.replace("/b1/", "/old/"): split for name, split in before.items()}.items() <= now.items()


def test_another_take_under_the_name_of_a_deleted_one_has_the_side_of_its_subject(tmp_path: Path) -> None:
    """Takes have the same names for every subject: a new one was divided as the deleted takes of others were."""
    takes = [f"{label}/s{{}}/take{take}.mp4" for label in ("run", "walk") for take in (1, 2)]
    names = [take.format(subject) for subject in range(1, 8) for take in takes]
    videos, out = make(tmp_path / "videos", " ".join(names)), tmp_path / "out"
    assert run(videos, out, "--by-folder", "1") == 0
    rows = read_names(out / "folder_names.csv")
    for split, take in (("train", "take1"), ("val", "take2")):
        next(videos / row.source for row in rows if row.split == split and take in row.source).unlink()
    for number, take in enumerate(takes):
        encode_numbered_video(videos / take.format(8), 5, 32, 32, start=60 + number)
    assert run(videos, out, "--by-folder", "1", "--replace-labels") == 0
    assert len({row.split for row in read_names(out / "folder_names.csv") if "/s8/" in row.source}) == 1


def test_videos_that_change_sides_as_the_folders_say_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A network that was trained before has seen them, and nothing else would say so once their ids are new."""
    videos = make(tmp_path / "videos", "train/run/1.mp4 train/run/2.mp4 train/wave/1.mp4 val/run/3.mp4 val/wave/2.mp4")
    out = tmp_path / "out"
    assert run(videos, out) == 0
    (videos / "train" / "run" / "2.mp4").rename(videos / "val" / "run" / "x.mp4")
    with pytest.raises(DataError, match=r"\(run/2 \(train\) is run/x \(val\)\) would be named anew"):
        run(videos, out)
    capsys.readouterr()
    assert run(videos, out, "--replace-labels") == 0
    assert "in another split than before: 1 video, run/2 (train) is run/x (val)" in capsys.readouterr().out


def test_without_the_list_of_names_a_moved_file_keeps_its_side(tmp_path: Path) -> None:
    """Videos that a network was trained on came into val when their class folder was renamed, without a line."""
    videos, out = make(tmp_path / "videos", FILES), tmp_path / "out"
    assert run(videos, out) == 0
    before = sides(videos, out)
    (out / "folder_names.csv").unlink()
    to_another_class(videos)
    assert run(videos, out, "--replace-labels") == 0
    assert sides(videos, out) == before


def test_without_the_state_the_videos_keep_their_sides(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A copy without folder_state.json named another cause, and what it advised divided the videos anew in silence."""
    videos, out = make(tmp_path / "videos", FILES), tmp_path / "out"
    assert run(videos, out) == 0
    before = sides(videos, out)
    (out / "folder_state.json").unlink()
    for label in ("jump", "run", "wave"):
        for number in range(3):
            content = 40 + 10 * len(label) + number
            encode_numbered_video(videos / label / f"0_new{number}.mp4", 4, 32, 32, start=content)
    with pytest.raises(
        DataError, match=r"train\.csv is there, but folder_state\.json is not, .*: put that back; or move"
    ):
        run(videos, out)
    (out / "labels").rename(tmp_path / "labels")
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "folder_state.json is missing: videos keep the splits of folder_names.csv" in capsys.readouterr().out
    now = sides(videos, out)
    assert {digest: now[digest] for digest in before} == before
