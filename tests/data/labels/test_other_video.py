"""Databases of other videos than their folders say: their labels would be wrong, and the scores with them."""

import json
from pathlib import Path

import pytest

from data.labels.dataset_spec import DatasetSpec
from data.labels.other_video import has_clearly_other_name, other_class, other_file
from data.labels.passport import passport_lines, passport_of, warning_of_others
from data.labels.splits import load_splits
from data.labels.video_list import FoundVideo, VideoList, pack
from data.prepare import convert, resize, verify
from data.store.cut_tag import MadeFrom
from data.store.origin import read_origin
from tests.data.store.tags import rewritten
from tests.numbered import encode_numbered_video, numbered_jpegs, write_database

SPEC = DatasetSpec("custom", "train.csv", "val.csv")
NAMES_OF = {"run": ("001", "r_2"), "walk fast": ("001", "w_2")}
CLASSES = tuple(NAMES_OF)


def videos_in(jpg: Path, names: list[str]) -> VideoList:
    """The videos of these names in each of CLASSES."""
    found = [(label, FoundVideo(CLASSES[label], name, 4, "")) for label in range(2) for name in names]
    return pack(jpg, CLASSES, found)


def swap(one: Path, other: Path) -> None:
    """Exchange the databases of two folders."""
    (one / "frames.db").rename(one / "t")
    (other / "frames.db").rename(one / "frames.db")
    (one / "t").rename(other / "frames.db")


@pytest.fixture
def jpg(tmp_path: Path) -> Path:
    """Converted videos, of which each class has a 001 and one of its own."""
    for number, (label, videos) in enumerate(NAMES_OF.items()):
        for name in videos:
            encode_numbered_video(tmp_path / "in" / label / f"{name}.mp4", 4, start=10 * number)
    assert convert.main([str(tmp_path / "in"), str(tmp_path / "out"), "--workers", "1"]) == 0
    return tmp_path / "out" / "jpg"


def lines(jpg: Path) -> list[str]:
    """The warnings on the videos of `jpg`, in both classes."""
    found = [(label, FoundVideo(name, each.name, 4, "")) for label, name in enumerate(CLASSES)
             for each in sorted((jpg / name).iterdir())]  # fmt: skip
    passport = passport_of(pack(jpg, CLASSES, found), "val")
    assert json.loads(json.dumps(passport)) == passport and passport_lines(passport)
    assert passport["unreadable"] == 0
    return warning_of_others(passport)


def test_exchanged_databases_are_told(jpg: Path) -> None:
    """An evaluation gave other scores without a word."""
    assert lines(jpg) == []
    swap(jpg / "run" / "r_2", jpg / "walk fast" / "w_2")
    (line,) = lines(jpg)
    assert line.startswith("val: 2 of 4 videos looked at") and "run/r_2 holds frames of 'w_2" in line
    assert "data.prepare.verify" in line


def test_exchanged_databases_of_one_name_are_told(jpg: Path) -> None:
    """001 is in each class: what tells them is the file that each was made from."""
    swap(jpg / "run" / "001", jpg / "walk fast" / "001")
    (line,) = lines(jpg)
    assert "2 of 4 videos" in line and "run/001 was made from" in line and "walk fast" in line


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The same videos as files that resize made."""
    for number, (label, videos) in enumerate(NAMES_OF.items()):
        for name in videos:
            encode_numbered_video(tmp_path / "in" / label / f"{name}.mp4", 4, start=10 * number)
    labels = tmp_path / "labels"
    labels.mkdir()
    rows = "".join(f"{label},{name}\n" for label, names in NAMES_OF.items() for name in names)
    for split in ("train", "val"):
        (labels / f"{split}.csv").write_text("label,id\n" + rows)
    assert resize.main([str(tmp_path / "in"), str(tmp_path), "--workers", "1"]) == 0
    return tmp_path / "videos"


def lines_of_files(files: Path) -> list[str]:
    """The warnings on the videos of the labels."""
    passport = passport_of(load_splits(files.parent, SPEC, source="videos").val, "val")
    assert passport["unreadable"] == 0
    return warning_of_others(passport)


def swap_files(one: Path, other: Path) -> None:
    """Exchange two files."""
    one.rename(one.with_name("t"))
    other.rename(one)
    one.with_name("t").rename(other)


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(("one", "other"), [("run/r_2", "walk fast/w_2"), ("run/001", "walk fast/001")])
def test_exchanged_files_are_told(files: Path, one: str, other: str, is_old: bool) -> None:
    """They were trained on and evaluated under each other's labels without a word, though their tags say it."""
    if is_old:
        for path in files.rglob("*.mp4"):
            rewritten(path, lambda tag: {name: value for name, value in tag.items() if name != "video"})
    assert lines_of_files(files) == []
    swap_files(files / f"{one}.mp4", files / f"{other}.mp4")
    (line,) = lines_of_files(files)
    assert line.startswith("val: 2 of 4 videos looked at have a file of another video")
    assert f"{one}.mp4 was made from '{other}.mp4'" in line and "data.prepare.resize" in line
    assert resize.main([str(files.parent / "in"), str(files.parent), "--workers", "1"]) == 1
    listed = (files.parent / "resize_failures.csv").read_text()
    assert listed.count("differs") == 2 and f"{one}.mp4" in listed


