"""The tables of an evaluation: per_class.csv, confusion.csv and worst.csv."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from common.files import atomic_file, write_errors
from evaluate.results.outcomes import confusion_matrix, hits, predicted_classes
from evaluate.results.predictions import Predictions

PER_CLASS, CONFUSION, WORST = "per_class.csv", "confusion.csv", "worst.csv"
PER_CLASS_COLUMNS = ("class", "videos", "top1", "top5", "most_confused_with", "times")
WORST_COLUMNS = ("id", "label", "probability", "predicted", "predicted_probability", "path")
TRUE_CLASS = "true class"  # the head of the first column of confusion.csv
MOST_WORST = 1000  # rows of worst.csv


def write_tables(folder: Path, predictions: Predictions, paths: Sequence[str | Path] | None = None) -> list[Path]:
    """Write the three tables to a folder, which is made if need be, and return their paths.

    `paths` are the places of the videos, in their order; only those of the videos in worst.csv are looked at. Videos
    whose class is not known are in none of the tables. DataError if a file cannot be written.
    """
    matrix = confusion_matrix(predictions)
    tables = {
        PER_CLASS: (PER_CLASS_COLUMNS, per_class_rows(predictions, matrix)),
        CONFUSION: ((TRUE_CLASS, *predictions.classes), confusion_rows(predictions, matrix)),
        WORST: (WORST_COLUMNS, worst_rows(predictions, paths)),
    }
    for name, (columns, rows) in tables.items():
        write_csv(folder / name, [columns, *rows])
    return [folder / name for name in tables]


def per_class_rows(predictions: Predictions, matrix: np.ndarray) -> list[tuple[object, ...]]:
    """A row a class, in class order, with the columns PER_CLASS_COLUMNS; `matrix` as of `confusion_matrix`.

    Scores are in percent. A class without videos has none.
    """
    is_hit = hits(predictions)
    known = predictions.labels >= 0
    labels, number = predictions.labels[known], len(predictions.classes)
    first = np.bincount(labels, is_hit[known, 0], number)
    among = np.bincount(labels, is_hit[known].any(axis=1), number)
    rows: list[tuple[object, ...]] = []
    for index, (name, counts) in enumerate(zip(predictions.classes, matrix, strict=True)):
        videos = int(counts.sum())
        if not videos:
            rows.append((name, 0, "", "", "", 0))
            continue
        others = counts.copy()
        others[index] = 0
        other = int(others.argmax())
        confused = (predictions.classes[other], int(others[other])) if others[other] else ("", 0)
        rows.append((name, videos, _percent(first[index], videos), _percent(among[index], videos), *confused))
    return rows


def confusion_rows(predictions: Predictions, matrix: np.ndarray) -> list[tuple[object, ...]]:
    """A row a class, in class order: its name, and how many of its videos were given each class."""
    return [(name, *counts) for name, counts in zip(predictions.classes, matrix.tolist(), strict=True)]


def worst_rows(predictions: Predictions, paths: Sequence[str | Path] | None = None) -> list[tuple[object, ...]]:
    """The misclassified videos, lowest probability of their own class first, with the columns WORST_COLUMNS.

    At most MOST_WORST of them.
    """
    wrong = np.flatnonzero((predictions.labels >= 0) & ~hits(predictions)[:, 0])
    own = predictions.log_probabilities[wrong, predictions.labels[wrong]]
    wrong = wrong[np.argsort(own, kind="stable")[:MOST_WORST]]
    predicted = predicted_classes(predictions)
    rows: list[tuple[object, ...]] = []
    for row in wrong.tolist():
        label, best = int(predictions.labels[row]), int(predicted[row])
        scores = predictions.log_probabilities[row]
        named = (predictions.classes[label], _probability(scores[label]))
        given = (predictions.classes[best], _probability(scores[best]))
        rows.append((str(predictions.ids[row]), *named, *given, "" if paths is None else str(paths[row])))
    return rows


def _percent(part: float, whole: int) -> str:
    return f"{100 * part / whole:.4f}"


def _probability(log_probability: np.floating) -> str:
    return f"{min(1.0, float(np.exp(np.float64(log_probability)))):.6g}"


def write_csv(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write rows to a CSV file. DataError if it cannot be written."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        # Names of files may hold bytes that are not UTF-8, which are written as \udcff. Lines end in CR LF: the writer
        # then quotes names with either of them.
        with (
            atomic_file(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
        ):
            csv.writer(file).writerows(rows)
