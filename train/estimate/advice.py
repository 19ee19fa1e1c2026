"""What limits each phase, and what would change that, in words with the numbers that were measured."""

import os

import torch

from common.duration import duration_text
from data.labels.text import counted
from train.estimate.costs import Costs, Cycle
from train.estimate.meter import Measured
from train.estimate.set_up import Run
from train.estimate.sizes import size_text

WAITS = 0.03  # of a step: less is not worth a change
SHARE = 0.1  # of the run, from which validations are worth a word


def limits(run: Run, costs: Costs) -> list[str]:
    """A sentence for each short cycle of the plan."""
    return [f"{name_of(cycle)}: {limit_of(run, costs, cycle)}" for cycle in costs.cycles()]


def name_of(cycle: Cycle) -> str:
    """`4 frames, crop 112/158`."""
    crops = dict.fromkeys(str(spec.shape.height) for spec in cycle)
    return f"{counted(cycle[0].shape.frames, 'frame')}, crop {'/'.join(crops)}"


def limit_of(run: Run, costs: Costs, cycle: Cycle) -> str:
    """What a phase waits for, and by how much."""
    waits, ahead = costs.waiting(cycle), costs.compute(cycle) / costs.read(cycle)
    if not run.is_gpu:
        side = "reading" if waits >= 0.5 else "computing"
        return f"{side} limits; it waits {waits:.0%} of a step for reading"
    if waits >= WAITS:
        return f"reading limits; the GPU would wait {waits:.0%} of the time"
    return f"computing limits; reading is {ahead:.1f} times as fast, the GPU would wait {waits:.0%} of the time"


def advice(run: Run, measured: Measured) -> list[str]:
    """What would make the run shorter, each with the hours of the whole run then."""
    costs = measured.costs
    return [
        *_of_memory(run, measured),
        *_of_reading(run, measured),
        *_of_computing(run, costs),
        *_of_schedule(run, costs),
    ]


def _change(costs: Costs, then: float) -> str:
    return f"{duration_text(then)} instead of {duration_text(costs.total())}"


def _of_reading(run: Run, measured: Measured) -> list[str]:
    costs, lines = measured.costs, []
    limited = any(costs.waiting(cycle) >= WAITS for cycle in costs.cycles())
    if run.is_gpu and not limited:
        return ["faster reading would change nothing: computing limits every phase"]
    if run.is_gpu:
        more = run.workers + 1
        text = _change(costs, costs.total(read=run.workers / more) if run.workers else costs.total())
        where = " and a core for it on each GPU" if run.gpus > 1 else " and a core for it"
        lines.append(f"one more worker{where} (--workers {more}): {text}")
    small = measured.smaller
    if small is not None:
        factor = sum(costs.shapes[s].read * small.time(s.shape) for s in costs.shapes) / sum(
            cost.read for cost in costs.shapes.values()
        )
        sizes = "{1}x{0} instead of {3}x{2}".format(*small.smaller, *small.size)
        lines.append(
            f"converted with --short-side 256, frames of {sizes} are read in {factor:.0%} of the time: "
            f"{_change(costs, costs.total(read=factor))}"
        )
    return lines


def _of_computing(run: Run, costs: Costs) -> list[str]:
    if run.is_gpu:
        limited = [cycle for cycle in costs.cycles() if costs.waiting(cycle) < WAITS]
        if not limited:
            return []
        return [f"a GPU of twice the speed, and no faster reading: {_change(costs, costs.total(compute=0.5))}"]
    threads, cores = torch.get_num_threads(), int(run.cores)
    if threads < cores:
        return [f"training computes with {threads} of {cores} cores: OMP_NUM_THREADS says how many"]
    less = run.cores / (run.cores + 1)
    text = _change(costs, costs.total(read=less, compute=less))
    also = f" and OMP_NUM_THREADS={threads + 1}" if "OMP_NUM_THREADS" in os.environ else ""
    return [f"one more core{also}, if all of training uses it: {text}"]


def _of_schedule(run: Run, costs: Costs) -> list[str]:
    lines = []
    every = 5 * costs.frequencies.validation
    if costs.validating() > SHARE * costs.total() and costs.plan.num_epochs > every:
        then = costs.total() - costs.validating() + costs.validating(every)
        lines.append(f"--val-frequency {every}: {_change(costs, then)}")
    if run.with_cycles is not None:
        other = run.with_cycles
        pixels = sum(map(other.pixels_of, other.phases)) / sum(map(costs.plan.pixels_of, costs.plan.phases))
        epochs = other.num_epochs - costs.plan.num_epochs
        then = (
            costs.total() + (pixels - 1) * costs.training() + epochs * costs.validation / costs.frequencies.validation
        )
        if then < costs.total():
            lines.append(f"--long-cycles --short-cycles: about {_change(costs, then)}; by pixels, not measured")
    return lines


def _of_memory(run: Run, measured: Measured) -> list[str]:
    lines = []
    for spec, clips in measured.too_large.items():
        own = run.of_rank(spec)
        lines.append(
            f"{own.batch_size} clips of {'x'.join(map(str, spec.shape))} do not fit the GPU's memory, {clips} do: give "
            f"--accumulate {run.accumulate * -(-own.batch_size // clips)} or a smaller --batch-size"
        )
    return lines


def facts(run: Run, measured: Measured) -> list[str]:
    """What the measurements do not hold."""
    lines, storage = list(run.notes), measured.storage
    if storage.cached is not None and storage.free_memory:
        fits = "fit" if storage.total_bytes < storage.free_memory else "do not fit"
        line = (
            f"the videos have {size_text(storage.total_bytes)} and {fits} the {size_text(storage.free_memory)} of free "
            f"memory; before the measurement the system's cache held {storage.cached:.0%} of a sample of them"
        )
        if storage.cached < 0.5 and fits == "fit":
            line += ": after the first epoch reading is faster than measured"
        elif storage.cached > 0.1 and fits != "fit":
            line += ": in the run they come from the disk, and reading may be slower than measured"
        lines.append(line)
    if measured.is_saved_elsewhere:
        lines.append(f"no checkpoint could be written in {run.place}: the time to write one is that of another disk")
    return lines
