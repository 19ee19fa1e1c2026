"""The command `python -m train.estimate SCRIPT.py ...flags`: what a training run takes, before it starts."""

import sys
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.cli import run_command
from common.console import safe_console
from common.json_text import json_text
from common.known_errors import describe_known_error
from common.logs import print_result
from common.text import printable
from data.labels.text import counted
from train.estimate.bar import Bar
from train.estimate.costs import Costs
from train.estimate.meter import Measured, Meter
from train.estimate.problems import disk_bytes, problems
from train.estimate.set_up import Run, parse, set_up
from train.estimate.table import batch_that_fits, footnote, is_rough, lines, needs_more_time, phase_table, run_table

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
        print(printable(f"error: {known}"), file=sys.stderr)
        return 1
    show(run, measured)
    print_result(json_text(result(run, measured)))
    return 0


def show(run: Run, measured: Measured) -> None:
    """Print the tables and lines."""
    console, costs = safe_console(), measured.costs
    if console.width < WIDTH:
        console.width = WIDTH
    workers = counted(run.workers, "worker")
    where = f"{run.device.type}, {run.precision}, {workers}"
    where += f" each, {counted(run.gpus, run.rank_noun)}" if run.gpus > 1 else ""
    print_lines(console, f"{run.network} on {len(run.splits.train):,} videos ({where})")
    print_lines(console, *(f"warning: {line}" for line in problems(run, measured)))
    print_table(console, phase_table(run, costs))
    if note := footnote(costs):
        print_lines(console, note, "")
    print_table(console, run_table(run, measured))
    if needs_more_time(measured):
        print_lines(console, "rough: not all was measured, give more --minutes", "")
    print_lines(console, *lines(run, measured))


def print_lines(console: Console, *texts: str) -> None:
    """Print lines that are wrapped at the console's width; the rest of an item `- ` is indented."""
    for text in texts:
        indent = "  " if text.startswith("- ") else ""
        wrapped = textwrap.wrap(
            text, console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
        )
        for line in wrapped or [""]:
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print a table without blanks at the ends of its lines."""
    for segments in console.render_lines(table, pad=False):
        line = Text.assemble(*((segment.text, segment.style or "") for segment in segments))
        line.rstrip()
        console.print(line, highlight=False, soft_wrap=True)


def result(run: Run, measured: Measured) -> dict[str, Any]:
    """The estimate for machines: seconds, bytes, and each shape, in the plan's order."""
    costs: Costs = measured.costs
    cycles = costs.cycles()
    shapes = []
    for spec in dict.fromkeys(spec for cycle in cycles for spec in cycle):
        own = [cycle for cycle in cycles if spec in cycle]
        shapes.append(
            {
                "batch": run.of_rank(spec).batch_size,
                "clip": "x".join(map(str, spec.shape)),
                "sub_batches": spec.batch_factor,
                "interval_factor": spec.max_interval_factor,
                "phases": [phase.name for phase in costs.plan.phases if spec in phase.short_cycle],
                "steps": costs.steps_of(spec),
                **_rounded(costs.shapes[spec]._asdict()),
                "is_apart": any(cycle not in costs.together for cycle in own),
            }
        )
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
        "is_rough": is_rough(measured),
        "problems": problems(run, measured),
        "shapes": shapes,
    }


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    """Floats with four digits: a measurement has no more."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in values.items()}


if __name__ == "__main__":
    run_command(main)
