"""Which file a path means, and which videos several files have in common."""

import json
import os

import numpy as np
import pytest

from common.errors import DataError
from evaluate.comparison.prediction_files import Source, find_predictions, left_out, match_videos, read_sources
from evaluate.results.predictions import Predictions
from tests.evaluate.predicted import make_predictions, write


def source(tmp_path, predictions):
    return Source(tmp_path, predictions)


def test_a_path_may_be_a_file_an_evaluation_or_a_run(tmp_path):
    """A user has the run's folder at hand rather than the file in it."""
    file = write(tmp_path / "run" / "evaluation_val_5x3" / "predictions.npz", make_predictions())
    for path in (file, file.parent, file.parent.parent):
        assert find_predictions(path) == (file, "")


def test_of_several_evaluations_of_the_same_views_the_newest_is_taken(tmp_path):
    """A copy of the run changes the files' times: the date in the summary counts, and a line says which was taken."""
    names = "evaluation_val_1x1", "evaluation_val_1x1_again"
    old, new = (write(tmp_path / name / "predictions.npz", make_predictions(weights_digest=name)) for name in names)
    os.utime(old, (2e9, 2e9))
    os.utime(new, (1e9, 1e9))
    assert find_predictions(tmp_path)[0] == old
    for file, day in ((old, 1), (new, 2)):
        summary = {"weights_digest": file.parent.name, "date": f"2026-01-0{day}T00:00:00+00:00"}
        (file.parent / "summary.json").write_text(json.dumps(summary))
    line = f"{tmp_path}: its newest evaluation, {names[1]}, is taken, and not {names[0]}"
    assert find_predictions(tmp_path) == (new, line)
    sources = read_sources([tmp_path, old])
    assert left_out(sources, match_videos(sources)) == [line]
    (new.parent / "summary.json").write_text("{")
    assert find_predictions(tmp_path)[0] == old


def test_of_evaluations_of_other_views_one_must_be_chosen(tmp_path):
    """Else 1x1 views of one network would be compared with 10x3 of another."""
    for name in ("evaluation_val_1x1", "evaluation_val_1x10", "evaluation_test_1x1"):
        write(tmp_path / name / "predictions.npz", make_predictions())
    with pytest.raises(DataError, match="evaluation_val_1x10"):
        find_predictions(tmp_path)
    assert find_predictions(tmp_path, "evaluation_val_1x1")[0].parent.name == "evaluation_val_1x1"
    with pytest.raises(DataError, match="evaluation_test_1x1"):
        find_predictions(tmp_path, "evaluation_val_5x3")


def test_videos_are_matched_by_id_whatever_their_order(tmp_path):
    """Matched by row, two orders would compare different videos."""
    whole = make_predictions(videos=30, seed=1)
    rows = np.random.default_rng(0).permutation(30)[:20]
    part = Predictions(whole.ids[rows], whole.labels[rows], whole.classes, whole.log_probabilities[rows])
    matched = match_videos([source(tmp_path, whole), source(tmp_path, part)])
    one, other = matched.predictions
    assert sorted(part.ids) == list(one.ids) == list(other.ids)
    assert np.array_equal(one.log_probabilities, other.log_probabilities)
    assert np.array_equal(one.labels, other.labels)
    assert matched.left_out == (10, 0)


def test_classes_in_another_order_are_matched_by_name(tmp_path):
    """Else the columns of one are read as those of other classes."""
    first = make_predictions(videos=30, classes=6)
    columns = np.array([3, 0, 5, 1, 4, 2])
    labels = np.argsort(columns)[first.labels]
    labels[4] = -1
    names = tuple(first.classes[column] for column in columns)
    other = Predictions(first.ids, labels, names, first.log_probabilities[:, columns])
    matched = match_videos([source(tmp_path, first), source(tmp_path, other)])
    assert np.array_equal(*(each.log_probabilities for each in matched.predictions))
    assert np.array_equal(*(each.labels for each in matched.predictions))
    assert matched.reordered == (1,)
    assert (matched.unlabelled, len(matched.predictions[0])) == (1, 29)


@pytest.mark.parametrize("change", ["labels", "classes", "ids", "unknown"])
def test_what_is_not_of_the_same_videos_and_classes_is_refused(tmp_path, change):
    """The difference of two such evaluations would be one of the data."""
    first = make_predictions(videos=10)
    ids, labels, names = first.ids.copy(), first.labels.copy(), first.classes
    if change == "labels":
        labels[3] = (labels[3] + 1) % 5
    elif change == "classes":
        names = ("other", *names[1:])
    elif change == "ids":
        ids = np.array([f"{each}x" for each in ids])
    else:
        labels[:] = -1
    other = Predictions(ids, labels, names, first.log_probabilities)
    with pytest.raises(DataError):
        match_videos([source(tmp_path, first), source(tmp_path, other)])
