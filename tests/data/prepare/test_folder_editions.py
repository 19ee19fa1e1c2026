"""Folders that do not belong in VIDEOS become no class, and what lies in another class is told."""

from pathlib import Path

import pytest

from common.errors import DataError
from tests.data.prepare.test_folder import keep_signal_handler, make
from tests.data.prepare.test_folder_copies import plan, said
from tests.data.prepare.test_folder_videos import run

__all__ = ["keep_signal_handler"]
OWN = "run/1.mp4 run/2.mp4 walk/1.mp4 walk/2.mp4 jump/1.mp4 jump/2.mp4"


@pytest.mark.parametrize(
    "copy",
    [
        "old/run/1.avi old/walk/1.avi old/jump/1.avi",
        "old/videos/run/1.avi old/videos/Walk/1.avi old/readme.mp4",
        "old/run/1.avi old/walk/1.avi older/old/run/1.avi older/old/walk/1.avi",
    ],
)
def test_an_older_copy_of_the_dataset_is_no_class(tmp_path: Path, copy: str) -> None:
    """A network would learn the class `old`, whose videos are those of all classes."""
    with pytest.raises(DataError, match=r"old(er)? holds folders of other classes.*--class-from '\^\(\[\^/\]\+\)/'"):
        plan(tmp_path, f"{OWN} {copy}")
    dataset = plan(tmp_path, "", "--class-from", "^([^/]+)/")  # as the line says
    assert "old" in dataset.classes


