"""A group is one group in all spellings of its name: else a subject would be on both sides of the split."""

import unicodedata
from pathlib import Path

import pytest

from data.prepare.folder_groups import Grouping, groups_of
from data.prepare.folder_layout import Video
from tests.data.prepare.test_folder_copies import groups, plan, said


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_a_subject_whose_folder_is_spelled_in_two_ways_is_one_group(tmp_path: Path) -> None:
    """The line says that whole groups are on one side; a Mac writes NFD, and people write as they like."""
    subjects = ("s_01", "s_02", "s_03", "zo\u00eb")
    spelled = {"run": str, "walk": str.upper, "jump": nfd, "sit": lambda name: name.replace("_", "~")}
    files = " ".join(f"{label}/{spell(name)}/a.mp4" for label, spell in spelled.items() for name in subjects)
    dataset = plan(tmp_path, files, "--by-folder", "1", "--val", "0.3")
    found = groups(dataset)
    assert sorted(map(len, found)) == [4, 4, 4, 4]
    sides = {frozenset(named.split for named in dataset.names if named.source in group) for group in found}
    assert sides == {frozenset({"train"}), frozenset({"val"})}
    line = said(dataset, "taken as one group")
    assert "4 groups, S_01 = s 01 = s_01" in line and nfd("zo\u00eb") not in line


def test_groups_that_only_look_alike_as_text_are_one_without_a_line(tmp_path: Path) -> None:
    """A line of two names that look the same would only puzzle."""
    name = "zo\u00eb"
    files = " ".join(f"{label}/{s}/a.mp4" for label in ("run", "walk") for s in ("s1", "s2", name))
    files = files.replace(f"walk/{name}", f"walk/{nfd(name)}")
    dataset = plan(tmp_path, files, "--by-folder", "1")
    assert list(map(len, groups(dataset))) == [2, 2, 2] and not said(dataset, "taken as one group")


@pytest.mark.parametrize(
    ("names", "number"),
    [
        (["s1", "S 01", "s_1", "s-001"], 1),
        (["1_12", "11_2", "112"], 3),
        (["s1/11", "s11/1"], 2),
        (["anna", "ann a"], 2),
        (["s1", "s2", "s10", "s0"], 4),
        (["0.05", "0.5"], 2),
        (["-", "--", "1", "-1"], 3),
    ],
)
def test_which_names_are_spellings_of_one(names: list[str], number: int) -> None:
    """Two subjects in one group make a split coarser; one subject in two makes its scores too high."""
    videos = [
        Video(Path(f"{place}.mp4"), "run", str(place), tuple(name.split("/"))) for place, name in enumerate(names)
    ]
    by_folder = max(len(video.folders) for video in videos)
    found = groups_of(videos, [str(video.path) for video in videos], Grouping(by_folder))
    assert len(set(found.names)) == number and len(found.notes) == (number < len(names))
