"""Seeds of a side of a comparison are trainings of their own."""

import pytest

from common.errors import DataError
from evaluate.comparison.prediction_files import read_sources
from evaluate.comparison.seeds import check_seeds, shared_trainings
from evaluate.comparison.splits_mean import check_splits
from tests.evaluate.predicted import make_predictions, write


def sources_of(folder, *abouts):
    paths = [
        write(folder / f"{number}.npz", make_predictions(videos=20, seed=number, **about))
        for number, about in enumerate(abouts)
    ]
    return read_sources(paths)


def of_run(key, seed=1, folder="runs/a", **options):
    return {
        "checkpoint": f"{folder}/x_ep-0003.pth",
        "options": {"random_seed": seed, "lr_base": 0.1, "task_name": folder, **options},
        **({"run_key": key} if key else {}),
    }


def ensemble(*abouts):
    return {"parts": [{"path": str(number), "about": about} for number, about in enumerate(abouts)]}


def test_two_epochs_of_a_run_are_no_two_seeds(tmp_path):
    """Their spread is that of an epoch: the interval would claim to cover seeds that nobody trained."""
    side = sources_of(tmp_path, of_run("k1"), of_run("k2", 2), of_run("k1"))
    with pytest.raises(DataError, match=r"0\.npz and .*2\.npz are states of one run.*evaluate\.fuse"):
        check_seeds(side)
    check_seeds(side[:2])
    assert shared_trainings(side[:2]) is None


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        (of_run("k1"), of_run("k1", seed=2), "states of one run"),
        (of_run("k1", folder="a"), of_run("k2", folder="b"), "--random-seed 1"),
        (of_run("", folder="runs/a"), of_run("", folder="runs/a"), "one folder, runs/a"),
        (of_run("", folder="runs/a"), of_run("k1", folder="runs/b"), "--random-seed 1"),
        (ensemble(of_run("k1"), of_run("k9", 9)), ensemble(of_run("k2", 2), of_run("k9", 9)), "parts of one run"),
        (ensemble(of_run("k1"), of_run("k9", 9)), of_run("k1"), "parts of one run"),
    ],
)
def test_what_may_be_less_than_two_seeds_is_told(tmp_path, one, other, words):
    """Copies that went on with another seed, runs of one seed, and ensembles that share a run, may be meant."""
    side = sources_of(tmp_path, one, other)
    check_seeds(side)
    assert words in shared_trainings(side)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        (of_run("k1"), of_run("k2", 2)),
        (of_run("", folder="runs/a"), of_run("", 2, folder="runs/a")),  # the same path on two machines
        ({"checkpoint": "x/a.onnx", "options": {}}, {"checkpoint": "x/b.onnx", "options": {}}),
        (of_run("k1", lr_base=0.2), of_run("k2")),  # which another warning tells
        (ensemble(of_run("k1"), of_run("k1")), ensemble(of_run("k2", 2), of_run("k2", 2))),  # the epochs of each seed
    ],
)
def test_seeds_are_not_doubted_without_a_reason(tmp_path, one, other):
    """A warning of each comparison would no longer be read."""
    side = sources_of(tmp_path, one, other)
    check_seeds(side)
    assert shared_trainings(side) is None


def test_two_epochs_of_a_run_are_no_two_splits(tmp_path):
    """The one split's training has the test videos of the other."""
    one, two, other = sources_of(
        tmp_path, *(of_run(key, folder=folder) for key, folder in (("k1", "a"), ("k1", "b"), ("k2", "c")))
    )
    for source in (two, other):
        source.predictions.ids[:] = [f"other/{number}" for number in range(20)]
    check_splits([one, other])
    with pytest.raises(DataError, match="of one run: each split needs a training of its own"):
        check_splits([one, two])
