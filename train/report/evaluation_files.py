"""The folders `evaluation_<split>_<clips>x<crops>` of a run: scores, classes, confusions, worst videos."""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from common.errors import DataError
from common.files import open_plain
from evaluate.comparison.later_weights import later_weights
from train.report.mixed_files import mixed_files
from train.report.problems import Problems, inside, number, read_json, read_table

NAME = re.compile(r"evaluation_(.+)_(\d+)x(\d+)")
SUMMARY, PER_CLASS, CONFUSION, WORST = "summary.json", "per_class.csv", "confusion.png", "worst.csv"
PER_CLASS_COLUMNS = ("class", "videos", "top1", "top5", "most_confused_with", "times")
WORST_COLUMNS = ("id", "label", "probability", "predicted", "predicted_probability", "path")
LARGEST_PICTURE = 4 * 2**20  # bytes
MOST_WARNINGS = 20  # of a summary
PNG = b"\x89PNG\r\n\x1a\n"


class Value(NamedTuple):
    """A score, and the interval that it is in with some confidence, if the evaluation says one."""

    value: float
    low: float | None = None
    high: float | None = None


Scores = dict[str, Value]


@dataclass
class EvaluationFiles:
    """The files of an evaluation; what is missing is empty."""

    folder: Path
    split: str
    views: tuple[int, int]  # clips and crops of each video
    time: float  # when it was done, in seconds since 1970
    summary: dict[str, Any] = field(default_factory=dict)
    classes: list[dict[str, str]] = field(default_factory=list)
    confusion: bytes = b""  # a PNG
    worst: list[dict[str, str]] | None = None  # None: there is no list
    warnings: list[str] = field(default_factory=list)
    """Why the scores may not be what they seem."""

    @property
    def scores(self) -> dict[str, Scores]:
        """The scores by the number of clips; those of all clips may have intervals."""
        fewer = dict(_score_sets(self.summary.get("by_clips"), ""))
        return fewer | dict(_score_sets(self.summary.get("scores"), str(self.views[0])))

    @property
    def best_scores(self) -> Scores:
        """The scores with the most clips."""
        sets = self.scores
        return sets[max(sets, key=lambda clips: number(clips) or 0)] if sets else {}


def read_evaluations(folder: Path, problems: Problems) -> list[EvaluationFiles]:
    """The evaluations in the folder of a run, the newest first; what cannot be read is noted and left out."""
    found = []
    with problems.noted(folder):
        for path in sorted(folder.iterdir()):
            if (match := NAME.fullmatch(path.name)) and path.is_dir():
                views = int(match[2][:9]), int(match[3][:9])
                with problems.noted(path, "the evaluation"):
                    found.append(_read(inside(folder, path), match[1], views, problems))
    return sorted(found, key=lambda each: each.time, reverse=True)


def _read(folder: Path, split: str, views: tuple[int, int], problems: Problems) -> EvaluationFiles:
    run, result = folder.parent, EvaluationFiles(folder, split, views, folder.stat().st_mtime)
    with problems.noted(folder / SUMMARY, "its scores"):
        result.summary = read_json(inside(run, folder / SUMMARY))
        result.time = _time_of(folder, result.summary.get("date"))
        result.warnings = _warnings(result)
    with problems.noted(folder / PER_CLASS, "the table of classes"):
        result.classes = read_table(inside(run, folder / PER_CLASS), PER_CLASS_COLUMNS)
    with problems.noted(folder / CONFUSION, "the picture"):
        with open_plain(inside(run, folder / CONFUSION), LARGEST_PICTURE) as file:
            content = file.read()
        if not content.startswith(PNG):
            raise DataError(f"{folder / CONFUSION} is no PNG picture")
        result.confusion = content
    with problems.noted(folder / WORST, "the list of the worst videos"):
        result.worst = read_table(inside(run, folder / WORST), WORST_COLUMNS)
    scores = {name: each.value for name, each in result.best_scores.items()}
    mixed = mixed_files(folder, result.summary, scores, result.classes, result.worst)
    problems.notes += (f"{folder.name}: {line}" for line in mixed)
    result.warnings = [*mixed, *result.warnings]
    return result


def _warnings(evaluation: EvaluationFiles) -> list[str]:
    """What the summary warns of, and whether the checkpoint has other weights by now."""
    given = evaluation.summary.get("warnings")
    found = [each for each in given if isinstance(each, str) and each] if isinstance(given, list) else []
    line = later_weights(evaluation.summary, evaluation.folder.parent, evaluation.time)
    return [*([line] if line else []), *found[:MOST_WARNINGS]]


def _time_of(folder: Path, date: object) -> float:
    """When an evaluation was done: a copy of its folder may be newer."""
    with suppress(ValueError, TypeError, OverflowError):
        return datetime.fromisoformat(str(date)).timestamp()
    return (folder / SUMMARY).stat().st_mtime


def _score_sets(scores: object, clips: str, depth: int = 3) -> Iterator[tuple[str, Scores]]:
    """{"top1": number or {"value", "low", "high"}}, or such a thing for each number of clips, in a dict or a list."""
    if isinstance(scores, list):
        for entry in scores:
            yield from _score_sets(entry, clips, depth - 1) if depth else ()
        return
    if not isinstance(scores, Mapping) or not depth:
        return
    found = {str(name): value for name, entry in scores.items() if (value := _value(entry)) is not None}
    of_clips = found.pop("clips", None)
    if found:
        yield (f"{of_clips.value:g}" if of_clips else clips), found
        return
    for name, entry in scores.items():
        digits = re.search(r"\d+", str(name))
        yield from _score_sets(entry, digits[0] if digits else clips, depth - 1)


def _value(entry: object) -> Value | None:
    if isinstance(entry, Mapping):
        value = number(entry.get("value"))
        return None if value is None else Value(value, number(entry.get("low")), number(entry.get("high")))
    value = number(entry)
    return None if value is None else Value(value)
