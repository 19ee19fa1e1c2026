"""c1.avi beside c1.avi.mp4: without these rules, both rows read one video, and a training video is in the val split."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import Splits, load_splits, load_val
from data.labels.video_list import VideoList
from data.prepare import convert, verify
from tests.numbered import encode_numbered_video, write_numbered_database

SPEC = DatasetSpec("custom", "train.csv", "val.csv")
SOURCES = "frames", "videos"
OTHERS = "run/c3.avi,train", "run/c4.avi,val"


def label(folder: Path, *rows: str, val: Iterable[str] = (), header: str = "class,file,split") -> Path:
    """One label file; or with `val`, one for each split."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("train.csv", rows), ("val.csv", val)) if val else (("all.csv", rows),):
        (folder / name).write_text("".join(f"{line}\n" for line in (header, *lines)))
    return folder if val else folder / "all.csv"


def make(folder: Path, *names: str) -> Path:
    """Databases with these names and, as resize would name them, video files."""
    for place, name in enumerate(names):
        write_numbered_database(folder / "jpg" / name, 2)
        encode_numbered_video(folder / "videos" / f"{name}.mp4", 3, 32, 32, start=place)
    return folder


def names(videos: VideoList) -> list[str]:
    return [videos.folder(index).name for index in range(len(videos))]


def of(splits: Splits) -> tuple[list[str], list[str]]:
    return names(splits.train), names(splits.val)


def both(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if "both the train and the val" in line]


def doubts(lines: Iterable[str]) -> list[str]:
    return [line for line in lines if "two folders may be meant" in line]


@pytest.mark.parametrize("paths", ["run/", ""])
def test_what_was_converted_for_a_row_is_read_for_it(tmp_path: Path, paths: str) -> None:
    """The database of c1.avi is c1, that of c1.avi.mp4 is c1.avi. Both rows read the second; `verify` agreed."""
    for place, name in enumerate(("c1.avi", "c1.avi.mp4", "c2.avi", "c3.avi")):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        encode_numbered_video(tmp_path / "v" / "run" / name, 3, 32, 32, start=10 * place, codec=codec)
    rows = [f"run,{paths}{name}" for name in ("c1.avi,train", "c1.avi.mp4,val", "c2.avi,train", "c3.avi,test")]
    labels, out = label(tmp_path, *rows), tmp_path / "out"
    assert convert.main([str(tmp_path / "v"), str(out), "--labels", str(labels), "--workers", "1"]) == 0
    assert of(found := load_splits(out, SPEC, labels)) == (["c1", "c2"], ["c1.avi"])
    assert not doubts(found.report) and not both(found.report)
    val, _ = load_val(out, SPEC, labels, ["run"])
    assert names(val) == ["c1.avi"]
    assert verify.main([str(out), "--labels", str(labels), "--workers", "1"]) == 0
    unused = [*(row.replace("val", "test") for row in rows[:2]), f"run,{paths}c3.avi,val"]
    assert of(found := load_splits(out, SPEC, label(tmp_path, *unused))) == (["c1"], ["c3"])
    assert not doubts(found.report), "the row of c1.avi.mp4 tells, though it is in no split that is read"


@pytest.mark.parametrize("source", SOURCES)
def test_a_folder_of_another_row_is_never_taken(tmp_path: Path, source: str) -> None:
    """The database of c1.avi is gone. That of c1.avi.mp4, of the other split, is not its."""
    out = make(tmp_path / "out", "run/c1.avi", "run/c2", "run/c3", "run/c4")
    rows = "run,run/c1.avi,train", "run,run/c1.avi.mp4,val", "run,run/c2.avi,train", "run,run/c3.avi,test"
    found = load_splits(out, SPEC, label(tmp_path, *rows), source)
    assert of(found) == (["c2"], ["c1.avi"])
    assert any("not on disk: run/c1" in line for line in found.report)


