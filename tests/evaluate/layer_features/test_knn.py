"""Nearest neighbours, against hand-made vectors and a slow formulation."""

import numpy as np
import pytest

from evaluate.layer_features.knn import TEMPERATURE, Vectors, nearest_neighbours


def vectors(features: object, classes: object, videos: object) -> Vectors:
    return Vectors(np.asarray(features, np.float32), np.asarray(classes), np.asarray(videos))


def test_the_nearest_is_by_angle():
    """A long vector would win by its length."""
    train = vectors([[100, 0], [1, 1.1]], [0, 1], [0, 1])
    scores = nearest_neighbours(train, vectors([[1, 1], [3, 0.1]], [1, 0], [2, 3]))
    assert (scores.top1, scores.videos) == (100, 2)


def test_a_video_is_not_its_own_neighbour():
    """Clips of one video in both splits would give 100 %."""
    train = vectors([[1, 0], [0, 1]], [0, 1], [7, 8])
    assert nearest_neighbours(train, vectors([[1, 0]], [0], [7])).top1 == 0
    assert nearest_neighbours(train, vectors([[1, 0]], [0], [9])).top1 == 100
    alone = nearest_neighbours(vectors([[1, 0]], [0], [7]), vectors([[1, 0]], [0], [7]))
    assert (alone.top1, alone.top5, alone.votes[5], alone.left_out) == (0, 0, 0, 1)


def test_zeros_are_no_error():
    """Features after a ReLU may all be zero."""
    scores = nearest_neighbours(vectors([[0, 0], [1, 0]], [0, 1], [0, 1]), vectors([[0, 0]], [0], [2]))
    assert scores.videos == 1


def test_scores_are_those_of_a_slow_formulation():
    """Random vectors of six classes; sums of votes in plain Python."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 10))
    classes, val_classes = rng.integers(0, 6, 90), rng.integers(0, 6, 40)
    features = centres[classes] + 1.5 * rng.normal(size=(90, 10))
    val_features = centres[val_classes] + 1.5 * rng.normal(size=(40, 10))
    same, val_same = np.arange(90), rng.integers(80, 130, 40)
    found = nearest_neighbours(vectors(features, classes, same), vectors(val_features, val_classes, val_same))
    hits = {"top1": 0, "top5": 0, 5: 0, 20: 0}
    for vector, right, video in zip(val_features, val_classes, val_same, strict=True):
        cosines = [
            (float(vector @ other / np.linalg.norm(vector) / np.linalg.norm(other)), label)
            for other, label, number in zip(features, classes, same, strict=True)
            if number != video
        ]
        nearest = sorted(cosines, key=lambda pair: -pair[0])
        hits["top1"] += nearest[0][1] == right
        hits["top5"] += right in [label for _, label in nearest[:5]]
        for voters in (5, 20):
            sums = np.zeros(6)
            for cosine, label in nearest[:voters]:
                sums[label] += np.exp(cosine / TEMPERATURE)
            hits[voters] += sums.argmax() == right
    assert 0 < hits["top1"] < 40
    assert found.top1 == pytest.approx(2.5 * hits["top1"]) and found.top5 == pytest.approx(2.5 * hits["top5"])
    assert found.votes == {voters: pytest.approx(2.5 * hits[voters]) for voters in (5, 20)}
