"""Names in another spelling than in an earlier run: the same videos where only the Unicode form differs, else told."""

import csv
import shutil
import unicodedata
from pathlib import Path

import pytest

from common.errors import DataError
from tests.data.prepare.test_folder import keep_signal_handler, labels, make, run, sources

__all__ = ["keep_signal_handler"]


def over_a_mac(videos: Path, copy: Path) -> Path:
    """A copy in which all names are decomposed."""
    for path in sorted(videos.rglob("*.mp4")):
        place = copy / unicodedata.normalize("NFD", str(path.relative_to(videos)))
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, place)
    return copy


def test_a_copy_over_a_mac_keeps_classes_and_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but a new dataset would help: all videos would be new ones, and a class folder be there twice."""
    videos = make(tmp_path / "videos", " ".join(f"{c}/é{i}.mp4" for c in ("café", "run") for i in range(4)))
    out = tmp_path / "out"
    assert run(videos, out) == 0
    before = labels(out)
    copy = over_a_mac(videos, tmp_path / "copy")
    make(copy, "run/new.mp4", first=20)
    (tmp_path / "order.txt").write_text("café\nrun\n")
    for flags in ((), ("--replace-labels",), ("--classes", tmp_path / "order.txt")):
        assert run(copy, out, *flags) == 0
        printed = capsys.readouterr().out
        after = labels(out)
        assert after["train"] | after["val"] == before["train"] | before["val"] | {"run/new"}
        assert after["val"] - {"run/new"} == before["val"] and "named differently" not in printed
        assert "1 class, 'café'" in printed
    assert sources(out)["run/é0"] == unicodedata.normalize("NFD", "run/é0.mp4")
    assert sorted(path.name for path in (out / "jpg").iterdir()) == ["café", "run"]


def test_two_forms_beside_each_other_are_two_videos(tmp_path: Path) -> None:
    """Else one would take the database of the other."""
    videos, out = make(tmp_path / "videos", "run/é.mp4 run/a.mp4 walk/a.mp4 walk/b.mp4"), tmp_path / "out"
    assert run(videos, out) == 0
    make(videos, unicodedata.normalize("NFD", "run/é.mp4"), first=9)
    assert run(videos, out) == 0
    assert sources(out)["run/é"] == "run/é.mp4" and len(sources(out)) == 5


def test_a_class_of_an_earlier_run_is_named_as_such(tmp_path: Path) -> None:
    """ "give both the same name" helps nobody who sees one folder alone."""
    videos, out = make(tmp_path / "videos", "a~b/1.mp4 a~b/2.mp4 run/1.mp4 run/2.mp4"), tmp_path / "out"
    assert run(videos, out) == 0
    (videos / "a b").rename(videos / "a_b")
    with pytest.raises(DataError, match=r"'a b' is a class of an earlier run: .*--replace-labels"):
        run(videos, out)
    assert run(videos, out, "--replace-labels") == 0
    (videos / "café").mkdir()
    (videos / unicodedata.normalize("NFD", "café")).mkdir()
    make(videos, " ".join(f"{folder.name}/1.mp4" for folder in videos.glob("caf*")), first=10)
    with pytest.raises(DataError, match=r"'cafe\\u0301' and 'caf\\xe9'\): give both"):
        run(videos, out)


def test_a_row_that_nothing_names_now_is_told(tmp_path: Path) -> None:
    """ "no such video in VIDEOS now" sends a user to look for a file that is there."""
    make(tmp_path / "videos", "x.mp4 y.mp4 z.mp4")
    out, rows = tmp_path / "out", [("a", "x"), ("a", "y"), ("b", "y"), ("b", "z"), ("a", "z")]

    def write(*pairs: tuple[str, str, str, str]) -> Path:
        with (tmp_path / "rows.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("label", "filename", "time_start", "time_end"), *pairs])
        return tmp_path / "rows.csv"

    old = [(label, name, "0", "0.05") for label, name in rows]
    assert run(tmp_path / "videos", out, "--labels", write(*old)) == 0
    changed = [("b", "x", "0", "0.05"), ("a", "y", "1", "2"), *old[2:4]]
    message = r"3 videos \(a/x.*, now of class b, a/y.*, now 1\.0-2\.0 s, a/z\S+\) would be removed: the file is there"
    with pytest.raises(DataError, match=message):
        run(tmp_path / "videos", out, "--labels", write(*changed))
