"""Scores of predictions and their intervals, against definitions, scipy and simulated data."""

import math

import numpy as np
import pytest
import scipy.stats
import torch

from evaluate.metrics import ScoreSums
from evaluate.results.bootstrap import (
    SCORES,
    bootstrap_intervals,
    resampled_scores,
    score_values,
    scores_with_intervals,
    video_results,
)
from evaluate.results.predictions import Predictions
from tests.evaluate.predicted import make_predictions


def test_scores_are_those_of_the_validation():
    """Else a table of predictions disagrees with the log of the run, also where two classes have the same score."""
    predictions = make_predictions(videos=60, classes=7, seed=1, round_to=1)
    scores, labels = torch.from_numpy(predictions.log_probabilities), torch.from_numpy(predictions.labels)
    sums = ScoreSums(torch.device("cpu"), 7)
    sums.add(torch.nn.functional.nll_loss(scores, labels, reduction="sum"), scores, labels)
    expected = sums.scores_of(sums.take())
    found = scores_with_intervals(predictions, resamples=50)
    assert [found[name].value for name in ("loss", "top1", "top5")] == pytest.approx(
        [expected.loss, expected.top1, expected.top5]
    )
    assert (scores == scores.gather(1, labels[:, None])).sum() > 60  # there are ties


def test_mean_class_accuracy_is_the_mean_over_the_classes_that_have_videos():
    """The share over videos would hide a class of few videos that is never recognised."""
    scores = np.log(np.array([[0.7, 0.1, 0.1, 0.1]] * 4, dtype=np.float32))
    predictions = Predictions(np.array(list("abcd")), np.array([0, 0, 0, 2]), tuple("wxyz"), scores)
    values = dict(zip(SCORES, score_values(video_results(predictions)), strict=True))
    assert values["mean_class"] == 50
    assert values["top1"] == 75


def test_videos_of_unknown_class_do_not_count():
    """Class -1 would be read as the last class."""
    predictions = make_predictions(videos=40, classes=5, seed=2)
    known = scores_with_intervals(predictions)
    more = Predictions(
        np.concatenate([predictions.ids, ["x", "y"]]),
        np.concatenate([predictions.labels, [-1, -1]]),
        predictions.classes,
        np.concatenate([predictions.log_probabilities, predictions.log_probabilities[:2]]),
    )
    assert scores_with_intervals(more) == known
    none = scores_with_intervals(Predictions(more.ids, np.full(42, -1), more.classes, more.log_probabilities))
    assert all(math.isnan(part) for each in none.values() for part in (each.value, each.low, each.high))


def test_intervals_are_the_same_each_time_and_others_with_another_seed():
    """Two tables of the same file must not differ."""
    predictions = make_predictions(videos=50, classes=5, seed=3)
    assert scores_with_intervals(predictions) == scores_with_intervals(predictions)
    assert scores_with_intervals(predictions, seed=1) != scores_with_intervals(predictions)


def test_intervals_agree_with_scipy():
    """Same estimator, other random numbers: the ends may differ by some hundredths of the width."""
    results = video_results(make_predictions(videos=150, classes=6, seed=4))
    found = bootstrap_intervals(results, resamples=20000)

    def mean_class(rows, axis):
        """Over the rows' last axis, of the classes that have videos there."""
        hits, labels = results.top1[rows], results.labels[rows]
        totals = np.stack([(labels == label).sum(axis=-1) for label in range(6)])
        found = np.stack([(hits & (labels == label)).sum(axis=-1) for label in range(6)])
        return 100 * np.nanmean(np.where(totals > 0, found / np.maximum(totals, 1), np.nan), axis=0)

    statistics = {
        "loss": (results.loss, np.mean),
        "top1": (100.0 * results.top1, np.mean),
        "top5": (100.0 * results.top5, np.mean),
        "mean_class": (np.arange(150), mean_class),
    }
    for name, (data, statistic) in statistics.items():
        expected = scipy.stats.bootstrap(
            (data,), statistic, n_resamples=10000, method="percentile", vectorized=True, rng=np.random.default_rng(1)
        ).confidence_interval
        width = expected.high - expected.low
        assert (found[name].low, found[name].high) == pytest.approx(tuple(expected), abs=0.06 * width), name


def test_classes_without_a_video_in_a_resample_do_not_count():
    """Classes of one or two videos would else pull the interval below a network that has all of them right."""
    right = make_predictions(videos=12, classes=8, seed=5, skill=50)
    wrong = Predictions(right.ids, right.labels, right.classes, -right.log_probabilities - 100)
    scores = resampled_scores([video_results(right), video_results(wrong)], resamples=200)
    assert scores[:, 0, 3] == pytest.approx(100)
    assert scores[:, 1, 3] == pytest.approx(0)


def test_networks_are_resampled_on_the_same_videos():
    """The interval of a difference would else be that of two unrelated sets of videos."""
    one = video_results(make_predictions(videos=80, classes=7, seed=5))
    scores = resampled_scores([one, one], resamples=300)
    assert np.array_equal(scores[:, 0], scores[:, 1])
    assert scores[:, 0].std(axis=0).min() > 0


def test_the_size_of_a_block_does_not_change_the_intervals(monkeypatch):
    """Intervals must not depend on how much memory is used."""
    results = video_results(make_predictions(videos=40, classes=5, seed=6))
    whole = bootstrap_intervals(results)
    monkeypatch.setattr("evaluate.results.bootstrap.BLOCK", 130)
    assert bootstrap_intervals(results) == whole


def test_an_infinite_loss_has_no_interval_and_leaves_the_accuracies_theirs():
    """NaN in one score must not spread to the others."""
    predictions = make_predictions(videos=30, classes=5, seed=7)
    predictions.log_probabilities[0, predictions.labels[0]] = -np.inf
    found = scores_with_intervals(predictions)
    assert found["loss"].value == math.inf
    assert math.isnan(found["loss"].low) and math.isnan(found["loss"].high)
    assert np.isnan(resampled_scores([video_results(predictions)], resamples=50)[:, 0, 0]).all()
    assert all(found[name].low < found[name].value < found[name].high for name in ("top1", "mean_class"))


def test_intervals_cover_the_true_score():
    """An interval that is called 95 % must hold the truth about so often: here 300 evaluations of 200 videos."""
    generator = np.random.default_rng(8)
    shares = np.array([0.9, 0.6, 0.5, 0.7])  # of hits, per class; classes are equally frequent
    labels = np.repeat(np.arange(4), 50)
    covered = np.zeros(2)
    for _ in range(300):
        labels = generator.integers(0, 4, 200)
        hits = generator.random(200) < shares[labels]
        scores = np.log(np.where(hits[:, None] == (np.arange(4) == labels[:, None]), 0.4, 0.2)).astype(np.float32)
        ids = np.char.mod("%03d", np.arange(200))
        found = scores_with_intervals(Predictions(ids, labels, tuple("abcd"), scores), resamples=400)
        covered += [found[name].low <= 100 * shares.mean() <= found[name].high for name in ("top1", "mean_class")]
    assert (covered / 300 > 0.91).all() and (covered / 300 < 0.985).all()
