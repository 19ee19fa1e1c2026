"""Multigrid training: the clip shape, batch size and learning rate of every step.

Wu et al. 2020, "A Multigrid Method for Efficiently Training Video Models", arXiv 1912.00998: most of the run trains
on small clips in large batches. The *long cycle* goes through four shapes within each learning-rate step, and the
*short cycle* through three crops from step to step. Without cycles the plan has one fixed shape, so that the training
loop has one code path.

This prints a plan, without data or GPU:

    python -m train.schedule --batch-size 32 --lr-steps 94 154 196 --end-epoch 239 --long-cycles --short-cycles
"""

from collections.abc import Sequence
from fractions import Fraction
from math import isfinite
from typing import NamedTuple

from common.errors import DataError
from common.options import check_bounds
from data.clips.types import ClipShape
from train.schedule.learning_rate import SCHEDULES, LrSchedule, usable_lr_steps
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Phase, Plan, StepSpec, steps_per_part

EPOCH_FACTOR = Fraction(3, 2)  # a run with cycles visits the data 1.5 times as often as the nominal epochs say
LONG_CYCLE = ((1 / 4, 0.5**0.5), (1 / 2, 0.5**0.5), (1 / 2, 1.0), (1.0, 1.0))  # of the base frames and crop
SHORT_CYCLE = (1 / 2, 0.5**0.5)  # of the base crop; the third step has the long cycle's own crop
PER_EPOCH_SHORT_CYCLE = ((0.5**0.5, 2), (1 / 2, 4))  # of the long cycle's crop, and batch; the first step has this crop
DEFAULT_WARMUP = Fraction(1, 7)  # of the nominal epochs; the published Kinetics schedule warms up for 34 of 239
DEFAULT_WARMUP_LR = 0.1  # of the base rate; the same schedule starts at 0.01 with a base rate of 0.1


class _Base(NamedTuple):
    """The base shape and batch, whether there is a short cycle, and whether it is that of the per-epoch variant."""

    frames: int
    size: int
    batch_size: int
    short_cycles: bool
    per_epoch: bool


class _LongShape(NamedTuple):
    """One shape of the long cycle. No batch is larger than the number of videos."""

    frames: int
    size: int
    batch_factor: int
    steps: tuple[StepSpec, ...]

    @property
    def batch_size(self) -> int:
        """The batch at the long cycle's own crop; smaller crops have larger batches."""
        return min(step.batch_size for step in self.steps)

    @property
    def mean_batch(self) -> Fraction:
        return Fraction(sum(step.batch_size for step in self.steps), len(self.steps))


class _PhaseDraft(NamedTuple):
    """A possible phase: it is dropped if it has no epoch after rounding."""

    name: str
    last_epoch: int
    shape: _LongShape
    lr_steps_passed: int
    part: int = 0


