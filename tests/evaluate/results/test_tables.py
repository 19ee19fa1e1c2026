"""per_class.csv, confusion.csv and worst.csv: if this fails, a paper's table has wrong numbers or another class's."""

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from evaluate.results import tables
from evaluate.results.tables import CONFUSION, PER_CLASS, PER_CLASS_COLUMNS, WORST, WORST_COLUMNS, write_tables
from tests.evaluate.results.test_outcomes import predictions_of, random_predictions

ODD_NAMES = ("a, b", 'say "x"', "two\nlines", "back\rforth", "=1+1", " edge ", "拍手", "a;b")


def read(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_each_class_has_its_scores(tmp_path):
    """Of six classes: one right twice, once only in the top 5; one always taken for another; one without videos."""
    scores = np.eye(6)[[0, 0, 2, 2, 2, 5, 3, 4, 1]] * 4
    scores[2] -= 9 * np.eye(6)[0]  # its own class has the lowest score of six
    labels = [0, 0, 0, 2, 2, 2, 4, 4, 5]
    write_tables(tmp_path, predictions_of(scores, labels))
    head, *rows = read(tmp_path / PER_CLASS)
    assert tuple(head) == PER_CLASS_COLUMNS
    assert rows[0] == ["class 0", "3", "66.6667", "66.6667", "class 2", "1"]
    assert rows[1] == ["class 1", "0", "", "", "", "0"]
    assert rows[2][:4] == ["class 2", "3", "66.6667", rows[2][3]]
    assert rows[2][4:] == ["class 5", "1"]
    assert rows[3] == ["class 3", "0", "", "", "", "0"]
    assert rows[4][4:] == ["class 3", "1"]
    assert rows[5][:3] == ["class 5", "1", "0.0000"]


def test_a_class_that_is_always_right_is_confused_with_none(tmp_path):
    """It would be said to be confused with the first class."""
    write_tables(tmp_path, predictions_of(np.eye(3) * 5, [0, 1, 2]))
    assert [row[2:] for row in read(tmp_path / PER_CLASS)[1:]] == [["100.0000", "100.0000", "", "0"]] * 3
    assert read(tmp_path / WORST) == [list(WORST_COLUMNS)]


def test_the_matrix_is_read_back(tmp_path):
    """Rows and columns would be exchanged, or shifted by the column of names."""
    predictions = predictions_of(np.eye(3)[[0, 1, 1, 2]] * 5, [0, 0, 0, 1])
    write_tables(tmp_path, predictions)
    head, *rows = read(tmp_path / CONFUSION)
    assert head[1:] == [row[0] for row in rows] == list(predictions.classes)
    assert [[int(cell) for cell in row[1:]] for row in rows] == [[1, 2, 0], [0, 0, 1], [0, 0, 0]]


def test_odd_class_names_are_read_back(tmp_path):
    """A comma in a name would shift the scores of its class by a column, a line break by a row."""
    number = len(ODD_NAMES)
    predictions = predictions_of(np.roll(np.eye(number), 1, axis=1) * 5, range(number), ODD_NAMES)
    write_tables(tmp_path, predictions)
    assert tuple(row[0] for row in read(tmp_path / PER_CLASS)[1:]) == ODD_NAMES
    assert tuple(read(tmp_path / CONFUSION)[0][1:]) == ODD_NAMES
    worst = read(tmp_path / WORST)[1:]
    assert {row[1] for row in worst} == {row[3] for row in worst} == set(ODD_NAMES)


def test_a_name_that_is_not_utf8_can_be_written(tmp_path):
    """An evaluation of hours would end in a traceback at its last step."""
    name = os.fsdecode(b"caf\xe9")
    write_tables(tmp_path, predictions_of([[5, 0], [5, 0]], [0, 1], (name, "b")))
    assert read(tmp_path / PER_CLASS)[1][0] == "caf\\udce9"


def test_the_worst_videos_come_first(tmp_path, monkeypatch):
    """A user who looks for wrong labels would look at the wrong videos, or at right ones."""
    monkeypatch.setattr(tables, "MOST_WORST", 3)
    scores = [[0, 1], [9, 0], [0, 3], [0, 2], [4, 0], [0, 7]]
    predictions = predictions_of(scores, [0, 0, 0, 0, 1, -1])
    write_tables(tmp_path, predictions, [Path("videos") / f"{row}.mp4" for row in range(6)])
    rows = read(tmp_path / WORST)[1:]
    assert [row[0] for row in rows] == ["c/0004", "c/0002", "c/0003"]
    assert [row[5] for row in rows] == ["videos/4.mp4", "videos/2.mp4", "videos/3.mp4"]
    assert [(row[1], row[3]) for row in rows] == [("class 1", "class 0"), *[("class 0", "class 1")] * 2]
    own, best = float(rows[0][2]), float(rows[0][4])
    assert own == pytest.approx(np.exp(predictions.log_probabilities[4, 1]), rel=1e-5)
    assert own + best == pytest.approx(1, abs=1e-5)


def test_only_the_places_of_the_worst_are_looked_up(tmp_path):
    """Of a million videos, the other paths need not be made."""

    class Places(list):
        def __getitem__(self, row):
            assert row == 1
            return "one"

    write_tables(tmp_path, predictions_of([[5, 0], [5, 0], [5, 0]], [0, 1, 0]), Places())
    assert read(tmp_path / WORST)[1][5] == "one"


def test_no_videos_and_unknown_classes_give_tables_without_scores(tmp_path):
    """An evaluation of videos without labels would end in an error after its work."""
    for predictions in (predictions_of(np.zeros((0, 2)), [], ("a", "b")), predictions_of([[5, 0]], [-1], ("a", "b"))):
        write_tables(tmp_path, predictions)
        assert [row[1:] for row in read(tmp_path / PER_CLASS)[1:]] == [["0", "", "", "", "0"]] * 2
        assert len(read(tmp_path / WORST)) == 1


def test_a_second_run_replaces_the_tables(tmp_path):
    """Tables of two evaluations would be mixed."""
    folder = tmp_path / "new" / "evaluation"
    write_tables(folder, random_predictions(20, 4))
    again = write_tables(folder, predictions_of(np.eye(2), [0, 1]))
    assert sorted(folder.iterdir()) == sorted(again)
    assert len(read(folder / PER_CLASS)) == 3


def test_what_cannot_be_written_is_one_error(tmp_path):
    """A traceback would hide that a folder has the table's name, or that a file has the folder's."""
    (tmp_path / CONFUSION).mkdir()
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(DataError, match=folder.name):
            write_tables(folder, random_predictions(5, 2))
