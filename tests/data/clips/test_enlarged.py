"""Frames that are too small for the clips: a run trained on blurred clips, and nothing said so."""

import pytest

from data.clips.enlarged import SAMPLED, enlarged_frames
from data.clips.types import ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.labels.video_list import VideoList
from tests.numbered import write_numbered_database
from tests.small_dataset import write_labels, write_small_dataset


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> VideoList:
    """Three of four training videos have frames of 40x48, one has 80x96."""
    folder = write_small_dataset(tmp_path_factory.mktemp("small"), train=4, val=4, frames=2)
    write_numbered_database(folder / "jpg" / "walk fast" / "large", 2, 80, 96)
    rows = [("clap", "train_000"), ("jump", "train_001"), ("run", "train_002"), ("walk fast", "large")]
    write_labels(folder / "labels" / "train.csv", rows)
    return load_splits(folder, DatasetSpec("custom", "train.csv", "val.csv")).train


@pytest.mark.parametrize(
    ("side", "count", "needed", "is_by_much"), [(39, 3, 45, False), (48, 3, 55, True), (112, 4, 129, True)]
)
def test_small_frames_are_told(videos, side, count, needed, is_by_much):
    told = enlarged_frames(videos, ClipShape(4, side, side), "training")
    assert told is not None and told.is_by_much == is_by_much
    assert f"enlarged in {count} of 4 sampled training videos " in told.text and "is 40 pixels" in told.text
    assert f"{side}x{side}" in told.text and told.text.endswith(f" {needed}")


def test_frames_that_are_large_enough_are_not_told(videos):
    """35 of 40 pixels are the share that a crop takes, within half a percent."""
    assert enlarged_frames(videos, ClipShape(4, 35, 35), "training") is None


def test_videos_that_cannot_be_read_are_left_out(videos, monkeypatch):
    """Training says what is wrong with them. A large dataset is sampled from its first to its last video."""
    looked_at = []

    def folder(self, index):
        looked_at.append(index)
        return "/no/such/video"

    monkeypatch.setattr(VideoList, "folder", folder)
    monkeypatch.setattr(VideoList, "__len__", lambda self: 500_000)
    assert enlarged_frames(videos, ClipShape(4, 224, 224), "training") is None
    assert len(set(looked_at)) == SAMPLED and (looked_at[0], looked_at[-1]) == (0, 499_999)
