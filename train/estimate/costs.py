"""From what was measured to hours: plain arithmetic over the plan."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from train.schedule.plan import Phase, Plan, StepSpec

Cycle = tuple[StepSpec, ...]  # the steps of a short cycle, or the one step of all
BEST_SHARE = 0.5  # of the validations, those after which `best` is written: many at first, few at the end


class ShapeCost(NamedTuple):
    """What one step of a shape costs one rank, in seconds."""

    read: float  # to read its clips with all workers, while nothing else is done
    compute: float  # augmentation, forward, backward and update, while nothing is read
    augment: float  # the part of it that is augmentation
    memory: int = 0  # peak on the GPU in bytes; 0: not known
    how: str = ""  # "": measured; PART: from smaller batches; PIXELS: from other shapes


PART, PIXELS = "part", "pixels"


@dataclass(frozen=True)
class Frequencies:
    """How often a run validates and saves."""

    validation: int  # epochs
    epoch_file: int  # epochs
    every_steps: int = 0
    every_minutes: float = 0.0
    keep: int = 10  # files of epochs; 0: all


@dataclass(frozen=True)
class Costs:
    """All measurements, of one rank. Times are in seconds."""

    plan: Plan
    shapes: Mapping[StepSpec, ShapeCost]  # by the steps of the plan
    is_gpu: bool
    workers: int
    cores: float  # of this rank
    frequencies: Frequencies
    together: Mapping[Cycle, float] = field(default_factory=dict)
    """A round of a short cycle in real training, reading and computing at once; not of every cycle."""
    epoch_start: float = 0.0  # until the first batch of an epoch is read
    validation: float = 0.0  # of all videos
    copy: float = 0.0  # of the state that a checkpoint is written from: the run waits for it
    write: float = 0.0  # of one checkpoint, beside the run
    checkpoint_bytes: int = 0
    start: float = 0.0  # until the first step, once

    def cycles(self) -> dict[Cycle, list[Phase]]:
        """The different short cycles of the plan, and their phases."""
        found: dict[Cycle, list[Phase]] = {}
        for phase in self.plan.phases:
            found.setdefault(phase.short_cycle, []).append(phase)
        return found

    def steps_of(self, spec: StepSpec) -> int:
        """The steps of the run with this shape and batch."""
        return sum(
            phase.num_epochs * sum(each == spec for each in self._specs_of(phase))
            for phase in self.plan.phases
            if spec in phase.short_cycle
        )

    def _specs_of(self, phase: Phase) -> list[StepSpec]:
        """The steps of the phase in each of its epochs."""
        steps, cycle = self.plan.steps_per_epoch(phase), phase.short_cycle
        return [cycle[step % len(cycle)] for step in range(phase.part * steps, (phase.part + 1) * steps)]

    def read(self, cycle: Cycle) -> float:
        """The time to read a round's clips, while nothing else is done."""
        return sum(self.shapes[spec].read for spec in cycle)

    def compute(self, cycle: Cycle) -> float:
        """The time to compute a round's steps, while nothing is read."""
        return sum(self.shapes[spec].compute for spec in cycle)

    def round(self, cycle: Cycle, read: float = 1.0, compute: float = 1.0) -> float:
        """The time of a round of training, if reading took `read` times and computing `compute` times as long."""
        reads, computes = self.read(cycle), self.compute(cycle)
        now = self.at_once(reads, computes)
        then = self.at_once(reads * read, computes * compute)
        measured = self.together.get(cycle)
        if measured is None:
            return then
        # Reading is not faster while computing goes on. The first batches of the measurement may have been read before.
        return max(measured, reads) * then / now

    def at_once(self, read: float, compute: float) -> float:
        """The time of what takes `read` seconds of reading and `compute` of computing, each for itself."""
        if not self.workers:
            return read + compute
        if self.is_gpu:
            return max(read, compute)
        # On the CPU, workers and training share the cores.
        return max(read, compute + read * min(1.0, self.workers / self.cores))

    def waiting(self, cycle: Cycle) -> float:
        """The share of a round that is not computing: what a faster reading would save at most, 0 to 1."""
        return max(0.0, 1 - self.compute(cycle) / self.round(cycle))

    def training(self, read: float = 1.0, compute: float = 1.0) -> float:
        """All steps of the run; the factors as in `round`."""
        return sum(self.of_cycle(cycle, read, compute) for cycle in self.cycles()) + self.epoch_starts(read)

    def epoch_starts(self, read: float = 1.0) -> float:
        """What the epochs lose at their starts: reading begins before the state of the last one is copied."""
        return self.plan.num_epochs * max(0.0, self.epoch_start * read - self.copy)

    def of_cycle(self, cycle: Cycle, read: float = 1.0, compute: float = 1.0) -> float:
        """All steps of the phases with one short cycle."""
        steps = sum(phase.num_epochs * self.plan.steps_per_epoch(phase) for phase in self.cycles()[cycle])
        return steps * self.round(cycle, read, compute) / len(cycle)

    def validations(self, every: int = 0) -> int:
        """The number of validations, every `every` epochs (0: as the flags say) and after the last."""
        every, last = every or self.frequencies.validation, self.plan.num_epochs
        return last // every + bool(last % every)

    def validating(self, every: int = 0) -> float:
        """All validations."""
        return self.validations(every) * self.validation

    def saves(self) -> int:
        """How often the run saves: before a validation, after each epoch, and within epochs."""
        rates = self.frequencies
        within = self.plan.total_steps // rates.every_steps if rates.every_steps else 0
        if rates.every_minutes:
            within += int(self.training() / (60 * rates.every_minutes))
        return self.plan.num_epochs + self.validations() + within

    def writes(self) -> float:
        """The number of files that are written: the copies for an epoch and for the best count as well."""
        epochs, rates = self.plan.num_epochs, self.frequencies
        files = epochs // rates.epoch_file + bool(epochs % rates.epoch_file)
        return self.saves() + files + BEST_SHARE * self.validations()

    def saving(self) -> float:
        """What saving costs the run: the copies, the last file, and the files that take longer than what goes on."""
        beside = max(0.0, self.writes() * self.write - self.training() - self.validating())
        after_validation = self.validations() * max(0.0, self.write - self.validation)
        return self.saves() * self.copy + max(beside, after_validation) + self.write

    def total(self, read: float = 1.0, compute: float = 1.0) -> float:
        """The whole run."""
        return self.start + self.training(read, compute) + self.validating() + self.saving()

    def checkpoints(self) -> int:
        """The most files of checkpoints at a time: those of epochs, best, last, and the one that is being written."""
        epochs, rates = self.plan.num_epochs, self.frequencies
        files = epochs // rates.epoch_file + bool(epochs % rates.epoch_file)
        return min(files, rates.keep or files) + 3


def largest_batch(shapes: Mapping[StepSpec, int], fixed: float, limit: float, base: int, multiple: int) -> int:
    """The largest --batch-size whose steps all fit `limit` bytes of each GPU's memory.

    `shapes` gives the peak of each step, of which `fixed` bytes do not depend on the batch; `base` is the --batch-size
    that was measured. The result is a multiple of `multiple`, and 0 if none fits.
    """
    factors = [(limit - fixed) / (peak - fixed) for peak in shapes.values() if peak > fixed]
    if not factors or limit <= fixed:
        return 0
    return int(base * min(factors)) // multiple * multiple


def fixed_bytes(small: tuple[int, int], large: tuple[int, int]) -> float:
    """The memory that does not depend on the batch, of two measurements of one shape: (clips, peak in bytes) each."""
    (few, low), (many, high) = small, large
    return max(0.0, low - few * (high - low) / (many - few))


def line_through(small: tuple[int, float], large: tuple[int, float], clips: int) -> float:
    """Seconds of a step of `clips`, of two measurements with fewer: (clips, seconds) each."""
    (few, low), (many, high) = small, large
    each = max(high - low, 0.0) / (many - few)
    return max(high * clips / many if each == 0 else high + each * (clips - many), high)
