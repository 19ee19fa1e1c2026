"""The plan of a run as text: a table, a line of epochs and a summary."""

from collections.abc import Sequence
from itertools import groupby

from rich import box
from rich.table import Table

from train.schedule.plan import Phase, Plan

TIME_MODEL = "time: estimated from clips x frames x height x width, as if every shape ran at the same speed per pixel"


def plan_table(plan: Plan) -> Table:
    """A row for each phase: epochs, shape, batch, rate, steps and the estimated share of the run's time.

    With a short cycle, crop and batch list its three steps. The table is up to 100 columns wide.
    """
    table = Table(title="Plan of the run", title_justify="left", box=box.SIMPLE_HEAD, caption_justify="left")
    table.caption, table.pad_edge, table.collapse_padding = TIME_MODEL, False, True
    table.add_column("phase", no_wrap=True)
    per_gpu = ["batch\nper GPU"] if plan.world_size > 1 else []
    for heading in ("first\nepoch", "last\nepoch", "frames", "crop", "batch", *per_gpu, "lr", "steps", "time"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = sum(map(plan.pixels_of, plan.phases))
    for group in rows(plan):
        phase, last = group[0], group[-1]
        per_gpu = [_joined([size // plan.world_size for size in phase.batch_sizes])] if plan.world_size > 1 else []
        table.add_row(
            phase.name,
            str(phase.first_epoch),
            str(last.last_epoch),
            str(phase.frames),
            _joined([step.shape.height for step in phase.short_cycle]),
            _joined(phase.batch_sizes),
            *per_gpu,
            _lr(plan, group),
            f"{sum(phase.num_epochs * plan.steps_per_epoch(phase) for phase in group):,}",
            f"{sum(map(plan.pixels_of, group)) / total:.1%}",
        )
    return table


def epoch_line(plan: Plan) -> str:
    """The last epoch of each phase; bars separate the lr steps: `73, 110, 142, 158 | 205, 228, 248, 259 | 358`."""
    ends = [group for group in rows(plan) if group[-1].part == group[-1].parts - 1]
    by_lr_step = groupby(ends, key=lambda group: (group[0].name == "final", group[0].lr_steps_passed))
    return " | ".join(", ".join(str(group[-1].last_epoch) for group in groups) for _, groups in by_lr_step)


def plan_summary(plan: Plan) -> list[str]:
    """Lines below the table: totals, warm-up, changes of the rate within a row, skipped videos, the plan's notes."""
    pixels = sum(map(plan.pixels_of, plan.phases)) / plan.fixed_shape_pixels
    lines = [
        f"phases end at epochs {epoch_line(plan)}",
        f"{plan.num_epochs} epochs, {plan.total_steps:,} steps, {pixels:.2f} times the pixels of the fixed shape, "
        f"which has {plan.fixed_shape_steps:,} steps over the nominal epochs",
    ]
    if plan.warmup_epochs:
        lines.append(f"lr warms up linearly from {plan.warmup_lr:.4g} to the end of epoch {plan.warmup_epochs:g}")
    lines += [
        f"phase {group[0].name}: lr {group[1].lr:.4g} from epoch {group[1].first_epoch} on"
        for group in rows(plan)
        if group[1:] and plan.lr_schedule.uses_lr_steps
    ]
    if plan.repeats > 1:
        lines.append(
            f"each video of a batch gives {plan.repeats} clips: {plan.base_batch_size} clips are of "
            f"{plan.base_batch_size // plan.repeats} videos, and an epoch has {plan.repeats} times the steps"
        )
    epochs = {phase.first_epoch for phase in plan.phases}
    used = min(plan.clips_before(epoch, plan.steps_in_epoch(epoch)) // plan.repeats for epoch in epochs)
    left = plan.num_videos - used
    if left:
        lines.append(
            f"each epoch skips up to {left:,} of the {plan.num_videos:,} videos (the incomplete last batch); different "
            "ones each time"
        )
    return [*lines, *plan.notes]


def _lr(plan: Plan, group: Sequence[Phase]) -> str:
    """The rates of a row without warm-up: one for each phase, or first and last if the rate falls in every step."""
    if plan.lr_schedule.uses_lr_steps:
        return ", ".join(f"{phase.lr:.4g}" for phase in group)
    return f"{group[0].lr:.3g} to {plan.scheduled_lr(group[-1], group[-1].last_epoch):.2g}"


def rows(plan: Plan) -> list[Sequence[Phase]]:
    """The phases of each row: the two halves of `final` differ only in their rate and share a row."""
    return [tuple(group) for _, group in groupby(plan.phases, key=lambda phase: phase.name)]


def _joined(numbers: Sequence[int]) -> str:
    """`112/158/224`, or one number where all are the same."""
    return str(numbers[0]) if len(set(numbers)) == 1 else "/".join(map(str, numbers))
