"""The command `python -m train.estimate SCRIPT.py ...flags`: what a training run takes, before it starts."""

import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from common.cli import run_command
from common.json_text import json_text
from common.logs import print_result
from train.estimate.bar import Bar
from train.estimate.costs import Costs
from train.estimate.meter import Measured, Meter
from train.estimate.problems import disk_bytes, problems
from train.estimate.set_up import Run, parse, set_up
from train.estimate.table import batch_that_fits, lines, phase_table, run_table
from train.failures import describe_known_error

WIDTH = 80
DESCRIPTION = (
    "Estimate what a training run takes: hours, disk and memory, and what limits it. Give a training script and its "
    "flags, as to the script itself; the estimate measures reading, training at each shape, a validation and saving on "
    "this machine, for --minutes at most. It writes nothing into the run's folder or the dataset."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Exit status 0; 1 if a measurement failed; 2 on a mistake in script, flags or data."""
    script, options, minutes = parse(sys.argv[1:] if arguments is None else arguments, DESCRIPTION)
    try:
        with Bar() as bar:
            bar("reading the dataset")
            run = set_up(script, options)
            measured = Meter(run, 60 * minutes, bar).measure()
    except Exception as error:
        known = describe_known_error(error)
        if not known:
            raise
        print(f"error: {known}", file=sys.stderr)
        return 1
    show(run, measured)
    print_result(json_text(result(run, measured)))
    return 0


def show(run: Run, measured: Measured) -> None:
    """Print the tables and lines."""
    console = Console()
    if console.width < WIDTH:
        console.width = WIDTH
    workers = f"{run.workers} worker" + "s" * (run.workers != 1)
    where = f"{run.device.type}, {run.precision}, {workers}" + (f", {run.gpus} GPUs" * (run.gpus > 1))
    console.print(f"{run.network} on {len(run.splits.train):,} videos ({where})", highlight=False)
    for line in problems(run, measured):
        console.print(f"warning: {line}", highlight=False, markup=False)
    for table in (phase_table(run, measured.costs), run_table(run, measured)):
        console.print(table)
    for line in lines(run, measured):
        console.print(line, highlight=False, markup=False)


def result(run: Run, measured: Measured) -> dict[str, Any]:
    """The estimate for machines: seconds, bytes, and each shape."""
    costs: Costs = measured.costs
    shapes = [
        {"batch": run.of_rank(spec).batch_size, "clip": "x".join(map(str, spec.shape)), **_rounded(cost._asdict())}
        for spec, cost in costs.shapes.items()
    ]
    seconds = {
        "total_seconds": costs.total(),
        "start_seconds": costs.start,
        "training_seconds": costs.training(),
        "validation_seconds": costs.validating(),
        "saving_seconds": costs.saving(),
    }
    return _rounded(seconds) | {
        "disk_bytes": disk_bytes(run, costs),
        "largest_batch": batch_that_fits(run, measured) or None,
        "problems": problems(run, measured),
        "shapes": shapes,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Floats with four digits: a measurement has no more."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


if __name__ == "__main__":
    run_command(main)
