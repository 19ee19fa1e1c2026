"""The picture of an evaluation's confusions, confusion.png.

Rows are the true classes, each divided by its number of videos. They are in class order, as in confusion.csv, so that
pictures of two networks can be laid side by side. An order by similarity would differ from network to network.

Up to NUMBERED classes, each cell has its number of videos; up to NAMED, rows and columns have names. With more classes
no names can be read: the strongest confusions are listed instead, beside a small matrix.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator, PercentFormatter

from common.files import atomic_file, write_errors
from evaluate.results.figure_names import families, figure_names
from evaluate.results.outcomes import confusion_matrix
from evaluate.results.predictions import Predictions

FILE = "confusion.png"
NUMBERED, NAMED = 25, 150  # classes
LISTED, FEWEST_ROWS = 40, 24  # confusions in the list, at most; rows of which there is place at least
ROW = 0.205  # inches of a row of the list
DPI = 130
EMPTY = "#e8e8e8"  # the row of a class without videos
COLOURS = "Blues"


class Confusion(NamedTuple):
    """Videos of one class that were taken for another."""

    label: int
    predicted: int
    times: int
    videos: int  # of the class


def write_confusion(folder: Path, predictions: Predictions) -> Path:
    """Draw confusion.png in a folder, which is made if need be, and return its path. DataError if it cannot be written.

    Videos whose class is not known are left out.
    """
    figure = draw_confusion(confusion_matrix(predictions), predictions.classes)
    path = folder / FILE
    with write_errors(path):
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format="png", bbox_inches="tight", pad_inches=0.12)
    return path


def strongest_confusions(matrix: np.ndarray, most: int = LISTED) -> list[Confusion]:
    """The most frequent confusions of a matrix (C, C), by the number of videos, then by their share of the class."""
    videos = matrix.sum(axis=1)
    wrong = matrix * ~np.eye(len(matrix), dtype=bool)
    labels, predicted = np.nonzero(wrong)
    times = wrong[labels, predicted]
    order = np.lexsort((predicted, labels, -times / videos[labels], -times))[:most]
    return [
        Confusion(int(labels[at]), int(predicted[at]), int(times[at]), int(videos[labels[at]])) for at in order.tolist()
    ]


def draw_confusion(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """The picture of a confusion matrix, int64 (C, C), rows and columns in the order of the C class names."""
    number = len(classes)
    if number > NAMED:
        return _draw_list(matrix, classes)
    is_numbered = number <= NUMBERED
    names, unknown = figure_names(classes, 32 if is_numbered else 26)
    pitch = max(0.42, 1.5 / number) if is_numbered else max(0.11, 9 / number)  # inches of a cell
    side = pitch * number
    letters = 9.0 if is_numbered else max(5.0, min(8.0, 60 * pitch))
    figure, axis = _figure_of(side)
    videos = matrix.sum(axis=1)
    shares = _draw_matrix(axis, matrix)
    font: dict[str, Any] = {"family": list(families()), "fontsize": letters}
    axis.set_yticks(range(number), [f"{name} ({n})" for name, n in zip(names, videos.tolist(), strict=True)], **font)
    axis.set_xticks(range(number), names, rotation=90, **font)
    axis.tick_params(length=0, pad=2)
    axis.set_xticks(np.arange(number + 1) - 0.5, minor=True)
    axis.set_yticks(np.arange(number + 1) - 0.5, minor=True)
    axis.grid(which="minor", color="0.88", linewidth=0.4)
    axis.tick_params(which="minor", length=0)
    axis.set_xlabel("predicted class", fontsize=9)
    axis.set_ylabel("true class (videos)", fontsize=9)
    if is_numbered:
        _write_numbers(axis, matrix)
    else:
        scale = axis.inset_axes((1 + 0.15 / side, 1 - 2.5 / side, 0.14 / side, 2.5 / side))
        figure.colorbar(shares, cax=scale, ticks=(0, 0.05, 0.2, 0.5, 1), format=PercentFormatter(1, 0))
        scale.tick_params(labelsize=8)
        scale.set_ylabel("share of the class's videos", fontsize=8)
    _caption(axis, matrix, unknown)
    return figure


def _figure_of(side: float) -> tuple[Figure, Axes]:
    """A figure with a square axis of `side` inches; what is around it is cut to its size when it is written."""
    figure = Figure(figsize=(side + 2, side + 2))
    return figure, figure.add_axes((1 / (side + 2), 1 / (side + 2), side / (side + 2), side / (side + 2)))


def _draw_matrix(axis: Axes, matrix: np.ndarray) -> AxesImage:
    """The shares of each row as colours; small ones are lifted by a square root, or they would not be seen."""
    videos = matrix.sum(axis=1, keepdims=True)
    shares = np.ma.masked_invalid(np.where(videos > 0, matrix / np.maximum(videos, 1), np.nan))
    colours = colormaps[COLOURS].with_extremes(bad=EMPTY)
    return axis.imshow(shares, cmap=colours, norm=PowerNorm(0.5, 0, 1), aspect="auto", interpolation="nearest")


def _write_numbers(axis: Axes, matrix: np.ndarray) -> None:
    videos = matrix.sum(axis=1)
    for row, column in np.argwhere(matrix).tolist():
        colour = "white" if matrix[row, column] > 0.3 * videos[row] else "0.15"
        count = int(matrix[row, column])
        size = 9 if count < 1000 else 7 if count < 100_000 else 5
        axis.text(column, row, str(count), ha="center", va="center", fontsize=size, color=colour)


def _draw_list(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
    """The strongest confusions as bars, and beside them the matrix without names and the top-1 of the classes."""
    found = strongest_confusions(matrix)
    names, unknown = figure_names(classes, 34)
    bar_height = ROW * max(len(found), FEWEST_ROWS)
    figure = Figure(figsize=(8, bar_height))  # in inches, 3.4 of which are the bars and the next part what is beside
    bars = figure.add_axes((0, 0, 3.4 / 8, 1))
    _draw_bars(bars, found, names)
    side = bar_height / 2 - 0.35
    left = 4 / 8
    small = figure.add_axes((left, 1 - side / bar_height, side / 8, side / bar_height))
    _draw_matrix(small, matrix)
    small.set_title("all classes, in class order", fontsize=9, loc="left")
    small.set_xlabel("predicted class", fontsize=8)
    small.set_ylabel("true class", fontsize=8)
    small.tick_params(labelsize=7)
    _draw_curve(figure.add_axes((left, 0, side / 8, (side - 0.3) / bar_height)), matrix)
    _caption(bars, matrix, unknown, lifted=0.3)
    return figure


def _draw_bars(axis: Axes, found: Sequence[Confusion], names: Sequence[str]) -> None:
    places = range(len(found))
    axis.barh(places, [each.times for each in found], color=colormaps[COLOURS](0.65), height=0.72)
    for place, each in enumerate(found):
        text = f" {each.times} of {each.videos} ({100 * each.times / each.videos:.0f} %)"
        axis.text(each.times, place, text, va="center", fontsize=7.5, color="0.25")
    labels = [f"{names[each.label]} → {names[each.predicted]}" for each in found]
    axis.set_yticks(places, labels, family=list(families()), fontsize=7.5)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_ylim(max(len(found), FEWEST_ROWS) - 0.4, -0.6)
    axis.set_xlim(0, 1.35 * max((each.times for each in found), default=1))
    axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    axis.set_xlabel("videos", fontsize=8)
    axis.set_title("strongest confusions (true → predicted)", fontsize=9, loc="left")
    if not found:
        axis.text(
            0.5, 0.5, "no video is misclassified", transform=axis.transAxes, ha="center", va="center", color="0.4"
        )


def _draw_curve(axis: Axes, matrix: np.ndarray) -> None:
    """The top-1 of each class with videos, lowest first."""
    videos = matrix.sum(axis=1)
    top1 = np.sort(100 * np.diag(matrix)[videos > 0] / videos[videos > 0])
    axis.fill_between(np.arange(len(top1)), top1, color=colormaps[COLOURS](0.65), step="mid", linewidth=0)
    axis.set(xlim=(0, max(1, len(top1) - 1)), ylim=(0, 100))
    axis.tick_params(labelsize=7)
    axis.grid(alpha=0.3)
    axis.set_xlabel("classes, lowest top-1 first", fontsize=8)
    axis.set_ylabel("top-1 (%)", fontsize=8)


def _caption(axis: Axes, matrix: np.ndarray, unknown: int, lifted: float = 0.0) -> None:
    """How many videos are right, and what the picture leaves out, above an axis, `lifted` by inches for a title."""
    videos, right = int(matrix.sum()), int(np.trace(matrix))
    empty = int((matrix.sum(axis=1) == 0).sum())
    text = f"{right} of {videos} videos right ({100 * right / videos:.2f} %)" if videos else "no videos of known class"
    text += f"; {empty} of {len(matrix)} classes without videos" if empty else ""
    if unknown:
        text += (
            f"\n{unknown} names are shown as rows of per_class.csv, counted from 0: no font here has all their letters"
        )
    axis.annotate(
        text,
        (0, 1),
        (0, 7 + 72 * lifted),
        xycoords="axes fraction",
        textcoords="offset points",
        va="bottom",
        fontsize=9,
    )
