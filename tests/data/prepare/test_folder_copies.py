"""What is one recording in two forms is on one side of the split, and is told."""

import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from data.prepare.folder import _parse, _plan
from data.prepare.folder_copies import notes_on_forms
from data.prepare.folder_layout import Video
from data.prepare.folder_plan import Dataset
from data.prepare.folder_tree import Tree
from tests.data.prepare.test_folder import keep_signal_handler, labels, make, run
from tests.numbered import numbered_jpegs

__all__ = ["keep_signal_handler"]


def plan(folder: Path, files: str, *flags: str) -> Dataset:
    """What becomes of files "a/b.mp4 a/c/1.jpg", each of other bytes, that nothing decodes. Spaces are written ~."""
    for file in files.split():
        path = folder / "videos" / file.replace("~", " ")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(file.encode())
    return _plan(_parse([str(folder / "videos"), str(folder / "out"), *flags])).dataset


def groups(dataset: Dataset) -> list[set[str]]:
    """The sources of each group of two or more videos."""
    found: dict[str, set[str]] = {}
    for named in dataset.names:
        found.setdefault(named.group, set()).add(named.source)
    return sorted((group for group in found.values() if len(group) > 1), key=min)


def said(dataset: Dataset, text: str) -> str:
    """The only note with a text; empty if there is none."""
    notes = [note for note in dataset.notes if text in note]
    assert len(notes) <= 1
    return notes[0] if notes else ""


