"""Predictions of several evaluations: where their files are, and the videos that all of them have."""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted
from evaluate.comparison.later_weights import later_weights
from evaluate.results.predictions import FILE, Predictions, read_about, read_predictions
from evaluate.results.summary import SUMMARY, read_summary

OWN = ("split", "dataset", "clips", "crops")  # what a summary has as its predictions have it, beside the weights
EVALUATION = re.compile(
    r"(evaluation_.+_\d+x\d+)(?!\d).*"
)  # the name of an evaluation's folder; group 1: split and views
EARLIER = re.compile(r"\.before(-\d+)?$")  # of one that another has taken the place of: only if it is named


@dataclass(frozen=True, eq=False)
class Source:
    """Predictions and the file that they are from."""

    path: Path
    predictions: Predictions
    chosen: str = ""
    """A line if it was chosen among several evaluations of a run."""

    @property
    def name(self) -> str:
        """The path for a message: without the file's usual name."""
        return str(self.path.parent if self.path.name == FILE and self.path.parent.name else self.path)

    @property
    def time(self) -> float:
        """When it was written, in seconds since 1970; as a copy is newer, the date of the summary beside it counts."""
        written = self.path.stat().st_mtime
        date = _date_of(self.path, self.predictions.about)
        return written if date is None else min(written, date)


@dataclass(frozen=True, eq=False)
class Matched:
    """The predictions of several sources on the videos that all of them have, with one order of classes."""

    predictions: tuple[Predictions, ...]
    left_out: tuple[int, ...]  # videos of each source that are not in all others
    unlabelled: int  # videos of all whose class is not known: left out, too
    reordered: tuple[int, ...]  # numbers of the sources whose classes were in another order than those of the first


def read_sources(paths: Sequence[Path], evaluation: str | None = None) -> list[Source]:
    """Read predictions, each from a file, an evaluation's folder or a run's: `find_predictions`."""
    found = [find_predictions(path, evaluation) for path in paths]
    return [Source(file, read_predictions(file), chosen) for file, chosen in found]


def check_name(evaluation: str | None, paths: Sequence[Path]) -> None:
    """DataError if the value of --evaluation is no name of a folder, or has nothing to choose from."""
    if evaluation is None:
        return
    if Path(evaluation).name != evaluation:
        raise DataError(f"--evaluation {evaluation}: give the name of a folder in the runs")
    if not any(what_is_at(path) == "folder" and not what_is_at(path / FILE) for path in paths):
        raise DataError("--evaluation chooses an evaluation of a run, and no path is the folder of a run")


def find_predictions(path: Path, evaluation: str | None = None) -> tuple[Path, str]:
    """The file of predictions that a path means: itself, that of an evaluation's folder, or that of a run's evaluation.

    A run may have several evaluations, of other splits or views: `evaluation` is the name of the folder to take.
    DataError if there is none, or if there are several and no name. Of several of one split and views: the newest by
    the dates in their summaries, with a line that says which.
    """
    there = what_is_at(path)
    if not there:
        raise DataError(f"there is no {path}: give a file {FILE}, or the folder of an evaluation or run")
    if there != "folder" or what_is_at(path / FILE):
        return (path / FILE if there == "folder" else path), ""
    if evaluation is not None:
        if not what_is_at(path / evaluation / FILE):
            raise DataError(f"{path} has no {evaluation}/{FILE}; {_listing(path)}")
        return path / evaluation / FILE, ""
    found = _evaluations(path)
    kinds = {match[1] for file in found if (match := EVALUATION.fullmatch(file.parent.name))}
    if not found:
        raise DataError(f"{path} has no {FILE}, and no evaluation_*/{FILE}: evaluate the run first")
    if len(kinds) > 1:
        raise DataError(f"{path} has several evaluations, choose one with --evaluation: {_listing(path)}")
    if len(found) == 1:
        return found[0], ""
    newest = max(found, key=_date_and_change)
    others = [file.parent.name for file in found if file != newest]
    more = f"{', '.join(others[:3])}{' ...' if len(others) > 3 else ''}"
    return newest, f"{path}: its newest evaluation, {newest.parent.name}, is taken, and not {more}"


def _date_and_change(file: Path) -> tuple[float, int]:
    """When predictions were made, and when the file was written: a copy is newer, and its date tells."""
    written = file.stat()
    date = _date_of(file, read_about(file.parent))
    return written.st_mtime if date is None else date, written.st_mtime_ns


def _date_of(file: Path, about: Mapping[str, Any]) -> float | None:
    """When predictions were made, in seconds since 1970, by the summary beside them; None if it does not tell."""
    with suppress(ValueError, OverflowError, OSError):
        return datetime.fromisoformat(str(summary_of(file, about).get("date"))).timestamp()
    return None


