"""Several evaluations as one: the ensemble of networks, or the mean over official splits.

    python -m evaluate.fuse A.npz B.npz --weights 0.6 0.4 --output ensemble
    python -m evaluate.fuse --splits split1 split2 split3

Each is a file of predictions, the folder of an evaluation, or that of a run with one evaluation. An ensemble's
probabilities are the mean of those of its parts, on the videos that all have. The last line on standard output is JSON.
"""

import argparse
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from common.cli import CommandParser, StoreText, run_command
from common.console import safe_console
from common.errors import DataError
from common.files import write_errors
from common.json_text import json_text
from common.text import printable
from evaluate.comparison.about_differences import DIGESTS, evaluated_on
from evaluate.comparison.evaluation_warnings import repeated, warnings_of
from evaluate.comparison.own_output import predictions_output
from evaluate.comparison.prediction_files import (
    Matched,
    Source,
    check_name,
    left_out,
    match_videos,
    outlived,
    read_sources,
)
from evaluate.comparison.splits_mean import check_splits
from evaluate.comparison.tables import interval_table, make_console
from evaluate.results.bootstrap import SCORES, ScoreInterval, scores_with_intervals
from evaluate.results.checkpoint_file import CHECKPOINT_FILE
from evaluate.results.predictions import Predictions, write_predictions

Intervals = Mapping[str, ScoreInterval]


def fuse(predictions: Sequence[Predictions], weights: Sequence[float]) -> np.ndarray:
    """Log of the weighted mean of the probabilities, float32 (N, C). The sum of the weights is 1.

    The predictions have the same videos and classes.
    """
    total = np.full(predictions[0].log_probabilities.shape, -np.inf)
    for each, weight in zip(predictions, weights, strict=True):
        if weight:
            total = np.logaddexp(total, each.log_probabilities.astype(np.float64) + np.log(weight))
    return total.astype(np.float32)


def main() -> int:
    """Print the scores and, with --output, write the ensemble; DataError names what cannot be read or combined."""
    arguments = _parser().parse_args()
    if bool(arguments.parts) == bool(arguments.splits):
        raise DataError("give two or more evaluations to combine, or the splits' after --splits")
    if arguments.splits:
        return _mean_over_splits(arguments)
    weights = _weights(arguments.weights, len(arguments.parts))
    if len(arguments.parts) < 2:
        raise DataError("one evaluation is no ensemble: give two or more")
    check_name(arguments.evaluation, arguments.parts)
    output = None if arguments.output is None else predictions_output(arguments.output, "parts")
    sources = read_sources(arguments.parts, arguments.evaluation)
    for source in sources:
        if output is not None and output.exists() and source.path.samefile(output):
            raise DataError(f"--output {output} is one of the files that are read; give another name")
    for one, other in combinations(sources, 2):
        if one.path.samefile(other.path):
            raise DataError(f"{other.name} is given twice: give each part once, and --weights to make one count more")
    matched = match_videos(sources)
    parts = matched.predictions
    about = _about(sources, weights)
    ensemble = Predictions(parts[0].ids, parts[0].labels, parts[0].classes, fuse(parts, weights), about)
    if output is not None:
        with write_errors(output, "give another --output"):
            output.parent.mkdir(parents=True, exist_ok=True)
        write_predictions(output, ensemble)
    scores = [scores_with_intervals(each) for each in (*parts, ensemble)]
    names = [*(source.name for source in sources), "ensemble"]
    shown = [f"{source.name} × {weight:.3g}" for source, weight in zip(sources, weights, strict=True)]
    warnings = [*left_out(sources, matched), *outlived(sources), *_other_frames(sources, parts)]
    warnings += _doubles(sources, matched) + repeated(sources)
    _print_table(f"{len(ensemble)} videos", list(zip([*shown, "ensemble"], scores, strict=True)), warnings)
    if output is not None:
        _line(f"predictions in {output}")
    rows = _json(list(zip(names, scores, strict=True)), "parts")
    print(json_text({"videos": len(ensemble), "weights": weights, **rows, "warnings": warnings}))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m evaluate.fuse", description=__doc__)
    parser.add_argument(
        "parts", type=Path, nargs="*", metavar="PATH", help="the evaluations of which the ensemble is made",
    )  # fmt: skip
    parser.add_argument(
        "--weights", type=float, nargs="+", metavar="X",
        help="a weight for each, scaled to a sum of 1 (default: equal)",
    )  # fmt: skip
    parser.add_argument(
        "--splits", type=Path, nargs="+", metavar="PATH", help="an evaluation of each split, to print the mean of",
    )  # fmt: skip
    parser.add_argument(
        "--evaluation", action=StoreText, metavar="NAME",
        help="of runs with several evaluations, the folder to take, such as evaluation_val_10x3",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="PATH",
        help="write the ensemble's predictions to this .npz, or into this folder",
    )  # fmt: skip
    return parser


