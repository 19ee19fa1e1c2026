"""Folders that hold the same recordings, as editions of a dataset do, become no classes and do not leak."""

import zlib
from collections.abc import Mapping
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.folder_twins import MOST_FILES, find_twins
from tests.data.prepare.test_folder import keep_signal_handler, make, run
from tests.data.prepare.test_folder_copies import groups, plan, said
from tests.numbered import encode_numbered_video, jpeg, numbered_frame

__all__ = ["keep_signal_handler"]
LENGTHS = [5, 9, 13, 20, 31, 8, 17, 26]


def film(folder: Path, videos: Mapping[str, int], side: int = 32) -> None:
    """Make videos of these lengths, each with other pixels: files, and folders of frames where the name ends in /."""
    for name, length in videos.items():
        start = zlib.crc32(f"{name} {side}".encode()) % 500
        if name.endswith("/"):
            (folder / "videos" / name).mkdir(parents=True)
            for number in range(length):
                data = jpeg(numbered_frame(start + number, side, side))
                (folder / "videos" / name / f"{number:03d}.jpg").write_bytes(data)
        else:
            encode_numbered_video(folder / "videos" / name, length, side, side, start=start)


def eight(pattern: str, first: int = 0) -> dict[str, int]:
    """Eight videos with a number in their name; `first` shifts the lengths."""
    return {pattern.format(number): LENGTHS[(number + first) % 8] for number in range(8)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("data/run/v{}.mp4", "data_small/run/v{}.mp4"),
        ("videos/v{}.mp4", "videos_320/v{}.mp4"),
        ("raw/walk/v{}.avi", "resized/walk/v{}.mkv"),
        ("full/run/v{}/", "small/run/v{}/"),
        ("front/s{}/x.avi", "side/s{}/x.avi"),  # cameras
    ],
)
def test_editions_and_views_are_no_classes(tmp_path: Path, one: str, other: str) -> None:
    """A network would learn to tell large files from small ones, at 100 %, and no line would say so."""
    film(tmp_path, {**eight(one), **eight(other)})
    with pytest.raises(DataError, match=r"would hold the same recordings.*Give one of them alone, as .*--class-from"):
        plan(tmp_path, "")
    assert len(plan(tmp_path, "", "--class-from", "^([^/]+)/").classes) == 2  # the user insists


def test_all_editions_are_taken_with_the_flag_of_the_line(tmp_path: Path) -> None:
    """Each recording is there twice: one edition in train and the other in val would be a leak."""
    for folder in ("data", "data_small"):
        film(tmp_path, {**eight(folder + "/run/v{}.mp4"), **eight(folder + "/walk/v{}.mp4", 3)}, len(folder) * 8)
    with pytest.raises(DataError, match="16 paths") as error:
        plan(tmp_path, "")
    pattern = str(error.value).partition("as --class-from '")[2].partition("'")[0]
    dataset = plan(tmp_path, "", "--class-from", pattern)
    assert dataset.classes == ["run", "walk"] and len(groups(dataset)) == 16


def test_a_part_of_the_classes_in_a_second_edition_is_refused(tmp_path: Path) -> None:
    """A class run_small beside run cannot be told from it."""
    film(tmp_path, {**eight("run/v{}.mp4"), **eight("walk/v{}.mp4", 3), **eight("run_small/v{}.mkv")})
    with pytest.raises(DataError, match=r"run, run_small would hold.*Move all but one of them out"):
        plan(tmp_path, "")


def test_classes_of_earlier_runs_go_on_with_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A dataset that was made so, as of real and altered videos, would take no further video."""
    film(tmp_path, {**eight("real/{}.mp4"), **eight("altered/{}.mp4")})
    videos, out = tmp_path / "videos", tmp_path / "out"
    assert run(videos, out, "--class-from", "^([^/]+)/") == 0
    make(videos, "real/9.mp4", 90)
    capsys.readouterr()
    assert run(videos, out) == 0
    assert "would hold the same recordings" in capsys.readouterr().out


@pytest.mark.parametrize(
    "videos",
    [
        {**eight("run/s{}/cam.avi"), **eight("jump/s{}/cam.avi", 3)},
        {**eight("run/{}.avi"), **eight("jump/{}.avi", 1)},
        {f"{label}/s{number}/cam.avi": 8 for label in ("run", "jump") for number in range(8)},  # all of one length
        {f"{label}/{number}/": 8 for label in ("run", "jump") for number in range(8)},
    ],
)
def test_classes_with_the_same_names_of_files_are_classes(tmp_path: Path, videos: Mapping[str, int]) -> None:
    """Names such as s1/cam.avi and 001.mp4 are in every class of many datasets."""
    film(tmp_path, videos)
    dataset = plan(tmp_path, "")
    assert not groups(dataset) and not said(dataset, "in common") and not said(dataset, "same recordings")


def test_where_lengths_do_not_tell_names_are_told(tmp_path: Path) -> None:
    """Videos that were all cut to one length: the class folders in both are all there is to see."""
    film(tmp_path, {f"{folder}/{c}/{n}.mp4": 8 for folder in ("a", "b") for c in ("run", "jump") for n in range(4)})
    assert said(plan(tmp_path, ""), "in common").startswith("warning: the classes a, b have 8 paths in common")


def test_editions_below_the_classes_are_on_one_side(tmp_path: Path) -> None:
    """One recording would be in train and in val, and the hint would have put an edition on each side."""
    for folder in ("data", "data_small"):
        film(tmp_path, {**eight(f"run/{folder}/v{{}}.mp4"), **eight(f"walk/{folder}/v{{}}.mp4", 3)}, len(folder) * 8)
    dataset = plan(tmp_path, "")
    assert len(groups(dataset)) == 16 and all(len(group) == 2 for group in groups(dataset))
    assert said(dataset, "same recordings").endswith("data = data_small; kept on one side of the split")
    assert not said(dataset, "--by-folder")
    by_folder = plan(tmp_path, "", "--by-folder", "1")
    assert said(by_folder, "same recordings").startswith("warning: ") and said(by_folder, "two splits: 16 pairs")


def test_subjects_below_the_classes_are_no_editions(tmp_path: Path) -> None:
    """Subjects s1 and s2 have the same names of files; their recordings are others."""
    film(tmp_path, {**eight("run/s1/v{}.mp4"), **eight("run/s2/v{}.mp4", 2), **eight("walk/s1/v{}.mp4", 4)})
    dataset = plan(tmp_path, "")
    assert not groups(dataset) and said(dataset, "--by-folder 1")


def test_files_that_cannot_be_read_tell_nothing(tmp_path: Path) -> None:
    """They fail later, each with its reason."""
    plan(tmp_path, " ".join(f"{label}/{number}.mp4" for label in ("run", "walk") for number in range(8)))


def test_many_folders_of_equal_names_take_no_minutes(tmp_path: Path) -> None:
    """Of 400 classes with the same names of files, each pair is looked at, but only so many files are opened."""
    (tmp_path / "x").write_bytes(b"x")
    names = {f"class{label}": {number: tmp_path / f"{label}_{number}" for number in range(50)} for label in range(400)}
    assert find_twins(names) == [] and MOST_FILES <= 500
