"""Which class each video of an evaluation was given, and whether its own was among the best."""

import numpy as np
import torch

from evaluate.metrics import TOP_K, is_in_top_k
from evaluate.results.predictions import Predictions

BLOCK = 2**13  # videos at a time: their comparisons take C bytes each


def predicted_classes(predictions: Predictions) -> np.ndarray:
    """The class with the best score of each video, int64 (N,).

    Where the video's own class has the best score together with others, the first of those: as in `is_in_top_k`, a tie
    is no hit.
    """
    found = np.zeros(len(predictions), np.int64)
    for first in range(0, len(predictions), BLOCK):
        block = slice(first, first + BLOCK)
        scores, labels = predictions.log_probabilities[block], predictions.labels[block]
        best = scores.argmax(axis=1)
        rows = np.arange(len(scores))
        is_tie = (scores == scores[rows, best][:, None]).sum(axis=1) > 1
        # The label is passed over; without one, -1 stands for no class.
        for row in np.flatnonzero(is_tie):
            tied = np.flatnonzero(scores[row] == scores[row, best[row]])
            best[row] = next(each for each in tied if each != labels[row])
        found[block] = best
    return found


def hits(predictions: Predictions) -> np.ndarray:
    """Column k tells whether the video's own class is ranked k (0: the best): bool (N, min(5, C)), see `is_in_top_k`.

    False for a video whose class is not known.
    """
    count, classes = predictions.log_probabilities.shape
    found = np.zeros((count, min(TOP_K, classes)), bool)
    for first in range(0, count, BLOCK):
        block = slice(first, first + BLOCK)
        labels = predictions.labels[block]
        scores = torch.from_numpy(np.ascontiguousarray(predictions.log_probabilities[block]))
        in_block = is_in_top_k(scores, torch.from_numpy(labels.clip(min=0).astype(np.int64))).numpy()
        found[block] = in_block & (labels >= 0)[:, None]
    return found


def confusion_matrix(predictions: Predictions) -> np.ndarray:
    """How many videos of a class (row) were given a class (column): int64 (C, C). Without videos of unknown class."""
    number = len(predictions.classes)
    known = predictions.labels >= 0
    places = predictions.labels[known].astype(np.int64) * number + predicted_classes(predictions)[known]
    return np.bincount(places, minlength=number * number).reshape(number, number)
