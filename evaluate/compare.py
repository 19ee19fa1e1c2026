"""Two evaluations, or several seeds of two, on the videos that all have.

    python -m evaluate.compare results/HACS/r3d_34_gates_False results/HACS/srtg_r3d_34_gates_False
    python -m evaluate.compare A_seed1 A_seed2 A_seed3 --with B_seed1 B_seed2 B_seed3 --output comparison.json

Each is a file of predictions, the folder of an evaluation, or that of a run with one evaluation. Differences are B - A.
The last line on standard output is JSON. docs/compare.md says what the numbers mean.
"""

import argparse
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

from common.cli import CommandParser, StoreText, run_command
from common.console import safe_console
from common.errors import DataError
from common.files import atomic_file, check_output, write_errors
from common.json_text import json_text
from evaluate.comparison.about_differences import (
    AboutDifference,
    differences,
    differences_within,
    evaluated_on,
    evaluated_otherwise,
    same_weights,
)
from evaluate.comparison.comparing import (
    FEW_WINS,
    LEVEL,
    Comparison,
    as_json,
    classes_as_json,
    compare_predictions,
    few_videos,
)
from evaluate.comparison.evaluation_warnings import repeated
from evaluate.comparison.own_output import check_own_json
from evaluate.comparison.prediction_files import (
    Matched,
    Source,
    check_name,
    left_out,
    match_videos,
    outlived,
    read_sources,
)
from evaluate.comparison.seeds import check_seeds, shared_trainings
from evaluate.comparison.tables import MOST_OPTIONS, make_console, print_comparison

KIND = "comparison of evaluations"  # in the JSON


def main() -> int:
    """Print the comparison and, with --output, write it; DataError names what cannot be read or compared."""
    arguments = _parser().parse_args()
    a_paths, b_paths = _sides(arguments)
    if arguments.output is not None:
        check_output(arguments.output, (".json",), "--output")
        check_own_json(arguments.output, KIND)
    check_name(arguments.evaluation, [*a_paths, *b_paths])
    a, b = (read_sources(paths, arguments.evaluation) for paths in (a_paths, b_paths))
    for side in (a, b):
        check_seeds(side)
    matched = match_videos([*a, *b])
    sides = matched.predictions[: len(a)], matched.predictions[len(a) :]
    comparison = compare_predictions(*sides)
    options = differences(*sides)
    warnings = _warnings(a, b, matched, comparison, options)
    summary = _summary(a, b, matched, comparison, options, warnings)
    if arguments.output is not None:
        _write(arguments.output, {**summary, "classes": classes_as_json(comparison.classes)})
    console = make_console()
    print_comparison(console, [each.name for each in a], [each.name for each in b], comparison, options)
    for warning in warnings:
        safe_console(stderr=True).print(f"warning: {warning}", soft_wrap=True, highlight=False, markup=False)
    console.print(summary["conclusion"], soft_wrap=True, highlight=False, markup=False)
    print(json_text({**summary, "options": summary["options"][:MOST_OPTIONS]}))
    return 0


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m evaluate.compare", description=__doc__)
    parser.add_argument(
        "a", type=Path, nargs="+", metavar="PATH", help="A and B; with --with, the seeds of A alone",
    )  # fmt: skip
    parser.add_argument("--with", dest="b", type=Path, nargs="+", metavar="PATH", help="the seeds of B")
    parser.add_argument(
        "--evaluation", action=StoreText, metavar="NAME",
        help="of runs with several evaluations, the folder to take, such as evaluation_val_10x3",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write all numbers to this .json, those of every class too",
    )  # fmt: skip
    return parser


def _sides(arguments: argparse.Namespace) -> tuple[list[Path], list[Path]]:
    if arguments.b is not None:
        return arguments.a, arguments.b
    if len(arguments.a) != 2:
        raise DataError(f"{len(arguments.a)} paths: give A and B, or several seeds as A1 A2 --with B1 B2")
    return arguments.a[:1], arguments.a[1:]


def _warnings(
    a: Sequence[Source], b: Sequence[Source], matched: Matched, comparison: Comparison,
    options: Sequence[AboutDifference],
) -> list[str]:  # fmt: skip
    """What is left out, and what makes the comparison less than it seems."""
    found = left_out([*a, *b], matched) + outlived([*a, *b]) + repeated([*a, *b])
    seeds = matched.predictions[: len(a)], matched.predictions[len(a) :]
    if frames := evaluated_on(product(*seeds)):
        found.append(f"A and B were evaluated on {frames} under the same ids: the difference is in part one of these")
    for name, side, own in zip("AB", (a, b), seeds, strict=True):
        if frames := evaluated_on(combinations(own, 2)):
            found.append(f"the files of {name} were evaluated on {frames} under the same ids: so their scores differ")
        if fields := differences_within([each.predictions for each in side]):
            listed = ", ".join(fields[:5]) + (" ..." if len(fields) > 5 else "")
            found.append(f"the files of {name} differ in more than their seeds ({listed}): so do their scores")
        if shared := shared_trainings(side):
            found.append(f"{name}: {shared}")
    if others := evaluated_otherwise(options):
        listed = ", ".join(f"{each.name} {each.a} and {each.b}" for each in others[:3])
        found.append(f"A and B were evaluated in different ways ({listed}): the difference is in part one of these")
    weights = same_weights([each.predictions for each in a], [each.predictions for each in b])
    if comparison.same_predictions:
        found.append("A and B have the same predictions: the same weights, or the same file twice")
    elif weights:
        found.append(f"A and B name the same weights, {weights}: the difference is one of the evaluation")
    return found + _few(comparison)


def _few(comparison: Comparison) -> list[str]:
    """Warnings of few videos or seeds."""
    found = []
    if few := few_videos(comparison.videos):
        found.append(few)
    wins = comparison.discordant.a_wins + comparison.discordant.b_wins
    if comparison.seeds == (1, 1) and 0 < wins < FEW_WINS:
        found.append(
            f"one side alone is right on {wins} video{'s' * (wins > 1)}: of fewer than {FEW_WINS} McNemar's test shows "
            "nothing"
        )
    if two := [name for name, seeds in zip(("A", "B"), comparison.seeds, strict=True) if seeds == 2]:
        has = "has two seeds: its" if len(two) == 1 else "have two seeds each: their"
        found.append(f"{' and '.join(two)} {has} spread is hardly known: it may be small by chance; give three or more")
    if max(comparison.seeds) > 1 and min(comparison.seeds) == 1:
        name, other = ("A", "B") if comparison.seeds[0] == 1 else ("B", "A")
        found.append(f"{name} has one seed: its spread over seeds is taken to be that of {other}")
    return found


def _summary(
    a: Sequence[Source], b: Sequence[Source], matched: Matched, comparison: Comparison,
    options: Sequence[AboutDifference], warnings: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    return {
        "kind": KIND,
        "a": [each.name for each in a],
        "b": [each.name for each in b],
        "left_out": list(matched.left_out),
        "unlabelled": matched.unlabelled,
        **as_json(comparison),
        "significant_classes": [each.name for each in comparison.classes if each.holm_p < LEVEL],
        "options": [each._asdict() for each in options],
        "warnings": list(warnings),
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    with write_errors(path, "give another --output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            temporary.write_text(json_text(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    run_command(main)