@pytest.mark.parametrize("source", SOURCES)
def test_label_files_of_older_versions_of_folder_are_read_as_before(
    tmp_path: Path, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their ids may end in a suffix of videos: c1.avi is that of the file c1.avi.mp4, c1 that of c1.avi."""
    out = make(tmp_path / "out", "run/c1", "run/c1.avi", "run/clip", "run/clip.mp4", "run/talk.mov", "run/c5")
    val = ["run,c1.avi", "run,clip.mp4"]
    label(out / "labels", "run,c1", "run,clip", "run,talk.mov", "run,c5", val=val, header="label,id")
    found = load_splits(out, SPEC, source=source)
    assert of(found) == (["c1", "clip", "talk.mov", "c5"], ["c1.avi", "clip.mp4"])
    assert not doubts(found.report)
    (line,) = both(found.report)
    assert "unless these are two videos: run/c1 and run/c1.avi" in line
    assert names(load_val(out, SPEC, source=source)[0]) == ["c1.avi", "clip.mp4"]
    verify.main([str(out), "--workers", "1"])
    assert "stray" not in capsys.readouterr().out


@pytest.mark.parametrize("source", SOURCES)
def test_a_choice_that_no_other_row_makes_is_said(tmp_path: Path, source: str) -> None:
    """Label files of one split alone. A path is that of a file, whose folder is named by its id."""
    out = make(tmp_path / "out", "run/c1", "run/c1.avi", "run/c2", "run/c2.avi", "run/c3", "run/c4")
    labels = label(tmp_path, *(f"run,{row}" for row in ("run/c1.avi,train", "c2.avi,val", *OTHERS)))
    found = load_splits(out, SPEC, labels, source)
    assert of(found) == (["c1", "c3"], ["c2.avi", "c4"])
    (line,) = doubts(found.report)
    assert "run/c1 for run/c1.avi, not c1.avi" in line and "run/c2.avi for c2.avi, not c2" in line


def test_what_the_databases_were_made_from_tells_which_is_meant(tmp_path: Path) -> None:
    """c2.avi.mp4 was read for c2.avi, though both databases said what they hold."""
    for place, name in enumerate(("c1.avi", "c1.avi.mp4", "c2.avi", "c2.avi.mp4", "c3.avi", "c4.avi")):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        encode_numbered_video(tmp_path / "v" / "run" / name, 3, 32, 32, start=10 * place, codec=codec)
    assert convert.main([str(tmp_path / "v"), str(tmp_path / "out"), "--workers", "1"]) == 0
    labels = label(tmp_path, *(f"run,{row}" for row in ("run/c1.avi,train", "c2.avi,val", *OTHERS)))
    found = load_splits(tmp_path / "out", SPEC, labels)
    assert of(found) == (["c1", "c3"], ["c2", "c4"])
    assert not doubts(found.report)
    (tmp_path / "out" / "jpg" / "run" / "c2" / "frames.db").write_bytes(b"damaged" * 100)
    assert len(doubts(load_splits(tmp_path / "out", SPEC, labels).report)) == 1


def test_the_file_that_a_row_names_comes_before_one_with_another_suffix(tmp_path: Path) -> None:
    """Both rows read c1.avi.mp4, a file that no row names."""
    for place, name in enumerate(("c1.avi", "c1.avi.mp4", "c2.avi", "c2.avi.mp4", "c3.avi", "c4.mp4")):
        codec = "mpeg4" if name.endswith("avi") else "libx264"
        encode_numbered_video(tmp_path / "videos" / "run" / name, 3, 32, 32, start=place, codec=codec)
    labels = label(tmp_path, *(f"run,{row}" for row in ("run/c1.avi,train", "c2.avi,val", *OTHERS)))
    found = load_splits(tmp_path, SPEC, labels, "videos")
    paths = [str(videos.path(0).relative_to(tmp_path)) for videos in (found.train, found.val)]
    assert paths == ["videos/run/c1.avi", "videos/run/c2.avi"]
    assert not doubts(found.report)


@pytest.mark.parametrize("source", SOURCES)
def test_rows_of_a_file_that_cannot_be_read_are_said_to_be_missing_where_they_may_tell(
    tmp_path: Path, source: str
) -> None:
    """The training video c1.avi.mp4 was evaluated as c1.avi, and nothing said that its row was not read."""
    out = make(tmp_path / "out", "run/c1.avi", "run/c2")
    for val, is_said in ("run,c1.avi", True), ("run,c2", False):
        label(out / "labels", "run,c1.avi.mp4", val=[val], header="class,file")
        (out / "labels" / "train.csv").write_text("class;what\nrun;c1.avi.mp4\n")
        lines = load_val(out, SPEC, None, ["run"], source)[1]
        told = [line for line in lines if "train.csv" in line]
        assert len(told) == is_said and all("another row" in line for line in told)


def test_one_video_that_both_splits_write_in_two_ways_is_in_both(tmp_path: Path) -> None:
    out = make(tmp_path / "out", "run/c1", "run/c2")
    label(out / "labels", "run,c1", "run,c2", val=["run,run/c1.avi"], header="label,id")
    found = load_splits(out, SPEC)
    assert of(found) == (["c1", "c2"], ["c1"])
    assert len(both(found.report)) == 1
