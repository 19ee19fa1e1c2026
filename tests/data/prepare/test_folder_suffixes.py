"""clip.mp4 beside clip.mp4.mp4: with ids that end in a suffix of videos, nothing could read the label files."""

from pathlib import Path

import pytest

from common.errors import DataError
from data.labels.splits import load_splits
from data.prepare import folder_names, verify
from tests.data.prepare.test_folder import SPEC, first_number, keep_signal_handler, labels, make, run, sources

__all__ = ["keep_signal_handler"]

FILES = "run/clip.mp4 run/clip.mp4.mp4 run/a.mp4 run/b.mp4 run/talk.avi.mp4 walk/a.mp4 walk/b.mp4"
SPLITS = "train/run/clip.mp4 val/run/clip.mp4.mp4 train/walk/a.mp4 val/walk/b.mp4"


@pytest.fixture
def older(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Ids as older versions gave them, until undone."""
    monkeypatch.setattr(folder_names, "is_video", lambda name: False)
    return monkeypatch


def is_right(out: Path) -> bool:
    return verify.main([str(out), "--workers", "1"]) == 0


def test_ids_have_no_suffix_of_videos(tmp_path: Path) -> None:
    videos, out = make(tmp_path / "v", FILES), tmp_path / "out"
    for _ in range(2):
        assert run(videos, out) == 0
        assert sources(out)["run/clip_mp4"] == "run/clip.mp4.mp4" and "run/talk_avi" in sources(out)
        assert [first_number(out, f"run/{name}") for name in ("clip", "clip_mp4")] == [0, 4]
        assert is_right(out)
    found = load_splits(out, SPEC)
    assert len(found.train) + len(found.val) == 7


def test_older_ids_stay_where_they_can_be_read(tmp_path: Path, older: pytest.MonkeyPatch) -> None:
    """Each split has one of the two, and another id with a suffix is alone: a later run changes none of them."""
    videos, out = make(tmp_path / "v", f"{SPLITS} train/walk/talk.avi.mp4"), tmp_path / "out"
    assert run(videos, out) == 0
    older.undo()
    before = labels(out)
    assert before["val"] == {"run/clip.mp4", "walk/b"} and "walk/talk.avi" in before["train"]
    make(videos, "train/walk/talk.mp4", first=20)
    assert run(videos, out) == 0
    assert labels(out) == {**before, "train": before["train"] | {"walk/train_talk"}}, "talk.avi is read as talk"
    found = load_splits(out, SPEC)
    assert found.val.folder(0).name == "clip.mp4"
    assert is_right(out)


def test_older_ids_that_cannot_be_read_are_told_and_can_be_written_anew(
    tmp_path: Path, older: pytest.MonkeyPatch
) -> None:
    """Both are in one split, or would be with other flags: a row `clip.mp4` repeats `clip`."""
    videos, out = make(tmp_path / "v", f"{SPLITS} train/run/clip.mp4.mp4 train/run/talk.avi.mp4"), tmp_path / "out"
    (videos / "val" / "run" / "clip.mp4.mp4").rename(videos / "val" / "run" / "a.mp4")
    assert run(videos, out) == 0
    older.undo()
    assert {"run/clip", "run/clip.mp4"} <= labels(out)["train"]
    with pytest.raises(DataError, match=r"run/clip\.mp4 is run/clip_mp4\) would be named anew, .* --replace-labels"):
        run(videos, out)
    assert run(videos, out, "--replace-labels") == 0
    assert {"run/clip", "run/clip_mp4", "run/talk.avi"} <= labels(out)["train"] | labels(out)["val"]
    assert first_number(out, "run/clip_mp4") == 16
    assert load_splits(out, SPEC)


def test_label_files_that_are_written_anew_have_no_older_ids_of_two_splits(
    tmp_path: Path, older: pytest.MonkeyPatch
) -> None:
    """The new flags may put both into one split."""
    videos, out = make(tmp_path / "v", SPLITS), tmp_path / "out"
    assert run(videos, out) == 0
    older.undo()
    (videos / "val" / "run" / "clip.mp4.mp4").rename(videos / "train" / "run" / "clip.mp4.mp4")
    make(videos, "val/run/c.mp4", first=9)
    assert run(videos, out, "--replace-labels") == 0
    assert labels(out)["train"] == {"run/clip", "run/clip_mp4", "walk/a"}
