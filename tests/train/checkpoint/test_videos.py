"""What a file of weights tells of the videos that it was trained on."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from data.labels.video_list import FoundVideo, pack
from train.checkpoint.videos import warning_of_trained

CLASSES = ("box", "wave")
VIDEOS = pack(Path("jpg"), CLASSES, [(label, FoundVideo(CLASSES[label], f"v{label}", 8, "")) for label in (0, 1)])
OTHERS = pack(Path("jpg"), CLASSES, [(0, FoundVideo("box", "v9", 8, ""))])
RENAMED = pack(Path("jpg"), ("box", "jump"), [(0, FoundVideo("box", "v9", 8, ""))])


def export_of(variant="1"):
    """An exported file: it has the digest of the training videos, and no list of them."""
    return {
        "network": {"name": "r3d_10", "gates": False, "placement": "final", "num_classes": 2},
        "classes": list(CLASSES),
        "options": {"variant": variant},
        "videos": {"train": VIDEOS.digest(), "val": "0"},
        "versions": {"srtg": "1"},
    }


@pytest.mark.parametrize(
    ("videos", "variant", "words"),
    [
        (VIDEOS, "1", "2 of 2 validation videos are among the training videos of x.safetensors"),
        (OTHERS, "2", "trained on variant or split 1 of these classes, this run has 2"),
        (OTHERS, "1", ""),
        (RENAMED, "2", ""),  # split 2 of another dataset
    ],
)
def test_an_export_tells_what_it_can_of_its_training_videos(videos, variant, words):
    """A new run from it was validated on them without a word: an export has no list of its videos."""
    warning = warning_of_trained("x.safetensors", export_of(), videos, SimpleNamespace(variant=variant))
    assert words in warning
    assert bool(words) == bool(warning)


def test_a_file_of_another_project_tells_nothing():
    """Its fields of these names mean something else."""
    other = {"state_dict": {}, "options": 3, "videos": [1]}
    assert warning_of_trained("x.pth", other, VIDEOS, SimpleNamespace(variant="2")) == ""
