"""The class that each video was given: if this fails, tables and pictures contradict the scores."""

import numpy as np
import pytest
import torch

from evaluate.metrics import is_in_top_k
from evaluate.results import outcomes
from evaluate.results.outcomes import confusion_matrix, hits, predicted_classes
from evaluate.results.predictions import Predictions


def predictions_of(scores: object, labels: object, classes: tuple[str, ...] = ()) -> Predictions:
    """Predictions of scores (N, C), which are made log-probabilities; ids are c/0000, c/0001, ..."""
    logits = torch.as_tensor(np.asarray(scores, dtype=np.float32))
    names = classes or tuple(f"class {index}" for index in range(logits.shape[1]))
    ids = np.array([f"c/{row:04d}" for row in range(len(logits))], dtype=str)
    return Predictions(ids, np.asarray(labels, np.int64), names, logits.log_softmax(dim=1).numpy())


def random_predictions(count: int, number: int, seed: int = 0, first: int = 0) -> Predictions:
    """Predictions of which about half are right; the classes below `first` have no videos."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(first, number, count)
    scores = rng.normal(0, 1, (count, number))
    scores[np.arange(count), labels] += rng.choice([0, 6], count)
    return predictions_of(scores, labels)


@pytest.mark.parametrize("block", [3, 10_000])
@pytest.mark.parametrize("number", [1, 2, 7])
def test_hits_and_matrix_agree_with_the_scores(monkeypatch, number, block):
    """The share of right videos in a table would differ from the top-1 beside it; also where a block ends."""
    monkeypatch.setattr(outcomes, "BLOCK", block)
    predictions = random_predictions(50, number)
    expected = is_in_top_k(torch.from_numpy(predictions.log_probabilities), torch.from_numpy(predictions.labels))
    assert (hits(predictions) == expected.numpy()).all()
    matrix = confusion_matrix(predictions)
    assert np.trace(matrix) == expected[:, 0].sum()
    assert (matrix.sum(axis=1) == np.bincount(predictions.labels, minlength=number)).all()
    assert (predicted_classes(predictions) == predictions.log_probabilities.argmax(axis=1)).all()


def test_a_tie_counts_as_another_class():
    """A network that scores all classes alike has a top-1 of 0, and its matrix would be all right."""
    predictions = predictions_of([[1, 1, 0], [1, 1, 0], [0, 0, 0], [1, 1, 0]], [0, 1, 0, 2])
    assert predicted_classes(predictions).tolist() == [1, 0, 1, 0]
    assert not hits(predictions)[:, 0].any()
    assert np.trace(confusion_matrix(predictions)) == 0


def test_videos_of_unknown_class_count_nowhere():
    """They would be counted as videos of the last class."""
    predictions = predictions_of([[5, 0], [0, 5], [0, 5]], [-1, -1, 1])
    assert hits(predictions)[:, 0].tolist() == [False, False, True]
    assert confusion_matrix(predictions).tolist() == [[0, 0], [0, 1]]
    assert predicted_classes(predictions).tolist() == [0, 1, 1]
