"""The section of the data passport: what the videos of each split are."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from train.report.evaluation_files import EvaluationFiles
from train.report.markup import Html, joined, table, tag
from train.report.run_files import PASSPORT, RunFiles
from train.report.run_parts import Section

LABELS = {
    "source": "read from",
    "labelled_videos": "labelled videos",
    "videos": "videos used",
    "absent": "not on disk",
    "unusable": "cannot be used",
    "unusable_reasons": "why not",
    "ids": "hash of the ids",
    "classes": "classes",
    "classes_with_videos": "classes with videos",
    "frames": "frames of a video",
    "sampled": "videos looked at",
    "unreadable": "of these, unreadable",
    "unreadable_reasons": "why unreadable",
    "sizes": "sizes",
    "rates": "frames a second",
    "rate_range": "range of the rates",
    "jpeg_qualities": "JPEG quality",
}
SHARES = {"sizes", "rates", "jpeg_qualities"}
MOST_FACTS = 60
MOST_SPLITS = 12


def passport_section(run: RunFiles, evaluations: Sequence[EvaluationFiles]) -> Section:
    """A column for each split, and one more where an evaluation's videos are others than the run's."""
    columns: list[tuple[str, str, dict[str, Any]]] = []  # split, where it is from, facts
    sources = [(PASSPORT, run.passport), *((each.folder.name, each.summary.get("passport")) for each in evaluations)]
    for source, passport in sources:
        for split, facts in _splits(passport):
            if (split, facts) not in [(other, known) for other, _, known in columns]:
                columns.append((split, source, facts))
    columns = columns[:MOST_SPLITS]
    if not columns:
        return Section("data", "Data", Html(""), "the run and its evaluations have no data passport")
    names = list(dict.fromkeys([*LABELS, *(name for _, _, facts in columns for name in facts)]))
    names = [name for name in names if any(_is_said(facts.get(name)) for _, _, facts in columns)][:MOST_FACTS]
    lines = [
        (LABELS.get(name, name.replace("_", " ")), *(_fact(name, facts.get(name)) for _, _, facts in columns))
        for name in names
    ]
    heads = ["", *(joined((split, tag("small", source))) for split, source, _ in columns)]
    return Section("data", "Data", table(heads, lines, "plain"))


def _splits(passport: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """The splits of a passport: a dict of them, or the facts of one that names its split."""
    if not isinstance(passport, Mapping):
        return
    if isinstance(passport.get("split"), str):
        yield passport["split"], {str(name): value for name, value in passport.items() if name != "split"}
        return
    for split, facts in passport.items():
        if isinstance(facts, Mapping):
            yield str(split), {str(name): value for name, value in facts.items() if name != "split"}


def _is_said(value: object) -> bool:
    return value is not None and value not in ({}, [], "")


def _fact(name: str, value: object) -> str:
    if not _is_said(value):
        return ""
    if isinstance(value, Mapping) and {"min", "median", "max"} == value.keys():
        return f"{_plain(value['min'])} to {_plain(value['max'])}, median {_plain(value['median'])}"
    if isinstance(value, Mapping):
        return ", ".join(
            f"{key} ({_share(each)})" if name in SHARES else f"{key}: {_plain(each)}" for key, each in value.items()
        )
    if isinstance(value, list):
        return (" to " if name == "rate_range" else ", ").join(map(_plain, value))
    return _plain(value)


def _share(value: object) -> str:
    return f"{100 * value:.0f} %" if isinstance(value, int | float) else _plain(value)


def _plain(value: object) -> str:
    if isinstance(value, list | Mapping):  # nested, which no passport is: Python may not show it
        return f"{len(value)} values"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.5g}"