def summary_of(file: Path, about: Mapping[str, Any]) -> Mapping[str, Any]:
    """The summary beside predictions; empty if there is none, or if it is of other weights, videos or views."""
    found = read_summary(file.with_name(SUMMARY)) or {}
    is_its_own = found.get("weights_digest") == about.get("weights_digest")
    is_its_own = is_its_own and all(found.get(name, about.get(name)) == about.get(name) for name in OWN)
    return found if is_its_own else {}


def _evaluations(run: Path) -> list[Path]:
    found = (file for file in run.glob(f"evaluation_*/{FILE}") if EVALUATION.fullmatch(file.parent.name))
    return sorted(file for file in found if not EARLIER.search(file.parent.name))


def _listing(run: Path) -> str:
    names = [file.parent.name for file in _evaluations(run)]
    return f"it has {', '.join(names[:10])}{' ...' if len(names) > 10 else ''}" if names else "it has no evaluations"


def match_videos(sources: Sequence[Source]) -> Matched:
    """The predictions of all sources on the videos that all have. Videos are known by id, classes by name.

    DataError if the sources have other classes, if a video has other classes in two of them, or none is in all.
    """
    first = sources[0]
    ordered = [_with_classes(source, first) for source in sources]
    common = first.predictions.ids
    for predictions in ordered[1:]:
        common = np.intersect1d(common, predictions.ids)
    if not len(common):
        examples = ", ".join(f"{source.name}: {_example(source.predictions.ids)}" for source in sources[:2])
        raise DataError(f"there is no video that all of the {len(sources)} have, such as {examples}")
    chosen = [_rows(predictions, common) for predictions in ordered]
    for source, predictions in zip(sources, chosen, strict=True):
        _check_labels(first, source, chosen[0], predictions)
    known = np.all([predictions.labels >= 0 for predictions in chosen], axis=0)
    if not known.any():
        raise DataError(f"the class of none of the {len(common)} videos is known in all of the {len(sources)}")
    return Matched(
        tuple(_rows(predictions, common[known]) for predictions in chosen),
        tuple(len(source.predictions) - len(common) for source in sources),
        int((~known).sum()),
        tuple(i for i, each in enumerate(sources) if each.predictions.classes != first.predictions.classes),
    )


def left_out(sources: Sequence[Source], matched: Matched) -> list[str]:
    """Which evaluations were chosen, and what `match_videos` has left out or put into another order, a line each."""
    found = [source.chosen for source in sources if source.chosen]
    found += [
        f"{count} of the {len(source.predictions)} videos of {source.name} are not in all others, and left out"
        for source, count in zip(sources, matched.left_out, strict=True)
        if count
    ]
    if matched.unlabelled:
        found.append(f"{matched.unlabelled} videos without a known class are left out")
    return found + [
        f"{sources[number].name} has the classes in another order; they are matched by name"
        for number in matched.reordered
    ]


def outlived(sources: Sequence[Source]) -> list[str]:
    """A line for each of the sources whose checkpoint has other weights by now: `later_weights`."""
    found = []
    for source in sources:
        if line := later_weights(source.predictions.about, source.path.parent.parent, source.time):
            found.append(f"{source.name}: {line}")
    return found


def _example(ids: np.ndarray) -> str:
    return quoted(str(ids[0])) if len(ids) else "no videos"


def _with_classes(source: Source, first: Source) -> Predictions:
    """The predictions with the classes in the order of the first source; DataError if they are others."""
    own, classes = source.predictions.classes, first.predictions.classes
    if own == classes:
        return source.predictions
    if others := set(own) ^ set(classes):
        name = min(others)
        has, lacks = (source, first) if name in own else (first, source)
        raise DataError(
            f"{has.name} has the class {quoted(name)} and {lacks.name} has not ({len(others)} classes differ): "
            "compare and combine evaluations of the same classes"
        )
    columns = np.array([own.index(name) for name in classes])
    position = np.append(np.argsort(columns), -1)  # of each own class in `classes`; the last for -1
    predictions = source.predictions
    scores = predictions.log_probabilities[:, columns]
    return Predictions(predictions.ids, position[predictions.labels], classes, scores, predictions.about)


def _rows(predictions: Predictions, ids: np.ndarray) -> Predictions:
    """The predictions of these videos, which are among them, in the order given."""
    order = np.argsort(predictions.ids)
    rows = order[np.searchsorted(predictions.ids, ids, sorter=order)]
    scores = predictions.log_probabilities[rows]
    return Predictions(ids, predictions.labels[rows], predictions.classes, scores, predictions.about)


def _check_labels(first: Source, source: Source, one: Predictions, other: Predictions) -> None:
    differ = (one.labels != other.labels) & (one.labels >= 0) & (other.labels >= 0)
    if differ.any():
        row = int(np.flatnonzero(differ)[0])
        raise DataError(
            f"{first.name} and {source.name} have other classes for {int(differ.sum())} of {len(one)} videos, such as "
            f"{quoted(str(one.ids[row]))}: {quoted(one.classes[one.labels[row]])} and "
            f"{quoted(other.classes[other.labels[row]])}; they were evaluated with other label files"
        )