def test_a_class_of_earlier_runs_is_no_copy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Negatives that are sorted by class: a dataset that was made with them would take no further video."""
    negatives = "negative/run/1.mp4 negative/walk/1.mp4 negative/jump/1.mp4"
    videos, out = make(tmp_path / "videos", f"{OWN} {negatives}"), tmp_path / "out"
    assert run(videos, out, "--class-from", "^([^/]+)/") == 0
    make(videos, "negative/run/2.mp4", 50)
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "3 folders in those of classes, named as another class" in " ".join(capsys.readouterr().out.split())
    make(videos, "old/run/1.mp4 old/walk/1.mp4", 60)
    with pytest.raises(DataError, match="old holds folders of other classes"):
        run(videos, out)


def test_a_copy_in_split_folders_is_no_class(tmp_path: Path) -> None:
    """The flag of the line must take what it says there, too."""
    files = "train/run/1.mp4 train/walk/1.mp4 train/old/run/2.mp4 train/old/walk/2.mp4 val/run/3.mp4 val/walk/3.mp4"
    with pytest.raises(DataError, match=r"train/old holds .*--class-from '\^\[\^/\]\+/\(\[\^/\]\+\)/'"):
        plan(tmp_path, files)
    assert plan(tmp_path, "", "--class-from", "^[^/]+/([^/]+)/").classes == ["old", "run", "walk"]


def test_a_dataset_that_was_made_here_is_no_class(tmp_path: Path) -> None:
    """Its videos are those of VIDEOS: each would be there twice, in two classes."""
    videos = make(tmp_path / "videos", OWN)
    assert run(videos, tmp_path / "out") == 0
    (tmp_path / "out").rename(videos / "dataset_v1")
    for flags in ((), ("--class-from", "([a-z]+)/[^/]*$")):
        with pytest.raises(DataError, match="dataset_v1 is a dataset that this command made"):
            run(videos, tmp_path / "out", *flags)


def test_a_class_folder_in_another_one_is_told(tmp_path: Path) -> None:
    """One slip of the mouse, and the videos have the label of the other class."""
    dataset = plan(tmp_path, f"{OWN} run/s1/walk/3.mp4 run/s1/walk/4.mp4")
    line = said(dataset, "named as another class")
    assert line.startswith("warning: 1 folder") and line.endswith("run/s1/walk (2 videos)")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ("run/1.mp4 run/2.mp4 run/walk/3.mp4 run/walk/4.mp4 jump/1.mp4 jump/2.mp4", "run/walk (2 videos)"),
        ("run/s1/1.mp4 run/s2/2.mp4 run/walk/s1/3.mp4 jump/s1/1.mp4 jump/s2/2.mp4", "run/walk (1 video)"),
        ("run/walk/1.mp4 run/walk/2.mp4 walk/run/3.mp4 walk/run/4.mp4", "run/walk (2 videos), walk/run (2 videos)"),
        (" ".join(f"{c}/{n}.mp4" for c in "bcdefghijk" for n in "12") + " b/a/1.mp4", "b/a (1 video)"),
    ],
)
def test_a_class_that_was_dragged_into_another_one_is_told(tmp_path: Path, files: str, told: str) -> None:
    """Its videos would be trained on as those of the other class, and its name be missing from the classes."""
    notes = [note for note in plan(tmp_path, files).notes if note.startswith("warning: ") and told in note]
    assert len(notes) == 1 and "move them" in notes[0]


def test_cameras_with_the_names_of_classes_are_told_and_not_refused(tmp_path: Path) -> None:
    """The class `left` has one camera; the dataset is right, and `up` is no copy of it."""
    cameras = "up/left/1.mp4 up/right/1.mp4"
    dataset = plan(tmp_path, f"left/right/1.mp4 left/right/2.mp4 right/left/1.mp4 right/right/1.mp4 {cameras}")
    assert dataset.classes == ["left", "right", "up"] and "left/right (2 videos)" in said(dataset, "another class")
    assert "right/left" not in said(dataset, "another class")


def test_one_class_in_the_other_of_two_is_told(tmp_path: Path) -> None:
    """The line said to give the folder in which one of the two lies."""
    with pytest.raises(DataError, match=r"of one class, run: if folders in it are .*\(walk\), move them out of run"):
        plan(tmp_path, "run/1.mp4 run/2.mp4 run/walk/1.mp4 run/walk/2.mp4")


@pytest.mark.parametrize(
    "files",
    [
        "run/1.mp4 run/s1/2.mp4 walk/1.mp4 walk/s1/2.mp4",
        "run/s1/1.mp4 run/s1/day/2.mp4 walk/s1/1.mp4",
        "run/s1/1.mp4 run/2.mp4 walk/s2/1.mp4 walk/s3/1.mp4",
        "run/a.avi run/b.avi run/mp4/c.mp4 run/frames/d/1.jpg walk/1.mp4",
    ],
)
def test_nested_folders_are_nothing_to_tell(tmp_path: Path, files: str) -> None:
    """Sessions, and forms of videos, lie at several depths in many datasets."""
    assert not said(plan(tmp_path, files), "perhaps classes")


@pytest.mark.parametrize(
    "files",
    [
        "left/left/1.mp4 left/right/1.mp4 right/left/1.mp4 right/right/1.mp4",  # turn/camera
        "1/1/a.mp4 1/2/a.mp4 1/7/a.mp4 2/1/a.mp4 2/2/a.mp4 2/7/a.mp4 other/1/a.mp4 other/2/a.mp4",  # class/subject
        "run/Run/1.mp4 run/2.mp4 walk/walk/1.mp4 walk/2.mp4",  # archives that were unpacked into a folder of their name
    ],
)
def test_subjects_and_cameras_with_the_names_of_classes_are_nothing_to_tell(tmp_path: Path, files: str) -> None:
    """These layouts are right, and common."""
    dataset = plan(tmp_path, files)
    assert len(dataset.videos) == len(files.split()) and not said(dataset, "another class")


def test_numbers_alone_are_told_and_not_refused(tmp_path: Path) -> None:
    """They may be the subjects of a class whose videos alone are sorted by subject."""
    files = "1/a.mp4 1/b.mp4 2/a.mp4 2/b.mp4 3/a.mp4 3/b.mp4 other/1/a.mp4 other/2/a.mp4 other/03/a.mp4"
    assert "3 folders" in said(plan(tmp_path, files), "named as another class")


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ("frames/run/1.mp4 frames/walk/2.mp4 videos/run/3.mp4 videos/walk/4.mp4", ["frames"]),
        ("run/1.mp4 run/2.mp4 run_frames/1/1.jpg run_frames/2/1.jpg", ["run_frames"]),
        ("run/1.mp4 run/2.mp4 freeze_frames/1.mp4 freeze_frames/2.mp4", []),
    ],
)
def test_classes_that_are_named_as_forms_of_videos_are_told(tmp_path: Path, files: str, told: list[str]) -> None:
    """A network would learn to tell JPEG from H.264, at 100 %."""
    problems = plan(tmp_path, files).problems
    assert [each.item for each in problems if "is it a class?" in each.reason] == told
