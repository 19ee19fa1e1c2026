"""On a disk that does not tell run/a from run/A, one of two videos would be lost: its row reads the other's frames."""

import csv
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare import convert, resize, same_places
from data.prepare.same_places import fold_for
from tests.data.prepare.test_folder import first_number, keep_signal_handler, labels, make, run, sources

__all__ = ["keep_signal_handler"]


@pytest.fixture
def one_case(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A disk that seems to tell neither cases nor forms, as a Mac's."""
    monkeypatch.setattr(same_places, "untold", lambda folder: (True, True))
    return monkeypatch


def failed(path: Path) -> dict[str, str]:
    with path.open(newline="") as file:
        return {row["item"]: row["reason"] for row in csv.DictReader(file)}


@pytest.mark.parametrize(("command", "target"), [(convert, "jpg"), (resize, "videos")])
def test_the_second_video_of_one_place_fails(
    tmp_path: Path, one_case: pytest.MonkeyPatch, command: object, target: str
) -> None:
    videos = make(tmp_path / "v", "run/a.mp4 run/A.mp4 run/b.mp4 Run/c.mp4 walk/a.mp4 walk/\u00e9.mp4 walk/e\u0301.mp4")
    out = tmp_path / "out"
    for _ in range(2):
        assert command.main([str(videos), str(out)]) == 1  # type: ignore[attr-defined]
        found = failed(out / ("convert_failures.csv" if target == "jpg" else "resize_failures.csv"))
        assert set(found) == {"run/a.mp4", "run/A.mp4", "run/b.mp4", "walk/\u00e9.mp4"}
        assert f"the disk of {out} makes one folder or file of 'Run' and 'run': rename one" in found["run/b.mp4"]
        assert r"in their Unicode form: 'e\u0301' and '\xe9'" in found["walk/\u00e9.mp4"]
    assert len(list((out / target).glob("*/*"))) == 3
    one_case.undo()
    assert command.main([str(videos), str(out)]) == 0  # type: ignore[attr-defined]
    assert len(list((out / target).glob("*/*"))) == 7


def test_a_dataset_of_a_folder_has_names_that_the_disk_tells(tmp_path: Path, one_case: pytest.MonkeyPatch) -> None:
    videos, out = make(tmp_path / "v", "run/a.mp4 run/b.mp4 walk/a.mp4 walk/b.mp4"), tmp_path / "out"
    assert run(videos, out) == 0
    make(videos, "run/A.mp4", first=20)
    for _ in range(2):
        assert run(videos, out) == 0
        names = sources(out)
        assert names["run/a"] == "run/a.mp4", "an older name stays"
        (other,) = (name for name, source in names.items() if source == "run/A.mp4")
        assert other.casefold() != "run/a" and first_number(out, other) == 20 * 4
        assert len(set().union(*labels(out).values())) == 5
    make(videos, "Walk/c.mp4 Walk/d.mp4")
    with pytest.raises(DataError, match="makes one folder of the classes 'Walk' and 'walk': rename one"):
        run(videos, out)


def test_names_that_an_older_version_gave_are_not_kept_for_two_videos(
    tmp_path: Path, one_case: pytest.MonkeyPatch
) -> None:
    videos, out = make(tmp_path / "v", "run/a.mp4 run/A.mp4 run/b.mp4 walk/a.mp4 walk/b.mp4"), tmp_path / "out"
    one_case.setattr(same_places, "untold", lambda folder: (False, False))
    assert run(videos, out) == 0
    assert {"run/a", "run/A"} <= set(sources(out))
    one_case.setattr(same_places, "untold", lambda folder: (True, True))
    with pytest.raises(DataError, match=r"1 video .* named anew, as the disk .* --replace-labels"):
        run(videos, out)
    assert run(videos, out, "--replace-labels") == 0
    assert len({name.casefold() for name in sources(out)}) == 5


def test_a_disk_is_only_asked_where_it_matters_and_nothing_stays(tmp_path: Path) -> None:
    target = tmp_path / "out" / "jpg"
    assert fold_for([("run", "a"), ("run", "A")], target) is None, "this disk tells them apart"
    assert list(tmp_path.iterdir()) == []
    asked: list[Path] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(same_places, "untold", lambda folder: asked.append(folder) or (True, False))
        assert fold_for([("run", "a"), ("walk", "A")], target) is None
        assert asked == []
        fold = fold_for([("run", "a"), ("run", "A")], target)
        assert fold is not None and fold("A") == fold("a") and fold("\u00e9") != fold("e\u0301")
    assert asked == [tmp_path]
