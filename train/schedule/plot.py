"""A picture of the plan of a run."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from common.files import atomic_file, write_errors
from train.schedule.plan import Phase, Plan
from train.schedule.table import rows

COLOURS = ("#7f3c8d", "#3969ac", "#11a579", "#e68310")  # the long cycle's shapes, small clips first; colour-blind safe
WIDTH, SHORT_WIDTH = 2.4, 0.9  # of lines: the long cycle's own crop; the other steps of the short cycle


def draw_plan(plan: Plan, path: Path) -> None:
    """Draw frames, crop, batch and rate over the epochs, and the time of each phase.

    Its suffix is one of PICTURES. Creates the folder of `path`; DataError if the file cannot be written.
    """
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    grid = figure.add_gridspec(5, 1, height_ratios=(2, 2, 2.4, 2.4, 0.8))
    frames, crop, batch, rate = axes = _shared_axes(figure, [figure.add_subplot(grid[i]) for i in range(4)])
    colours = _colours(plan)
    for phase in plan.phases:
        colour, span = colours[phase.frames, phase.size], (phase.first_epoch - 1, phase.last_epoch)
        _line(frames, span, [phase.frames] * 2, phase, colour)
        for step in set(phase.short_cycle):
            width = WIDTH if step.shape.height == phase.size else SHORT_WIDTH
            _line(crop, span, [step.shape.height] * 2, phase, colour, width)
            _line(batch, span, [step.batch_size] * 2, phase, colour, width)
        _line(rate, *_rates(plan, phase), phase, colour)
    _label_axes(axes, plan)
    _mark_lr_steps(axes, plan)
    _draw_time(figure.add_subplot(grid[4]), plan, colours)
    _add_legend(figure, plan, colours)
    with write_errors(path, "give another --output"):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format=path.suffix[1:].lower(), dpi=200)


def _line(
    axis: Axes, epochs: Sequence[float], values: Sequence[float], phase: Phase, colour: str, width: float = WIDTH
) -> None:
    """Draw a line over the phase's epochs; phases that share epochs alternate as dashes."""
    (line,) = axis.plot(epochs, values, color=colour, linewidth=width, solid_capstyle="butt", dash_capstyle="butt")
    if phase.parts > 1:
        dash = 6 / width  # in line widths, so that the dashes of all lines are equally long
        line.set_linestyle(((phase.parts - phase.part) * dash, (dash, (phase.parts - 1) * dash)))


def _shared_axes(figure: Figure, axes: list[Axes]) -> list[Axes]:
    for axis in axes[1:]:
        axis.sharex(axes[0])
    for axis in axes[:-1]:
        axis.tick_params(labelbottom=False)
    figure.align_ylabels(axes)
    return axes


def _colours(plan: Plan) -> dict[tuple[int, int], str]:
    """A colour for each long-cycle shape (frames, size); the full shape has the last one."""
    shapes = list(dict.fromkeys((phase.frames, phase.size) for phase in plan.phases))
    return dict(zip(shapes, COLOURS[-len(shapes) :], strict=True))


def _rates(plan: Plan, phase: Phase) -> tuple[list[float], list[float]]:
    """Epochs passed, and the rate there: at the start of each epoch and at the phase's end."""
    steps = plan.steps_per_epoch(phase)
    start = phase.part * steps
    epochs = range(phase.first_epoch, phase.last_epoch + 1)
    rates = [plan.lr(epoch, start) for epoch in epochs]
    return [epoch - 1.0 for epoch in epochs] + [phase.last_epoch], [
        *rates,
        plan.lr(phase.last_epoch, start + steps - 1),
    ]


def _label_axes(axes: Sequence[Axes], plan: Plan) -> None:
    frames, crop, batch, rate = axes
    frames.set_ylabel("frames")
    frames.set_ylim(0, 1.12 * max(phase.frames for phase in plan.phases))
    frames.set_yticks(sorted({phase.frames for phase in plan.phases}))
    crop.set_ylabel("crop (pixels)")
    crop.set_ylim(0, 1.12 * max(phase.size for phase in plan.phases))
    crop.set_yticks(sorted({step.shape.height for phase in plan.phases for step in phase.short_cycle}))
    batch.set_ylabel("batch (clips)")
    batch.set_yscale("log", base=2)
    batch.set_yticks(sorted({size for phase in plan.phases for size in phase.batch_sizes}))
    batch.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    batch.yaxis.set_minor_locator(NullLocator())
    rate.set_ylabel("learning rate")
    if plan.lr_schedule.uses_lr_steps:  # the cosine ends at zero, which a logarithmic axis cannot show
        rate.set_yscale("log")
        rate.yaxis.set_minor_locator(NullLocator())
    shares_epochs = any(phase.parts > 1 for phase in plan.phases)
    rate.set_xlabel("epoch (each has all the shapes in turn; dashes not to scale)" if shares_epochs else "epoch")
    rate.set_xlim(0, plan.num_epochs)
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.grid(axis="y", linewidth=0.4, alpha=0.4)


def _mark_lr_steps(axes: Sequence[Axes], plan: Plan) -> None:
    """Draw a line where the rate falls, and write the name of each lr step on top."""
    for (start, end), name in _stretches(plan):
        is_wide = end - start > 0.1 * plan.num_epochs
        label = name if is_wide else name.removeprefix("lr step ")
        axes[0].annotate(
            label, ((start + end) / 2, 1.04), xycoords=("data", "axes fraction"), ha="center", va="bottom", fontsize=8
        )
        for axis in axes:
            axis.axvline(end, color="0.6", linewidth=0.6, linestyle=(0, (4, 3)), zorder=0)


def _stretches(plan: Plan) -> Iterator[tuple[tuple[int, int], str]]:
    """The first and last epoch of each lr step and of the final phase, and its name."""
    found: dict[str, tuple[int, int]] = {}
    for phase in plan.phases:
        name = phase.name if phase.name == "final" else f"lr step {phase.lr_steps_passed + 1}"
        start = found.get(name, (phase.first_epoch - 1, 0))[0]
        found[name] = (start, phase.last_epoch)
    for name, span in found.items():
        yield span, name


def _draw_time(axis: Axes, plan: Plan, colours: dict[tuple[int, int], str]) -> None:
    """Draw the run as one bar; the length of a phase is its estimated share of the time."""
    total, left = sum(map(plan.pixels_of, plan.phases)), 0.0
    for group in rows(plan):
        share = 100 * sum(map(plan.pixels_of, group)) / total
        axis.barh(0, share, left=left, color=colours[group[0].frames, group[0].size], edgecolor="white", linewidth=0.8)
        left += share
    axis.set_xlim(0, 100)
    axis.set_yticks([])
    axis.set_xlabel("estimated share of the time (%)")
    axis.tick_params(labelsize=8)
    axis.spines[["top", "right", "left"]].set_visible(False)


def _add_legend(figure: Figure, plan: Plan, colours: dict[tuple[int, int], str]) -> None:
    handles = [
        Line2D([], [], color=colour, label=f"{frames} × {size}²", linewidth=WIDTH)
        for (frames, size), colour in colours.items()
    ]
    if any(len(phase.short_cycle) > 1 for phase in plan.phases):
        handles.append(Line2D([], [], color="0.4", label="short cycle's other steps", linewidth=SHORT_WIDTH))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False, fontsize=8)