def make_plan(options: ScheduleOptions, num_videos: int, world_size: int = 1) -> Plan:
    """The plan of a run over `num_videos` training videos, with batches divided over `world_size` ranks.

    Epochs: `end_epoch` and `lr_steps` are nominal. A run with cycles has 1.5 times as many, except in the per-epoch
    variant.
    Rate: `lr_base` is that of the base shape, and grows with the long cycle's batch factor. In the per-epoch variant it
    is that of the largest batch, as in its authors' code.
    Default warm-up: with the paper's long cycles, a seventh of `end_epoch`, at most half of the first phase, from a
    tenth of `lr_base`. Otherwise there is none.
    Errors: DataError names the flag to change.
    """
    warmup_lr = options.lr_base * DEFAULT_WARMUP_LR if options.warmup_lr is None else options.warmup_lr
    per_epoch = options.multigrid == "per-epoch"
    _check_numbers(options, num_videos, world_size, warmup_lr)
    if per_epoch and not options.long_cycles:
        raise DataError("--multigrid per-epoch needs long cycles: give --long-cycles too")
    lr_schedule = SCHEDULES[options.lr_schedule](options)
    steps, notes = _lr_steps(options, lr_schedule)
    base = _Base(options.clip_length, options.clip_size, options.batch_size, options.short_cycles, per_epoch)
    factors = LONG_CYCLE if options.long_cycles else LONG_CYCLE[-1:]
    shapes = _fitting_shapes(base, num_videos, options.repeat_clips, factors, per_epoch, notes)
    spans = _spans(options, shapes, steps)
    base_shape_lr = options.lr_base / _batch_factor(base, *LONG_CYCLE[0]) if per_epoch else options.lr_base
    phases = _phases(spans, base_shape_lr, lr_schedule, len(shapes) if per_epoch else 1, notes)
    warmup_epochs = options.warmup_epochs
    if warmup_epochs is None:
        longest = phases[0].num_epochs / 2 if options.long_cycles and not per_epoch else 0
        warmup_epochs = min(max(1, round(options.end_epoch * DEFAULT_WARMUP)), longest)
    if not 0 <= warmup_epochs < phases[-1].last_epoch:
        raise DataError(
            f"--warmup-epochs {warmup_epochs:g}: give 0 or more, and less than the run's {phases[-1].last_epoch} epochs"
        )
    if options.end_lr and lr_schedule.uses_lr_steps:
        notes.append(
            f"--end-lr has no effect: with --lr-schedule {options.lr_schedule}, --lr-factor says how far it falls"
        )
    if options.warmup_lr is not None and not warmup_epochs:
        notes.append("--warmup-lr has no effect: the run has no warm-up; give --warmup-epochs")
    fixed_shape_steps = options.end_epoch * (num_videos * options.repeat_clips // options.batch_size)
    step_pixels = options.batch_size * options.clip_length * options.clip_size**2
    return Plan(
        phases=phases,
        num_videos=num_videos,
        world_size=world_size,
        base_shape_lr=base_shape_lr,
        lr_schedule=lr_schedule,
        warmup_epochs=warmup_epochs,
        warmup_lr=warmup_lr,
        full_spec=StepSpec(ClipShape(base.frames, base.size, base.size), base.batch_size, 1, 1),
        fixed_shape_pixels=fixed_shape_steps * step_pixels,
        fixed_shape_steps=fixed_shape_steps,
        notes=tuple(notes),
        repeats=options.repeat_clips,
    )


def _check_numbers(options: ScheduleOptions, num_videos: int, world_size: int, warmup_lr: float) -> None:
    check_bounds(options)
    for name, count in (("number of training videos", num_videos), ("--gpus", world_size)):
        if count < 1:
            raise DataError(f"{name} {count}: must be 1 or more")
    if options.batch_size % world_size:
        nearest = max(1, round(options.batch_size / world_size)) * world_size
        raise DataError(
            f"--batch-size {options.batch_size} cannot be divided over {world_size} ranks: give a multiple of "
            f"{world_size}, such as {nearest}"
        )
    unit = world_size * options.repeat_clips
    if options.batch_size % unit:
        over = f" over {world_size} ranks" if world_size > 1 else ""
        raise DataError(
            f"--batch-size {options.batch_size} cannot be divided into the clips of --repeat-clips "
            f"{options.repeat_clips}{over}: give a multiple of {unit}, such as "
            f"{max(1, round(options.batch_size / unit)) * unit}"
        )
    if options.lr_schedule == "cosine" and options.end_lr > options.lr_base:
        raise DataError(f"--end-lr {options.end_lr:g}: give --lr-base {options.lr_base:g} or less")
    for flag, rate in (("--lr-base", options.lr_base), ("--lr-factor", options.lr_factor), ("--warmup-lr", warmup_lr)):
        if not (isfinite(rate) and rate >= 0):
            raise DataError(f"{flag} {rate:g}: must be finite and not negative")


def _lr_steps(options: ScheduleOptions, lr_schedule: LrSchedule) -> tuple[tuple[int, ...], list[str]]:
    """The lr steps that divide the run, and notes on flags without effect."""
    steps = usable_lr_steps(options.lr_steps, options.end_epoch)
    unused = " ".join(map(str, options.lr_steps[len(steps) :]))
    divides_cycles = options.long_cycles and options.multigrid == "paper"
    if not lr_schedule.uses_lr_steps and not divides_cycles:
        return (), [f"--lr-schedule {options.lr_schedule} does not use --lr-steps and --lr-factor"]
    if not lr_schedule.uses_lr_steps:
        name = options.lr_schedule
        return steps, [f"--lr-schedule {name} does not use --lr-factor; --lr-steps only divide the long cycles"]
    notes = [f"--lr-steps {unused} are not used: the run has {options.end_epoch} nominal epochs"] if unused else []
    return steps, notes


def _scaled(length: int, factor: float) -> int:
    return max(1, round(length * factor))


def _batch_factor(base: _Base, frames_factor: float, size_factor: float) -> int:
    frames, size = _scaled(base.frames, frames_factor), _scaled(base.size, size_factor)
    return round(base.frames * base.size**2 / (frames * size**2))


def _long_shape(base: _Base, frames_factor: float, size_factor: float, limit: int | None = None) -> _LongShape:
    """A long-cycle shape with its short cycle; batches are at most `limit` base batches.

    A batch reduced in this way is still a multiple of the base batch, so it divides over ranks and sub-batches.
    """
    frames, size = _scaled(base.frames, frames_factor), _scaled(base.size, size_factor)
    factor = _batch_factor(base, frames_factor, size_factor)
    factor = factor if limit is None else min(factor, limit)
    return _LongShape(frames, size, factor, _short_cycle(base, frames, size, factor, limit))


def _short_cycle(base: _Base, frames: int, size: int, factor: int, limit: int | None) -> tuple[StepSpec, ...]:
    """The steps of a short cycle: crop and batch of each. Without short cycles, the one step of the long cycle."""
    steps = []
    for crop, short_factor in _short_crops(base, size):
        short_factor = short_factor if limit is None else min(short_factor, limit // factor)
        batch_size = base.batch_size * factor * short_factor
        steps.append(StepSpec(ClipShape(frames, crop, crop), batch_size, factor, base.frames // frames))
    return tuple(steps)


def _short_crops(base: _Base, size: int) -> list[tuple[int, int]]:
    """Crop and batch, in batches of the long cycle's shape, of each step at a long-cycle shape of `size` pixels.

    In the paper the small crops are parts of the base crop. In the per-epoch variant they are parts of the long cycle's
    crop, rounded as in its authors' code: down to whole pixels, then up to an even number.
    """
    if not base.short_cycles:
        return [(size, 1)]
    if base.per_epoch:
        smaller = [(max(1, int(size * part)), batches) for part, batches in PER_EPOCH_SHORT_CYCLE]
        return [(size, 1), *((min(size, crop + crop % 2), batches) for crop, batches in smaller)]
    smaller = [(_scaled(base.size, part), round((size / (base.size * part)) ** 2)) for part in SHORT_CYCLE]
    return [*((crop, max(1, batches)) for crop, batches in smaller), (size, 1)]


def _fitting_shapes(
    base: _Base,
    num_videos: int,
    repeats: int,
    factors: Sequence[tuple[float, float]],
    per_epoch: bool,
    notes: list[str],
) -> list[_LongShape]:
    """The shapes with the largest batches, at most the paper's, that give every epoch at least one step."""
    num_clips = num_videos * repeats
    each = f" of {repeats} clips each" if repeats > 1 else ""
    for limit in range(num_clips // base.batch_size, 0, -1):
        shapes = [_long_shape(base, *pair, limit) for pair in factors]
        batches = tuple(tuple(step.batch_size for step in shape.steps) for shape in shapes)
        if not per_epoch or steps_per_part(batches, num_clips) > 0:
            break
    else:
        least = len(factors) if per_epoch else 1
        raise DataError(
            f"--batch-size {base.batch_size}: {num_videos} training videos{each} do not fill "
            f"{f'the {least} batches of an epoch' if per_epoch else 'one batch'}; "
            f"give --batch-size {max(1, num_videos // least) * repeats} or less"
        )
    for pair, shape in zip(factors, shapes, strict=True):
        for wanted, step in zip(_long_shape(base, *pair).steps, shape.steps, strict=True):
            note = (
                f"shape {step.shape.frames} x {step.shape.height}: batch {step.batch_size} instead of "
                f"{wanted.batch_size}, because there are only {num_videos} training videos{each}"
            )
            if step.batch_size < wanted.batch_size and note not in notes:
                notes.append(note)
    return shapes


def _spans(options: ScheduleOptions, shapes: Sequence[_LongShape], lr_steps: tuple[int, ...]) -> list[_PhaseDraft]:
    """The possible phases of the chosen cycles."""
    if options.multigrid == "per-epoch":
        return _per_epoch_spans(shapes, (*lr_steps, options.end_epoch))
    if options.long_cycles:
        return _long_cycle_spans(shapes, lr_steps, options.end_epoch)
    factor = EPOCH_FACTOR if options.short_cycles else Fraction(1)
    return _fixed_spans(shapes[0], (*lr_steps, options.end_epoch), factor)


def _fixed_spans(shape: _LongShape, epochs: Sequence[int], factor: Fraction) -> list[_PhaseDraft]:
    """One shape, with or without short cycle; `epochs` are the nominal ends of the lr steps."""
    return [_PhaseDraft(str(k + 1), int(epoch * factor), shape, k) for k, epoch in enumerate(epochs)]


def _per_epoch_spans(shapes: Sequence[_LongShape], epochs: Sequence[int]) -> list[_PhaseDraft]:
    """Every epoch has all shapes, with the same number of steps each."""
    return [
        _PhaseDraft(f"{k + 1}.{part + 1}", epoch, shape, k, part)
        for k, epoch in enumerate(epochs)
        for part, shape in enumerate(shapes)
    ]


def _long_cycle_spans(shapes: Sequence[_LongShape], lr_steps: Sequence[int], end_epoch: int) -> list[_PhaseDraft]:
    """The long cycle's phases: the same number of steps for each shape within an lr step, then a final phase.

    Lengths are exact fractions until the cumulated epochs are rounded, half to even. The final phase has the full
    shape. Compared with the nominal epochs after the last lr step, it saves the same share of steps as the phases
    before it; its first half keeps their rate. Without lr steps the whole run is one cycle without a final phase.
    """
    means = [shape.mean_batch for shape in shapes]
    ends = lr_steps or (end_epoch,)
    lengths = [
        Fraction(end - start) * mean / sum(means)
        for start, end in zip((0, *ends), ends, strict=False)
        for mean in means
    ]
    steps = sum((length / mean for length, mean in zip(lengths, means * len(ends), strict=True)), Fraction(0))
    lengths.append((end_epoch - ends[-1]) * steps / ends[-1] * means[-1])
    scale = end_epoch * EPOCH_FACTOR / sum(lengths)
    last_epochs = [round(sum(lengths[: i + 1]) * scale) for i in range(len(lengths))]

    spans = [
        _PhaseDraft(f"{i // len(shapes) + 1}.{i % len(shapes) + 1}", last, shapes[i % len(shapes)], i // len(shapes))
        for i, last in enumerate(last_epochs[:-1])
    ]
    if lr_steps:
        start, end = last_epochs[-2:]
        spans.append(_PhaseDraft("final", (start + end) // 2, shapes[-1], len(lr_steps) - 1))
        spans.append(_PhaseDraft("final", end, shapes[-1], len(lr_steps)))
    return spans


def _phases(
    spans: Sequence[_PhaseDraft], base_shape_lr: float, lr_schedule: LrSchedule, parts: int, notes: list[str]
) -> tuple[Phase, ...]:
    """The phases: all spans that have an epoch. Adds a note for each of the others."""
    phases: list[Phase] = []
    first = 1
    for i, span in enumerate(spans):
        shape = span.shape
        if span.last_epoch >= first:
            schedule_factor = lr_schedule((first - 1) / spans[-1].last_epoch, span.lr_steps_passed)
            phase = Phase(
                name=span.name,
                first_epoch=first,
                last_epoch=span.last_epoch,
                frames=shape.frames,
                size=shape.size,
                batch_size=shape.batch_size,
                batch_factor=shape.batch_factor,
                lr=base_shape_lr * schedule_factor * shape.batch_factor,
                short_cycle=shape.steps,
                max_interval_factor=shape.steps[0].max_interval_factor,
                lr_steps_passed=span.lr_steps_passed,
                part=span.part,
                parts=parts,
            )
            phases.append(phase)
        elif span.name not in {other.name for other in spans[i + 1 :]}:
            notes.append(f"phase {span.name} ({shape.frames} x {shape.size}) gets no epoch: its lr step is too short")
        if span.part == parts - 1:
            first = max(first, span.last_epoch + 1)
    return tuple(phases)