def test_files_that_were_moved_or_renamed_are_not_told(files: Path) -> None:
    """Labels that correct a class, ids of other names and cut copies are common, and right."""
    (files / "run" / "r_2.mp4").rename(files / "walk fast" / "r_2.mp4")
    (files / "run" / "001.mp4").rename(files / "run" / "subject 1.mp4")
    (files / "walk fast").rename(files / "walk_fast")
    for split in ("train", "val"):
        rows = "walk fast,r_2\nwalk fast,001\nrun,subject 1\n"
        (files.parent / "labels" / f"{split}.csv").write_text("label,id\n" + rows)
    assert lines_of_files(files) == []


@pytest.mark.parametrize(
    ("source", "video"),
    [
        ("run/001.mp4", ""), ("run/take/001.mp4", ""), ("other/take.mp4", ""), ("lone.mp4", ""), ("", ""),
        ("walk fast/dQw4w9WgXcQ.mp4", ""), ("run/a.mp4", "run/x_1"), ("run/a.mp4", "gone/b"), ("x", "/"), ("x", "x"),
    ],
)  # fmt: skip
def test_tags_of_other_names_are_not_told(tmp_path: Path, source: str, video: str) -> None:
    """`folder` makes ids of the names of folders, too; older versions did not note them."""
    for label, name in (("run", "take_001"), ("run", "001"), ("walk fast", "dQw4w9WgXcQ")):
        (tmp_path / label).mkdir(exist_ok=True)
        (tmp_path / label / f"{name}.mp4").touch()
    path = tmp_path / "run" / ("X-01.mp4" if video == "run/x_1" else "take_001.mp4")
    path.touch()
    assert other_file(path, MadeFrom(source, video, is_part=False)) == ""


NAMES = {  # of a folder: what its database may name without a warning
    "abc": ("abc", "abc.mp4", "ABC.avi", "v_abc", "abc_000010_000020", ""),
    "a-b_c": ("a b c", "a_b_c.mp4", "A-B-C"),
    "v_X_g01_c01": ("X_g01_c01.avi", "v_x_g01_c01"),
    "abc_000010_000020": ("abc", "abc.mp4", "abc_10_20"),
}


@pytest.mark.parametrize("folder", NAMES)
def test_renamed_folders_of_a_common_kind_are_not_told(tmp_path: Path, folder: str) -> None:
    """Datasets of other programs name their clips by other digits: a warning at each start would say nothing."""
    assert not any(has_clearly_other_name(tmp_path / folder, name) for name in NAMES[folder])
    assert all(has_clearly_other_name(tmp_path / folder, name) for name in ("other", "abd_000010_000020", "ab"))


def test_what_is_told_is_listed_by_verify(jpg: Path) -> None:
    """The warning sends the user there."""
    swap(jpg / "run" / "r_2", jpg / "walk fast" / "w_2")
    swap(jpg / "run" / "001", jpg / "walk fast" / "001")
    assert "4 of 4 videos" in lines(jpg)[0]
    assert verify.main([str(jpg.parent), "--workers", "1"]) == 1
    listed = (jpg.parent / "verify_problems.csv").read_text()
    assert all(f"{label}/{name}" in listed for label, names in NAMES_OF.items() for name in names)


def test_labels_that_correct_a_class_are_not_told(jpg: Path) -> None:
    """The warning would stand beside the scores for ever: the video is that of its row."""
    (jpg / "run" / "r_2").rename(jpg / "walk fast" / "r_2")
    assert lines(jpg) == []


def test_databases_of_dataset2database_and_links_are_not_told(tmp_path: Path) -> None:
    """They have no record of their origin, and frames in the order of their texts."""
    jpg = tmp_path / "jpg"
    for label in CLASSES:
        write_database(jpg / label / "v1", numbered_jpegs(range(4)), indexed=False)
    write_database(tmp_path / "elsewhere" / "v9", numbered_jpegs(range(4)))
    (jpg / "run" / "v2").symlink_to(tmp_path / "elsewhere" / "v9")
    assert lines(jpg) == []


def test_the_class_that_a_file_was_taken_from_is_named(jpg: Path) -> None:
    """It is where the video of the folder is now, if two were exchanged."""
    made = read_origin(jpg / "run" / "001" / "frames.db")
    assert made is not None and other_class(jpg / "run" / "001", made) == ""
    assert other_class(jpg / "walk fast" / "001", made) == "run"
