"""Whether evaluations are of different official splits, so that their mean is one over splits."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from common.errors import DataError
from common.text import quoted
from evaluate.comparison.about_differences import same_weights
from evaluate.comparison.evaluation_warnings import trained_on
from evaluate.comparison.prediction_files import Source
from evaluate.comparison.seeds import runs_of

LARGEST_OVERLAP = 0.5  # of the smaller split's videos; test videos of HMDB-51's splits are the same in part
MOST_TRAINED = 0.1  # of a split's videos; a recording that lists have on both sides is told, and not refused


def check_splits(sources: Sequence[Source]) -> None:
    """DataError unless there are two or more, of the same classes, of other videos, and of weights of their own.

    The weights trained on one split have seen the test videos of the others: their scores there are no test scores.
    """
    if len(sources) < 2:
        raise DataError("--splits: give the evaluations of two or more splits")
    for source in sources:
        if not (source.predictions.labels >= 0).any():
            raise DataError(f"{source.name} has no videos of a known class")
        share, warning = trained_on(source)
        if share > MOST_TRAINED:
            raise DataError(f"{source.name} has no test scores: {warning}")
    for one, other in combinations(sources, 2):
        if one.path.samefile(other.path):
            raise DataError(f"{other.name} is given twice: give each split once")
        if others := set(one.predictions.classes) ^ set(other.predictions.classes):
            raise DataError(
                f"{one.name} and {other.name} have different classes, such as {quoted(min(others))} in one of them: "
                "they are no splits of one dataset"
            )
        ids, other_ids = one.predictions.ids, other.predictions.ids
        common = len(np.intersect1d(ids, other_ids))
        if common > LARGEST_OVERLAP * min(len(ids), len(other_ids)):
            raise DataError(
                f"{one.name} and {other.name} have {common} videos in common, of {len(ids)} and {len(other_ids)}: "
                "they are of the same split"
            )
        if weights := same_weights([one.predictions], [other.predictions]):
            raise DataError(
                f"{one.name} and {other.name} are of the same weights, {weights}: each split needs a training of its "
                "own, as one split's training has the test videos of others"
            )
        if runs_of(one.predictions.about) & runs_of(other.predictions.about):
            raise DataError(
                f"{one.name} and {other.name} are of one run: each split needs a training of its own, as one split's "
                "training has the test videos of others"
            )