def test_extracted_frames_beside_their_videos_do_not_leak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The validation would be on recordings that were trained on, and the user see no line on it."""
    names = [f"{c}/{i}" for c in ("wave", "jump") for i in range(6)]
    videos, out = make(tmp_path / "videos", " ".join(f"{name}.mp4" for name in names)), tmp_path / "out"
    for place, name in enumerate(names):
        (videos / name).mkdir()
        for number, data in enumerate(numbered_jpegs(range(4 * place, 4 * place + 3), 32, 32)):
            (videos / name / f"{number:05d}.jpg").write_bytes(data)
    assert run(videos, out) == 0
    rows = labels(out)
    assert len(rows["train"]) + len(rows["val"]) == 24 and len(rows["val"]) == 4
    assert not {row.removesuffix("_mp4") for row in rows["train"]} & {row.removesuffix("_mp4") for row in rows["val"]}
    printed = capsys.readouterr().out
    assert "12 folders of frames in classes that otherwise hold video files were taken as videos" in printed
    assert "warning: 12 recordings seem to be there in two forms, kept on one side of the split: jump/0 = " in printed


@pytest.mark.parametrize(
    "pair",
    [
        "run/a.avi run/a.mp4",
        "run/s1/a.MOV run/s1/a.mp4",
        "run/e\u0301.avi run/\u00e9.mp4",
        "run/a.mp4 run/a/1.jpg",
        "run/a.avi run/a.mp4/1.jpg",
        "run/a.mp4 run/a_frames/1.jpg",
        "run/a.mp4 run/frames/a/1.jpg",
        "run/avi/a.avi run/mp4/a.mp4",
        "run/videos/a.mp4 run/frames/a/1.jpg",
        "run/rec0/rec0.mp4 run/rec0/frames/1.jpg",
        "run/a.mp4 run/a_rgb/1.jpg",
        "run/MVI_1.MOV run/mvi_1.mp4",
    ],
)
def test_two_forms_of_a_recording_are_one_group(tmp_path: Path, pair: str) -> None:
    """A recording that was converted once is often kept in both forms, under one name."""
    others = "run/b.mp4 run/c.mp4 walk/a.mp4 walk/b.mp4 walk/c.mp4"
    dataset = plan(tmp_path, f"{pair} {others}")
    assert groups(dataset) == [{file.removesuffix("/1.jpg") for file in pair.split()}]
    assert said(dataset, "two forms").startswith("warning: 1 recording seems to be there")


@pytest.mark.parametrize(
    "files",
    [
        "run/s1/a.mp4 run/s2/a.mp4",  # of two subjects, perhaps with initials that are suffixes
        "run/ts/a.mp4 run/rm/a.mp4",
        "run/a.mp4 run/a_2/1.jpg",
        "run/a.rgb.avi run/a.depth.mp4",
        "run/a.mp4 run/A.mp4",
        "run/a/1.jpg run/A/1.jpg",
    ],
)
def test_other_recordings_stay_groups_of_their_own(tmp_path: Path, files: str) -> None:
    """Else a line would tell of what is in order, and a split be coarser than it could be."""
    dataset = plan(tmp_path, f"{files} run/b.mp4 walk/a.mp4 walk/b.mp4 walk/c.mp4")
    assert groups(dataset) == [] and not said(dataset, "two forms")


def test_two_names_that_differ_in_case_have_forms_of_their_own(tmp_path: Path) -> None:
    """`a.mp4` and `A.mp4` were said to be one recording in two forms."""
    dataset = plan(tmp_path, "run/a.mp4 run/A.mp4 run/A_frames/1.jpg run/b.mp4 walk/a.mp4 walk/b.mp4 walk/c.mp4")
    assert groups(dataset) == [{"run/A.mp4", "run/A_frames"}]


def test_two_forms_in_given_splits_are_told(tmp_path: Path) -> None:
    """They stay where the label file has them; that must be seen."""
    (tmp_path / "rows.csv").write_text("label,path,split\nrun,a.avi,train\nrun,a.mp4,val\nwalk,b.mp4,train\n")
    dataset = plan(tmp_path, "a.avi a.mp4 b.mp4", "--labels", str(tmp_path / "rows.csv"))
    assert "in two splits: a.avi = a.mp4" in said(dataset, "two forms")
    assert not said(dataset, "1 group")  # once is enough


def test_copies_are_told_once(tmp_path: Path) -> None:
    """The same bytes under two suffixes are copies, and no two forms."""
    (tmp_path / "videos" / "run").mkdir(parents=True)
    for name in ("a.avi", "a.mp4"):
        (tmp_path / "videos" / "run" / name).write_bytes(b"the same")
    dataset = plan(tmp_path, "run/b.mp4 walk/a.mp4 walk/b.mp4")
    assert said(dataset, "the same bytes") and not said(dataset, "two forms")


def test_notes_on_many_recordings_take_no_minutes() -> None:
    """Of 60,000 recordings in two forms with the same bytes, a run stood still for five minutes without a line."""
    number = 20_000
    tree = Tree(Path("v"), [], [], Counter(), Path("out"))
    names = [f"{place}.{suffix}" for place in range(number) for suffix in ("avi", "mp4")]
    videos = [Video(Path("v/run", name), "run", name, ()) for name in names]
    forms = [[2 * place, 2 * place + 1] for place in range(number)]
    start = time.process_time()
    (line,) = notes_on_forms(tree, videos, forms, ["train"] * len(videos), False, forms[1:])
    assert time.process_time() - start < 5
    assert "1 recording seems to be there in two forms: run/0.avi = run/0.mp4" in line


def test_a_copy_that_is_added_has_the_side_of_its_video(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A video of the validation would be trained on for good, as its copy lies in the folder of a train subject."""
    files = " ".join(f"{c}/p{s}/{c}{s}{i}.mp4" for c in ("run", "hop") for s in range(5) for i in range(2))
    videos, out = make(tmp_path / "videos", files), tmp_path / "out"
    assert run(videos, out, "--by-folder", 1) == 0
    sides = {row.split("/")[1][3]: split for split, rows in labels(out).items() for row in rows if row[:3] == "run"}
    val = min(subject for subject, side in sides.items() if side == "val")
    train = min(subject for subject, side in sides.items() if side == "train")
    shutil.copy(videos / f"run/p{val}/run{val}0.mp4", videos / f"run/p{train}/x1.mp4")
    shutil.copy(videos / f"run/p{train}/run{train}0.mp4", videos / f"hop/p{val}/x2.mp4")
    make(videos, f"run/p{val}/new1.mp4 hop/p{train}/new2.mp4", first=50)
    assert run(videos, out, "--by-folder", 1) == 0
    added = {row: split for split, rows in labels(out).items() for row in rows if "x" in row or "new" in row}
    assert added == {"run/x1": "val", "hop/x2": "train", "run/new1": "val", "hop/new2": "train"}
    assert "warning: in two splits: 2 groups, " in capsys.readouterr().out
