"""Whether the files in an evaluation's folder are of one evaluation: a copy may have put those of two together."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

from evaluate.results.content import other_frames
from evaluate.results.folder import SAME
from evaluate.results.predictions import FILE as PREDICTIONS
from evaluate.results.predictions import read_about
from evaluate.results.tables import MOST_WORST
from train.report.problems import number

SUMMARY, PER_CLASS, WORST = "summary.json", "per_class.csv", "worst.csv"
NEAR = 0.01  # percent by which the mean of a table's unrounded cells may differ from the mean-class accuracy
Rows = Sequence[Mapping[str, str]]


def mixed_files(
    folder: Path, summary: Mapping[str, Any], scores: Mapping[str, float], classes: Rows, worst: Rows | None
) -> list[str]:
    """A line for each file in the folder of an evaluation that does not fit its summary; none if there is none.

    `scores` are those of the summary, by name; `worst` is None without such a file. What a file or the summary does not
    say is not compared. Nothing tells of which evaluation a picture is.
    """
    if not summary:
        return []
    of_classes = list(_of_classes(summary, scores, classes))
    found = {
        PER_CLASS: of_classes,
        WORST: [] if worst is None else list(_of_worst(summary, scores, [] if of_classes else classes, worst)),
        PREDICTIONS: list(_of_predictions(summary, read_about(folder))),
    }
    return [
        f"{name} does not fit {SUMMARY}, as if it were of another evaluation: {', '.join(whys)}"
        for name, whys in found.items()
        if whys
    ]


def _of_classes(summary: Mapping[str, Any], scores: Mapping[str, float], classes: Rows) -> Iterator[str]:
    counts = [number(row["videos"]) for row in classes]
    hits = [number(row["top1"]) for row, count in zip(classes, counts, strict=True) if count]
    videos, mean = number(summary.get("videos")), scores.get("mean_class")
    if counts and None not in counts and videos is not None and (total := sum(filter(None, counts))) != videos:
        yield f"{total:g} videos, and not {videos:g}"
    known = [hit for hit in hits if hit is not None]
    if not known or len(known) < len(hits) or mean is None:
        return
    if abs((own := sum(known) / len(known)) - mean) > NEAR + _rounding(classes):
        yield f"a mean of top-1 of {own:.2f} %, and not {mean:.2f} %"


def _of_worst(summary: Mapping[str, Any], scores: Mapping[str, float], classes: Rows, worst: Rows) -> Iterator[str]:
    videos, top1 = number(summary.get("videos")), scores.get("top1")
    if videos is not None and top1 is not None:
        wrong = round(videos * (1 - top1 / 100))
        if len(worst) != min(wrong, MOST_WORST):
            yield f"{len(worst)} misclassified videos, and not {min(wrong, MOST_WORST)}"
            return
    rounding = _rounding(classes)
    most = {
        row["class"]: (number(row["videos"]) or 0) * (1 - ((number(row["top1"]) or 0) - rounding) / 100)
        for row in classes
    }
    for label, count in Counter(row["label"] for row in worst).items():
        if most and count > round(most.get(label, 0)):
            yield f"{count} misclassified videos of a class that has {round(most.get(label, 0))} in {PER_CLASS}"
            return


def _rounding(classes: Rows) -> float:
    """The percent by which a spreadsheet may have rounded each top-1, as the digits of the cells tell.

    It leaves zeros out: the cell with the most digits tells.
    """
    digits = [0]
    for row in classes:
        with suppress(InvalidOperation):
            exponent = Decimal(row["top1"].strip() or "nan").as_tuple().exponent
            digits += [-exponent] if isinstance(exponent, int) else []
    return 0.51 * 10.0 ** -max(digits)


def _of_predictions(summary: Mapping[str, Any], about: Mapping[str, Any]) -> Iterator[str]:
    others = [name for name in SAME if name in summary and name in about and summary[name] != about[name]]
    others += ["content of the videos"] if other_frames(summary, about) else []
    if others:
        yield f"another {', '.join(each.replace('_', ' ') for each in others)}"
