"""The schedule of a run as a pure function of epoch and step. `train.schedule.multigrid` builds it."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil, gcd
from typing import NamedTuple

from data.clips.types import ClipShape
from train.schedule.learning_rate import LrSchedule, warmed_up_lr


class StepSpec(NamedTuple):
    """Clip shape and batch of one step."""

    shape: ClipShape
    batch_size: int  # clips of the whole batch, over all ranks
    batch_factor: int  # of the long cycle: the number of batch norm's sub-batches on each GPU
    max_interval_factor: float  # multiplies the highest sampling interval

    def sub_batches(self, parts: int) -> int:
        """The number of batch norm's sub-batches in each of the `parts` of --accumulate.

        If `parts` divides the batch factor, each part has whole sub-batches, the same as without parts. Otherwise a
        part has only some clips of a sub-batch.
        """
        return self.batch_factor // gcd(self.batch_factor, parts)

    def norm_clips(self, ranks: int, parts: int) -> int:
        """The clips that batch norm normalises together where `ranks` ranks divide each sub-batch (--sync-bn: 1)."""
        return self.batch_size // (ranks * parts) // self.sub_batches(parts)


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs (in the per-epoch variant, a quarter of each) with one long-cycle shape and one rate."""

    name: str
    first_epoch: int  # counted from 1
    last_epoch: int  # inclusive
    frames: int
    size: int
    batch_size: int  # over all ranks, at the long cycle's own crop; the short cycle's other batches are larger
    batch_factor: int  # batch_size / base batch size: 8, 4, 2, 1
    lr: float  # at the start of the phase, without warm-up
    short_cycle: tuple[StepSpec, ...]  # step i of an epoch has short_cycle[i % len(short_cycle)]
    max_interval_factor: float
    lr_steps_passed: int
    part: int = 0  # in the per-epoch variant each epoch has `parts` parts, and this phase is number `part`
    parts: int = 1

    @property
    def num_epochs(self) -> int:
        """The number of its epochs."""
        return self.last_epoch - self.first_epoch + 1

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch size of each step of the short cycle, over all ranks."""
        return tuple(step.batch_size for step in self.short_cycle)


@dataclass(frozen=True)
class Plan:
    """The schedule of a whole run. Epochs count from 1, steps of an epoch from 0."""

    phases: tuple[Phase, ...]
    num_videos: int
    world_size: int
    base_shape_lr: float  # the rate at a batch factor of 1, before it falls
    lr_schedule: LrSchedule
    warmup_epochs: float
    warmup_lr: float
    full_spec: StepSpec  # the base shape and the base batch size
    fixed_shape_pixels: int  # for comparison: clips x frames x height x width of the nominal epochs at the base shape
    fixed_shape_steps: int  # for comparison: the steps of the nominal epochs at the base shape
    notes: tuple[str, ...] = ()  # for the user: what was changed to fit the data or the number of epochs
    repeats: int = 1  # clips of each video in a batch

    @property
    def num_epochs(self) -> int:
        """The epochs of the whole run; 1.5 times the nominal ones with the paper's cycles."""
        return self.phases[-1].last_epoch

    def phase(self, epoch: int, step: int = 0) -> Phase:
        """The phase of a step; `step` matters only if an epoch has several phases."""
        phases = self._phases_in(epoch)
        return phases[step * len(phases) // self.steps_in_epoch(epoch)]

    def steps_in_epoch(self, epoch: int) -> int:
        """The number of batches that the videos' clips fill, in the order of the short cycle. The rest is skipped.

        An epoch uses each video in at most one batch; each epoch skips different ones. In the per-epoch variant all
        quarters have the same number of steps.
        """
        phases = self._phases_in(epoch)
        return len(phases) * steps_per_part(tuple(phase.batch_sizes for phase in phases), self.clips_in_videos)

    def step_spec(self, epoch: int, step: int) -> StepSpec:
        """Shape and batch of a step."""
        assert 0 <= step < self.steps_in_epoch(epoch), (epoch, step)
        cycle = self.phase(epoch, step).short_cycle
        return cycle[step % len(cycle)]

    def clips_before(self, epoch: int, step: int) -> int:
        """The number of clips in the epoch's earlier steps, over all ranks."""
        phases = self._phases_in(epoch)
        steps = self.steps_per_epoch(phases[0])
        starts = [phase.part * steps for phase in phases]
        return sum(
            _total(phase.batch_sizes, start, min(step, start + steps))
            for phase, start in zip(phases, starts, strict=True)
            if start < step
        )

    def lr(self, epoch: int, step: int) -> float:
        """The learning rate of a step. The warm-up is linear and ends at the rate of the schedule."""
        phase = self.phase(epoch, step)
        progress = epoch - 1 + step / self.steps_in_epoch(epoch)
        if progress >= self.warmup_epochs:
            return self.scheduled_lr(phase, progress)
        phases_after = self._phases_in(int(self.warmup_epochs) + 1)
        targets = [self.scheduled_lr(after, self.warmup_epochs) for after in phases_after]
        target = targets[phase.part]
        start = self.warmup_lr * target / targets[0]  # the per-epoch variant's quarters keep their ratios
        return warmed_up_lr(progress, self.warmup_epochs, start, target)

    def scheduled_lr(self, phase: Phase, progress: float) -> float:
        """The rate of a phase after `progress` epochs of the run, without warm-up."""
        factor = self.lr_schedule(progress / self.num_epochs, phase.lr_steps_passed)
        return self.base_shape_lr * factor * phase.batch_factor

    @property
    def clips_in_videos(self) -> int:
        """The most clips that an epoch may have."""
        return self.num_videos * self.repeats

    @property
    def base_batch_size(self) -> int:
        """--batch-size: the clips of a batch at the base shape, over all ranks."""
        return self.phases[0].batch_size // self.phases[0].batch_factor

    @property
    def step_specs(self) -> tuple[StepSpec, ...]:
        """Every shape and batch that occurs in the run, in the order of the phases; short epochs have not all."""
        found: dict[StepSpec, None] = {}
        for phase in self.phases:
            steps, cycle = self.steps_per_epoch(phase), phase.short_cycle
            start = phase.part * steps
            found |= dict.fromkeys(cycle[step % len(cycle)] for step in range(start, start + min(steps, len(cycle))))
        return tuple(found)

    @property
    def largest_shape(self) -> ClipShape:
        """The clip shape with the largest frames."""
        return max((spec.shape for spec in self.step_specs), key=lambda shape: shape.height)

    @property
    def total_steps(self) -> int:
        """The number of steps of the whole run."""
        return sum(phase.num_epochs * self.steps_per_epoch(phase) for phase in self.phases)

    @property
    def warmup_steps(self) -> int:
        """The number of steps of the warm-up."""
        whole, part = divmod(self.warmup_epochs, 1)
        steps = sum(self.steps_in_epoch(epoch + 1) for epoch in range(int(whole)))
        return steps + (ceil(part * self.steps_in_epoch(int(whole) + 1)) if part else 0)

    def steps_per_epoch(self, phase: Phase) -> int:
        """The number of steps of the phase in each of its epochs."""
        return self.steps_in_epoch(phase.first_epoch) // phase.parts

    def pixels_of(self, phase: Phase) -> int:
        """Clips x frames x height x width over the whole phase; the time it takes is about proportional to this."""
        steps = self.steps_per_epoch(phase)
        pixels = tuple(spec.batch_size * spec.shape.frames * spec.shape.height**2 for spec in phase.short_cycle)
        return phase.num_epochs * _total(pixels, phase.part * steps, (phase.part + 1) * steps)

    def _phases_in(self, epoch: int) -> tuple[Phase, ...]:
        assert 1 <= epoch <= self.num_epochs, epoch
        return tuple(phase for phase in self.phases if phase.first_epoch <= epoch <= phase.last_epoch)


def _total(cycle: tuple[int, ...], start: int, stop: int) -> int:
    """The sum of `cycle[i % len(cycle)]` over steps i from `start` to `stop`."""
    rounds, rest = divmod(stop - start, len(cycle))
    return rounds * sum(cycle) + sum(cycle[i % len(cycle)] for i in range(stop - rest, stop))


@lru_cache(maxsize=256)
def steps_per_part(cycles: tuple[tuple[int, ...], ...], num_clips: int) -> int:
    """The most steps that each part of an epoch can have if the epoch uses at most `num_clips` clips.

    `cycles` are the batch sizes of each part's short cycle; step i of the epoch, not of the part, has position i mod 3.
    """

    def clips(steps: int) -> int:
        return sum(_total(cycle, part * steps, (part + 1) * steps) for part, cycle in enumerate(cycles))

    steps = num_clips // sum(map(sum, cycles)) * len(cycles[0])  # whole short cycles; then single steps
    while clips(steps + 1) <= num_clips:
        steps += 1
    return steps
