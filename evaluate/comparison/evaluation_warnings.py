"""What evaluations warn of in their own summaries, such as videos that their weights were trained on."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from common.text import shortened
from evaluate.comparison.prediction_files import Source, summary_of
from evaluate.results.trained_texts import trained_share

MOST = 20  # of an evaluation
LONGEST = 1000  # characters
SHOWN = 2  # names of evaluations in a line


def warnings_of(source: Source) -> list[str]:
    """The warnings in the summary beside predictions, if it is theirs; of an ensemble, those that its parts had."""
    about = source.predictions.about
    given = [*_texts(summary_of(source.path, about).get("warnings")), *_of_parts(about)]
    return [shortened(each, LONGEST) for each in list(dict.fromkeys(given))[:MOST]]


def repeated(sources: Sequence[Source]) -> list[str]:
    """The warnings of all sources, a line each, with the names of the sources that have it."""
    names = dict[str, list[str]]()
    for source in sources:
        for warning in warnings_of(source):
            names.setdefault(warning, []).append(source.name)
    return [f"{_listed(having)}: {warning}" for warning, having in names.items()]


def trained_on(source: Source) -> tuple[float, str]:
    """The largest share of the videos that a warning says to be training videos of the weights, and that warning."""
    return max(((trained_share(each), each) for each in warnings_of(source)), default=(0.0, ""))


def _of_parts(about: Mapping[str, Any]) -> Iterator[str]:
    parts = about.get("parts")
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Mapping):
            for warning in _texts(part.get("warnings")):
                yield f"{part.get('path')}: {warning}"


def _texts(given: object) -> list[str]:
    return [each for each in given if isinstance(each, str) and each] if isinstance(given, list) else []


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
