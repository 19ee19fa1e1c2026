"""The counts of a run are restored from its checkpoint, also from one of an older version."""

from data.clips.types import BadVideo
from evaluate.metrics import Scores
from tests.runs import make_scores
from train.checkpoint.progress import Progress


def test_progress_survives_as_plain_types():
    progress = Progress(epoch=3, step=2, scores=make_scores(2.5, 1, 2, 4), bad_videos=[BadVideo(1, "why", None)])
    assert Progress.from_state_dict(progress.state_dict()) == progress
    assert Progress.from_state_dict(Progress().state_dict()) == Progress()


def test_an_older_version_s_scores_are_read():
    """They were a list: the sums of loss, top-1 and top-5, and the number of examples."""
    state = Progress(epoch=3, step=2).state_dict()
    assert Progress.from_state_dict(state | {"scores": [2.5, 1.0, 2.0, 4.0]}).scores == make_scores(2.5, 1, 2, 4)
    assert Progress.from_state_dict(state | {"scores": [0.0, 0.0, 0.0, 0.0]}).scores == Scores()


def test_the_best_state_is_that_of_the_highest_top_1():
    progress = Progress()
    validations = [make_scores(1, hits, 4, 4) for hits in (2, 1, 2, 3)]
    assert [progress.update_best(val) for val in validations] == [True, False, False, True]
    assert progress.update_best(None) is False
    assert progress.best_top1 == 75
