"""The picture of confusions: if this fails, it has the wrong names or unreadable ones, or an evaluation lacks it."""

import warnings

import cv2
import numpy as np
import pytest

from common.errors import DataError
from evaluate.results.confusion import FILE, NAMED, NUMBERED, draw_confusion, strongest_confusions, write_confusion
from evaluate.results.figure_names import figure_names, is_drawable, short
from evaluate.results.outcomes import confusion_matrix
from tests.evaluate.results.test_outcomes import predictions_of, random_predictions

UNDRAWABLE = "\U0010ffff"  # no character, so no font has it
ODD = ("拍手", "прыжок", "قفز", "a\nb\x1b[31m", "$x$ \\frac{1", "x" * 60, UNDRAWABLE, "<b>")


@pytest.fixture(autouse=True)
def _no_warnings():
    """matplotlib warns of letters that a font lacks, once for each."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.mark.parametrize("number", [1, 2, NUMBERED, NUMBERED + 1, NAMED + 1])
@pytest.mark.parametrize("case", ["half", "right", "wrong", "unknown", "none"])
def test_every_evaluation_has_a_picture(tmp_path, number, case):
    """Hours of work would end in a traceback at the last file."""
    if case != "half" and number == NUMBERED:
        pytest.skip("as with 2")
    predictions = random_predictions(0 if case == "none" else 30, number, first=number // 3)
    predictions.log_probabilities[...] = -3 if case != "half" else predictions.log_probabilities
    if case in ("right", "wrong"):
        rows = np.arange(len(predictions))
        predictions.log_probabilities[rows, (predictions.labels + (case == "wrong")) % number] = -0.1
    if case == "unknown":
        predictions.labels[:] = -1
    path = write_confusion(tmp_path / "new", predictions)
    assert path == tmp_path / "new" / FILE
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 100
    assert path.stat().st_size < 1_000_000


@pytest.mark.parametrize("number", [len(ODD), NAMED + 1])
def test_odd_names_are_drawn(tmp_path, number):
    """A name that is read as a formula ends in an error; letters that no font has are boxes and warnings."""
    names = tuple(f"{ODD[index % len(ODD)]}{index}" for index in range(number))
    predictions = random_predictions(40, number)
    assert draw_confusion(confusion_matrix(predictions), names).axes
    path = write_confusion(tmp_path, predictions_of(predictions.log_probabilities, predictions.labels, names))
    assert cv2.imread(str(path)) is not None


def test_rows_and_columns_have_the_names_of_their_classes():
    """A user would mend the wrong class."""
    matrix = np.array([[3, 1, 0], [0, 4, 0], [0, 0, 0]])
    (axis,) = draw_confusion(matrix, ("run", UNDRAWABLE, "$5")).axes
    assert [text.get_text() for text in axis.get_yticklabels()] == ["run (4)", "class 1 (4)", r"\$5 (0)"]
    assert [text.get_text() for text in axis.get_xticklabels()] == ["run", "class 1", r"\$5"]
    assert {(text.get_position(), text.get_text()) for text in axis.texts if text.get_text().isdigit()} == {
        ((0, 0), "3"), ((1, 0), "1"), ((1, 1), "4"),
    }  # fmt: skip
    shares = axis.images[0].get_array()
    assert shares[:2].tolist() == [[0.75, 0.25, 0], [0, 1, 0]]
    assert shares.mask[2].all()


def test_the_strongest_confusions_are_listed():
    """With 700 classes nothing else tells which they are."""
    number = NAMED + 1
    matrix = np.diag(np.full(number, 10))
    matrix[5, 7], matrix[9, 2], matrix[1, 0], matrix[3, 4] = 4, 6, 4, 1
    matrix[1, 1] = 2
    found = strongest_confusions(matrix, 3)
    assert [(each.label, each.predicted, each.times, each.videos) for each in found] == [
        (9, 2, 6, 16), (1, 0, 4, 6), (5, 7, 4, 14),
    ]  # fmt: skip
    bars, *_ = draw_confusion(matrix, [f"name {index}" for index in range(number)]).axes
    labels = [text.get_text() for text in bars.get_yticklabels()]
    assert labels == ["name 9 → name 2", "name 1 → name 0", "name 5 → name 7", "name 3 → name 4"]
    assert [patch.get_width() for patch in bars.patches] == [6, 4, 4, 1]


def test_names_are_short_and_told_apart():
    """Many datasets have names that differ only at their end."""
    names, unknown = figure_names(["pushing something from left to right", "pushing something from right to left"], 20)
    assert unknown == 0
    assert all(len(name) <= 20 for name in names)
    assert names[0] != names[1]
    assert short("x" * 20, 20) == "x" * 20
    assert is_drawable("прыжок")
    assert not is_drawable(UNDRAWABLE)


def test_a_picture_that_cannot_be_written_is_one_error(tmp_path):
    """A traceback would hide that a folder has its name."""
    (tmp_path / FILE).mkdir()
    with pytest.raises(DataError, match=FILE):
        write_confusion(tmp_path, random_predictions(5, 2))
