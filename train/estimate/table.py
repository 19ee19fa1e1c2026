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
APART = "*"
MEANINGS = {
    "~": "from steps with fewer clips",
    "≈": "from other shapes, by pixels",
    APART: "from reading and computing apart",
}


def phase_table(run: Run, costs: Costs) -> Table:
    """A row for each short cycle, of one rank; at most 80 columns wide."""
    table = _table("What a step takes")
    table.padding = 0
    per_rank = f"\nper {run.rank_noun}" if run.gpus > 1 else ""
    memory = ["memory"] if run.is_gpu else []
    rates = ("read\nclips/s", "compute\nclips/s", "augment", "waits")
    for heading in ("frames", "crop", f"batch{per_rank}", *rates, *memory, "run"):
        table.add_column(heading, justify="right", no_wrap=True)
    for cycle in costs.cycles():
        found = marks(costs, cycle)
        clips = sum(run.of_rank(spec).batch_size for spec in cycle)
        compute, peak = costs.compute(cycle), max(costs.shapes[spec].memory for spec in cycle)
        table.add_row(
            str(cycle[0].shape.frames),
            _joined([spec.shape.height for spec in cycle]),
            _joined([run.of_rank(spec).batch_size for spec in cycle]),
            _number(clips / costs.read(cycle)),
            found.replace(APART, "") + _number(clips / compute),
            f"{sum(costs.shapes[spec].augment for spec in cycle) / compute:.1%}",
            APART * (APART in found) + f"{costs.waiting(cycle):.0%}",
            *([f"{_number(peak / 2**30)} GiB"] if memory else []),
            duration_text(costs.of_cycle(cycle)),
        )
    return table


def marks(costs: Costs, *cycles: Cycle) -> str:
    """How the times of the cycles were found, where they were not measured: some of `~≈*`; of all without `cycles`."""
    chosen = cycles or tuple(costs.cycles())
    used = {MARKS[costs.shapes[spec].how] for cycle in chosen for spec in cycle if costs.shapes[spec].how}
    used |= set() if all(cycle in costs.together for cycle in chosen) else {APART}
    return "".join(mark for mark in MEANINGS if mark in used)


def footnote(costs: Costs) -> str:
    """The meaning of the marks in the tables; empty if there are none."""
    return "; ".join(f"{mark} {MEANINGS[mark]}" for mark in marks(costs))


def is_rough(measured: Measured) -> bool:
    """Whether a part of the total was not measured as it is in the run."""
    return bool(marks(measured.costs)) or not measured.validation_is_measured


def needs_more_time(measured: Measured) -> bool:
    """Whether a longer measurement would be a better one; not of steps that do not fit a GPU's memory."""
    costs, too_large = measured.costs, measured.too_large
    cycles = [cycle for cycle in costs.cycles() if not too_large.keys() & set(cycle)]
    return not measured.validation_is_measured or bool(cycles and marks(costs, *cycles))


def _table(title: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.pad_edge = False
    return table


def _joined(numbers: list[int]) -> str:
    return str(numbers[0]) if len(set(numbers)) == 1 else "/".join(map(str, numbers))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.3g}"


def run_table(run: Run, measured: Measured) -> Table:
    """The time and the disk of the whole run."""
    costs, plan = measured.costs, measured.costs.plan
    table = _table("The whole run")
    table.show_header = False
    for _ in range(3):
        table.add_column()
    table.columns[1].justify = "right"
    note = "" if measured.validation_is_measured else "; not measured, guessed from training"
    table.add_row("start", duration_text(costs.start), "programs, scan, first batches")
    rough = marks(costs)
    steps = f"{plan.num_epochs} epochs, {plan.total_steps:,} steps"
    table.add_row("training", rough + duration_text(costs.training()), steps)
    one = f"{costs.validations()} of {duration_text(costs.validation)}, {len(run.splits.val):,} videos each"
    guessed = "" if measured.validation_is_measured else "≈"
    table.add_row("validation", guessed + duration_text(costs.validating()), one + note)
    table.add_row("saving", duration_text(costs.saving()), f"{costs.saves():,} saves, the run waits for copies")
    files = f"{costs.writes():,.0f} files of {size_text(costs.checkpoint_bytes)}"
    table.add_row("", "", f"{files}, {duration_text(costs.write)} each, written beside the run")
    table.add_section()
    table.add_row("total", (rough or guessed) + duration_text(costs.total()), "", style="bold")
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