def _weights(given: Sequence[float] | None, count: int) -> list[float]:
    """A weight for each part, with a sum of 1."""
    if given is None:
        return [1 / max(1, count)] * count
    if len(given) != count:
        raise DataError(f"--weights has {len(given)} numbers for {count} evaluations")
    if min(given) < 0 or not 0 < sum(given) < 1e300:
        raise DataError("--weights: give numbers of at least 0, and one or more above 0")
    return [weight / sum(given) for weight in given]


def _about(sources: Sequence[Source], weights: Sequence[float]) -> dict[str, Any]:
    """What the ensemble's file says of it: the parts' own fields, and those that all share."""
    abouts = [dict(source.predictions.about) for source in sources]
    shared = {
        name: value
        for name, value in abouts[0].items()
        if name not in ("checkpoint", CHECKPOINT_FILE, *DIGESTS, "options", "parts")
        and all(name in about and about[name] == value for about in abouts)
    }
    parts = [
        {"path": source.name, "weight": weight, "about": about}
        | ({"warnings": warnings} if (warnings := warnings_of(source)) else {})
        for source, weight, about in zip(sources, weights, abouts, strict=True)
    ]
    if "network" not in shared and all(isinstance(about.get("network"), str) for about in abouts):
        shared["network"] = " + ".join(about["network"] for about in abouts)
    return {**shared, "parts": parts}


def _other_frames(sources: Sequence[Source], predictions: Sequence[Predictions]) -> list[str]:
    """A warning if two of the sources are of other frames under the same ids."""
    for (one, mine), (other, its) in combinations(zip(sources, predictions, strict=True), 2):
        if found := evaluated_on([(mine, its)]):
            return [f"{one.name} and {other.name} were evaluated on {found} under the same ids"]
    return []


def _doubles(sources: Sequence[Source], matched: Matched) -> list[str]:
    """A warning for each part that has the predictions of another."""
    return [
        f"{sources[number].name} and {sources[earlier].name} have the same predictions"
        for number, one in enumerate(matched.predictions)
        for earlier, other in enumerate(matched.predictions[:number])
        if np.array_equal(one.log_probabilities, other.log_probabilities)
    ]


def _mean_over_splits(arguments: argparse.Namespace) -> int:
    """Print the scores of each split and their means."""
    if arguments.weights is not None or arguments.output is not None:
        raise DataError("--weights and --output are of an ensemble, and --splits makes none")
    check_name(arguments.evaluation, arguments.splits)
    sources = read_sources(arguments.splits, arguments.evaluation)
    check_splits(sources)
    rows = [(source.name, scores_with_intervals(source.predictions)) for source in sources]
    nan = float("nan")
    means = {name: float(np.mean([scores[name].value for _, scores in rows])) for name in SCORES}
    mean = {name: ScoreInterval(value, nan, nan) for name, value in means.items()}
    unknown = [int((source.predictions.labels < 0).sum()) for source in sources]
    warnings = (
        [source.chosen for source in sources if source.chosen]
        + [
            f"{count} videos of {source.name} without a known class are left out"
            for source, count in zip(sources, unknown, strict=True)
            if count
        ]
        + outlived(sources)
        + repeated(sources)
    )
    warnings += _other_frames(sources, [source.predictions for source in sources])
    _print_table(f"{len(sources)} splits", [*rows, ("mean", mean)], warnings)
    videos = [len(source.predictions) - count for source, count in zip(sources, unknown, strict=True)]
    print(json_text({"videos": videos, **_json([*rows, ("mean", mean)], "splits"), "warnings": warnings}))
    return 0


def _print_table(title: str, rows: Sequence[tuple[str, Intervals]], warnings: Sequence[str]) -> None:
    make_console().print(interval_table(title, rows))
    for warning in warnings:
        safe_console(stderr=True).print(f"warning: {warning}", soft_wrap=True, highlight=False, markup=False)


def _line(text: str) -> None:
    make_console().print(printable(text), soft_wrap=True, highlight=False, markup=False)


def _json(rows: Sequence[tuple[str, Intervals]], name: str) -> dict[str, Any]:
    """The scores of each row but the last, as `name`, and those of the last, as what it is."""
    values = [
        {score: {"value": each.value, "interval": [each.low, each.high]} for score, each in scores.items()}
        for _, scores in rows
    ]
    parts = [{"name": row, "scores": each} for (row, _), each in zip(rows[:-1], values[:-1], strict=True)]
    return {name: parts, rows[-1][0]: values[-1]}


if __name__ == "__main__":
    run_command(main)
