"""The counts of a run are restored from its checkpoint, also from one of an older version."""

import pytest

from data.clips.types import BadVideo
from evaluate.metrics import Scores
from tests.runs import make_scores
from train.checkpoint.progress import Best, Progress, best_of


def test_progress_survives_as_plain_types():
    progress = Progress(epoch=3, step=2, scores=make_scores(2.5, 1, 2, 4), bad_videos=[BadVideo(1, "why", None)])
    assert Progress.from_state_dict(progress.state_dict()) == progress
    assert Progress.from_state_dict(Progress().state_dict()) == Progress()


def test_an_older_version_s_scores_are_read():
    """They were a list: the sums of loss, top-1 and top-5, and the number of examples."""
    state = Progress(epoch=3, step=2).state_dict()
    assert Progress.from_state_dict(state | {"scores": [2.5, 1.0, 2.0, 4.0]}).scores == make_scores(2.5, 1, 2, 4)
    assert Progress.from_state_dict(state | {"scores": [0.0, 0.0, 0.0, 0.0]}).scores == Scores()


@pytest.mark.parametrize(
    ("epoch", "step", "said"),
    [
        (1, 0, "at step 1 of epoch 1"),
        (1, 11, "at step 12 of epoch 1"),
        (1, 12, "at the validation of epoch 1"),
        (2, 12, "after the last step of epoch 2"),
        (2, 0, "at step 1 of epoch 2"),
        (3, 0, "after epoch 2, its last"),
        (5, 0, "after epoch 4, its last"),  # more than --end-epoch
    ],
)
def test_a_resumed_run_says_what_it_does_next(epoch, step, said):
    """It said step 13 of an epoch of 12 steps, and epoch 3 of a run of two."""
    assert Progress(epoch=epoch, step=step).next_of(2, lambda epoch: 12, lambda epoch: epoch == 1) == said


def test_the_best_state_is_that_of_the_highest_top_1():
    progress = Progress()
    validations = [make_scores(1, hits, 4, 4) for hits in (2, 1, 2, 3)]
    assert [progress.update_best(val) for val in validations] == [True, False, False, True]
    assert progress.update_best(None) is False
    assert progress.best_top1 == 75


def validation(loss, top1, first, second):
    """Of four videos, three of them of the first class; `first` and `second` are the hits of the classes."""
    return Scores(4, {"loss": (4 * loss,), "top1": (top1,), "top5": (4,), "mean_class": (first, second, 3.0, 1.0)})


VALIDATIONS = [validation(2.0, 3, 3, 0), validation(1.0, 2, 1, 1), validation(1.5, 3, 3, 0)]


@pytest.mark.parametrize(
    ("best_by", "is_best", "top1", "value"),
    [
        ("top1", [True, False, False], 75.0, 75.0),
        ("mean-class", [True, True, False], 50.0, 100 * (1 / 3 + 1) / 2),
        ("loss", [True, True, False], 50.0, 1.0),
    ],
)
def test_the_best_state_is_that_of_the_score_that_is_asked_for(best_by, is_best, top1, value):
    """A run that is to be compared by mean-class accuracy kept the weights of the best top-1; a loss is best if low."""
    progress = Progress(best_by=best_by)
    assert progress.best_value is None
    assert [progress.update_best(val) for val in VALIDATIONS] == is_best
    assert (progress.best_top1, progress.best_value) == (top1, pytest.approx(value))
    again = Progress.from_state_dict(progress.state_dict())
    assert again == progress and best_of(progress.state_dict()) == progress.best
    again.forget_best()
    assert (again.best_value, again.best_by) == (None, best_by)
    assert again.update_best(VALIDATIONS[1])
    again.forget_best("top1")
    assert again == Progress()


def test_an_older_version_s_best_is_the_top_1():
    state = Progress(best_top1=50.0).state_dict()
    del state["best_by"], state["best_score"]
    old = Progress.from_state_dict(state)
    assert best_of(state) == old.best == Best(50.0, "top1", None)
    assert [old.update_best(val) for val in VALIDATIONS] == [True, False, False]
