"""The estimate as text: a table of the phases, one of hours, and lines."""

from rich import box
from rich.table import Table

from common.duration import duration_text
from train.estimate.advice import advice, facts, limits
from train.estimate.costs import PART, PIXELS, Costs, Cycle, largest_batch
from train.estimate.meter import Measured
from train.estimate.problems import disk_bytes, log_bytes
from train.estimate.set_up import Run
from train.estimate.sizes import size_text

MARKS = {PART: "~", PIXELS: "≈"}
MEANINGS = {
    "~": "from steps with fewer clips",
    "≈": "from other shapes, by pixels",
    "*": "from reading and computing apart",
}


def phase_table(run: Run, costs: Costs) -> Table:
    """A row for each short cycle, of one rank; at most 80 columns wide."""
    table = Table(title="What a step takes", title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left")
    table.pad_edge, table.padding = False, 0
    per_gpu = "\nper GPU" if run.gpus > 1 else ""
    memory = ["memory"] if run.is_gpu else []
    rates = ("read\nclips/s", "compute\nclips/s", "augment", "waits")
    for heading in ("frames", "crop", f"batch{per_gpu}", *rates, *memory, "run"):
        table.add_column(heading, justify="right", no_wrap=True)
    used = set()
    for cycle in costs.cycles():
        marks = _marks(costs, cycle)
        used |= marks
        computed = "".join(sorted(marks - {"*"}))
        clips = sum(run.of_rank(spec).batch_size for spec in cycle)
        compute, peak = costs.compute(cycle), max(costs.shapes[spec].memory for spec in cycle)
        table.add_row(
            str(cycle[0].shape.frames),
            _joined([spec.shape.height for spec in cycle]),
            _joined([run.of_rank(spec).batch_size for spec in cycle]),
            _number(clips / costs.read(cycle)),
            computed + _number(clips / compute),
            f"{sum(costs.shapes[spec].augment for spec in cycle) / compute:.1%}",
            ("*" if "*" in marks else "") + f"{costs.waiting(cycle):.0%}",
            *([f"{_number(peak / 2**30)} GiB"] if memory else []),
            duration_text(costs.of_cycle(cycle)),
        )
    table.caption = "; ".join(f"{mark} {MEANINGS[mark]}" for mark in MEANINGS if mark in used) or None
    return table


def _marks(costs: Costs, cycle: Cycle) -> set[str]:
    marks = {MARKS[costs.shapes[spec].how] for spec in cycle if costs.shapes[spec].how}
    return marks | (set() if cycle in costs.together else {"*"})


def _joined(numbers: list[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "/".join(map(str, numbers))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def run_table(run: Run, measured: Measured) -> Table:
    """The time and the disk of the whole run."""
    costs, plan = measured.costs, measured.costs.plan
    table = Table(title="The whole run", title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left")
    table.pad_edge, table.show_header = False, False
    for _ in range(3):
        table.add_column()
    table.columns[1].justify = "right"
    note = "" if measured.validation_is_measured else "; not measured, guessed from training"
    table.add_row("start", duration_text(costs.start), "programs, scan, first batches")
    table.add_row("training", duration_text(costs.training()), f"{plan.num_epochs} epochs, {plan.total_steps:,} steps")
    one = f"{costs.validations()} of {duration_text(costs.validation)}, {len(run.splits.val):,} videos each"
    table.add_row("validation", duration_text(costs.validating()), one + note)
    files = f"{costs.writes():,.0f} files of {size_text(costs.checkpoint_bytes)}"
    writes = f"{files}, {duration_text(costs.write)} each, beside the run"
    table.add_row("saving", duration_text(costs.saving()), writes)
    table.add_section()
    table.add_row("total", duration_text(costs.total()), "", style="bold")
    table.add_section()
    table.add_row("disk", size_text(disk_bytes(run, costs)), _disk_text(run, costs))
    if run.is_gpu and measured.memory_limit:
        table.add_row("memory", f"{measured.memory_limit / 2**30:.0f} GiB", _batch_text(run, measured))
    return table


def _disk_text(run: Run, costs: Costs) -> str:
    kept = costs.frequencies.keep
    files = f"{costs.checkpoints()} checkpoints at most" + (f" (--keep {kept})" if kept else "")
    return f"{files}, {size_text(log_bytes(run, costs))} of logs"


def batch_that_fits(run: Run, measured: Measured) -> int:
    """The largest --batch-size; 0 if it was not measured."""
    peaks = {spec: cost.memory for spec, cost in measured.costs.shapes.items() if cost.memory}
    if not run.is_gpu or not measured.memory_fixed or measured.too_large:
        return 0
    multiple = run.gpus * run.accumulate
    return largest_batch(peaks, measured.memory_fixed, measured.memory_limit, run.plan.base_batch_size, multiple)


def _batch_text(run: Run, measured: Measured) -> str:
    batch = batch_that_fits(run, measured)
    return f"usable of each GPU: --batch-size {batch} is the largest that fits" if batch else "usable of each GPU"


def lines(run: Run, measured: Measured) -> list[str]:
    """What limits the run, what would change that, and what the numbers do not hold."""
    parts = {
        "What limits it": limits(run, measured.costs),
        "What would change that": advice(run, measured),
        "How it was measured": facts(run, measured),
    }
    found: list[str] = []
    for title, sentences in parts.items():
        if sentences:
            found += [*([""] if found else []), title, *(f"- {line}" for line in sentences)]
    return found
