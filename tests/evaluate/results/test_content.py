"""Whether two evaluations are of the same frames under the same ids."""

import pytest

from data.labels.content import UNREAD, content_of
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_val
from evaluate.results.content import content_facts, other_frames
from tests.small_dataset import write_labels, write_small_dataset

SPEC = DatasetSpec("d", "train.csv", "val.csv")


def facts(dataset, labels=None, source="frames"):
    videos, _ = load_val(dataset, SPEC, labels, None)
    return content_facts(videos, content_of(videos)) | {"source": source}


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """The same ids thrice: twice the same frames, then more of them."""
    folder = tmp_path_factory.mktemp("content")
    return [
        write_small_dataset(folder / name, train=4, frames=frames) for name, frames in (("a", 8), ("b", 8), ("c", 9))
    ]


def test_a_copy_elsewhere_has_the_same_frames(datasets):
    """A warning at each comparison of two machines would be read by nobody."""
    one, other = facts(datasets[0]), facts(datasets[1])
    assert one == other and not other_frames(one, other)


def test_other_numbers_of_frames_are_told(datasets):
    """Videos that were cut anew would be compared as the same."""
    found = other_frames(facts(datasets[0]), facts(datasets[2]))
    assert found == "other numbers of frames and other frames (in 7 of 7 videos looked at)"


def test_some_of_the_videos_are_compared_by_their_ids(datasets, tmp_path):
    """By their places in the list, other videos would be compared, and each subset would be of other frames."""
    rows = [("jump", "val_005"), ("clap", "val_004"), ("walk fast", "val_003"), ("run", "val_002")]
    few = write_labels(tmp_path / "few.csv", rows)
    assert not other_frames(facts(datasets[0]), facts(datasets[1], few))
    assert other_frames(facts(datasets[0]), facts(datasets[2], few)) == "other frames (in 4 of 4 videos looked at)"
    assert not other_frames(facts(datasets[0]), facts(datasets[2], few), {"clap/val_000"})


@pytest.mark.parametrize(
    "change",
    [
        {"source": "videos"},
        {"content": None},
        {"content": {"samples": 1}},
        {"content": {"counts": UNREAD, "samples": {}}},
    ],
)
def test_what_cannot_be_told_is_no_difference(datasets, change):
    """Databases against video files, files of older versions and videos that could not be read."""
    other = facts(datasets[2]) | change
    assert not other_frames(facts(datasets[0]), other) and not other_frames(other, facts(datasets[0]))
