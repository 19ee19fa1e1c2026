"""How many clips batch norm normalises together at each shape of a plan: whether they are enough, and what changes."""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache, partial
from itertools import islice
from math import lcm

import torch

from common.errors import DataError
from data.clips.types import ClipShape
from network import create_network, network_names
from network.sub_batch_norm import smallest_norm_input
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Plan, StepSpec


def accumulation_warnings(plan: Plan, accumulate: int, synchronise: bool) -> list[str]:
    """Lines that name the shapes at which the parts of --accumulate make batch norm cover fewer clips."""
    ranks = 1 if synchronise else plan.world_size
    changed: dict[tuple[int, int], list[str]] = {}
    for spec in plan.step_specs:
        clips, whole = spec.norm_clips(ranks, accumulate), spec.norm_clips(ranks, 1)
        if clips < whole:
            changed.setdefault((clips, whole), []).append(_text(spec))
    where = " on each GPU" if ranks > 1 else ""
    return [
        f"--accumulate {accumulate}: batch norm's statistics cover {clips} clips{where} instead of {whole} at "
        + ", ".join(dict.fromkeys(shapes))
        for (clips, whole), shapes in changed.items()
    ]


def check_norm_clips(
    plan: Plan,
    options: ScheduleOptions,
    accumulate: int,
    synchronise: bool,
    network: str,
    is_precise: bool = False,
) -> None:
    """DataError if a step of the plan would give batch norm a single value of each channel, which has no variance.

    `is_precise`: whether --precise-bn takes batches at the full shape, also where no step has it. A single value
    is left where one clip is normalised alone and the network reduces it to one frame of one pixel.
    """
    smallest = cache(partial(_smallest_norm_input, network))

    def bad_step(plan: Plan, accumulate: int) -> StepSpec | None:
        ranks = 1 if synchronise else plan.world_size
        specs = (*plan.step_specs, plan.full_spec) if is_precise else plan.step_specs
        alone = (spec for spec in specs if spec.norm_clips(ranks, accumulate) == 1)
        return next((spec for spec in alone if smallest(spec.shape) == 1), None)

    spec = bad_step(plan, accumulate)
    if spec is None:
        return
    clips = plan.base_batch_size // plan.world_size
    fewer = (parts for parts in range(accumulate - 1, 0, -1) if clips % parts == 0 and not bad_step(plan, parts))
    larger = (other for other in _larger_batches(plan, options, accumulate) if not bad_step(other, accumulate))
    remedies = [f"--accumulate {parts}" for parts in islice(fewer, 1)]
    remedies += [f"--batch-size {other.base_batch_size}" for other in islice(larger, 1)]
    remedies += ["--sync-bn"] if plan.world_size > 1 else []
    given = f"--batch-size {options.batch_size}"
    given += f" with --accumulate {accumulate}" if accumulate > 1 else ""
    given += f" over {plan.world_size} GPUs" if plan.world_size > 1 else ""
    raise DataError(
        f"{given}: at {_text(spec)}, batch norm would normalise each clip alone, which {network} reduces to a single "
        f"value of each channel; give {' or '.join(remedies or ['a larger --clip-size'])}"
    )


def _smallest_norm_input(network: str, shape: ClipShape) -> int:
    plain = network.removeprefix("srtg_")  # SRTG keeps all shapes, and the plain twin is made faster
    with torch.device("meta"):
        made = create_network(plain if plain in network_names() else network, 1)
    return smallest_norm_input(made, *shape)


def _larger_batches(plan: Plan, options: ScheduleOptions, accumulate: int) -> Iterator[Plan]:
    """The plans of the next larger batch sizes that divide over ranks, parts and repeats, up to twice the batch."""
    step, size = plan.world_size * lcm(accumulate, plan.repeats), plan.base_batch_size
    for larger in range(size + step, 2 * size + 1, step):
        try:
            yield make_plan(replace(options, batch_size=larger), plan.num_videos, plan.world_size)
        except DataError:  # the videos do not fill such a batch
            return


def _text(spec: StepSpec) -> str:
    return "x".join(map(str, spec.shape))
