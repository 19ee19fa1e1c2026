"""What is measured, and in which time: reading, computing, both at once, a validation, a checkpoint.

Each part has until a share of the time is over, and each of its items a part of that. What is not reached is
estimated from the rest, and marked.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from common.errors import DataError
from common.processes import seconds_of_process
from data.clips.types import ClipShape
from data.loading.loader import Batch
from data.loading.prefetch import DeviceBatches, on_device
from train.checkpoint.state import collect_state, snapshot
from train.estimate.costs import PIXELS, Costs, Cycle, ShapeCost
from train.estimate.disk import Saved, write_time
from train.estimate.files import Storage, storage_of
from train.estimate.set_up import Run
from train.estimate.short_side import Smaller, smaller_frames
from train.estimate.steps import StepMeter
from train.estimate.validation import FORWARD_SHARE, Validation, ValidationMeter, Videos
from train.failures import bad_video_problem
from train.schedule.plan import StepSpec
from train.step_graphs import REPLAYED_FROM

ENDS = {"reading": 0.2, "computing": 0.6, "together": 0.85, "validation": 0.95, "rest": 1.0}  # shares of the time
MOST = {"reading": 4.0, "computing": 8.0, "together": 15.0, "validation": 10.0}  # seconds of an item, in USUAL
USUAL = 180.0  # seconds; in more, an item may take longer
CLIPS_READ = 4  # for each worker, of a batch that is read alone
LEAST = {"reading": 0.2, "computing": 0.5, "together": 0.5, "validation": 1.0}
"""Seconds of an item, also when the time of its part is over: what is chosen and recorded once took longer."""
SHORT_WRITE = 1.0  # seconds
HASH_BYTES = 8  # of each training video, in a checkpoint
NOT_SAVED = Saved()

clock = time.perf_counter


@dataclass
class Measured:
    """What the meter found."""

    costs: Costs
    storage: Storage
    smaller: Smaller | None  # what smaller frames would bring
    train_videos: Videos
    val_videos: Videos
    memory_limit: float = 0.0  # bytes of a GPU
    memory_fixed: float = 0.0  # of them, those that do not depend on the batch
    too_large: dict[StepSpec, int] = field(default_factory=dict)  # steps that do not fit, and the clips that do
    validation_is_measured: bool = True
    is_saved_elsewhere: bool = False  # than on the run's disk


class Meter:
    """Measures a run within `seconds`."""

    def __init__(self, run: Run, seconds: float, show: Callable[[str, float], None] = lambda text, share: None) -> None:
        """`show` gets what is being measured, and the share of the time that is over."""
        self.run = run
        self.show = show
        self.started = clock()
        self.seconds = seconds
        self.start = seconds_of_process()  # of the imports and the scan, as the run has them
        self.reads: dict[tuple[ClipShape, float], float] = {}  # seconds of a clip
        self.shapes: dict[StepSpec, ShapeCost] = {}  # of the plan's steps
        self.epoch_starts: list[float] = []
        self.train_videos = Videos()
        self.steps = StepMeter(run)
        self.validation = ValidationMeter(run, self.steps.wait)
        self.limit = self.fixed = 0.0  # bytes of a GPU, see StepMeter.memory

    def measure(self) -> Measured:
        """Measure everything; takes about the time that was given, or less."""
        run = self.run
        storage = storage_of((run.splits.train, run.splits.val))  # before reading puts videos into the cache
        self.read_all()
        self.compute_all()
        costs = self.costs({})
        costs = self.costs(self.train_all(costs))
        self.say("a validation")
        validation = self.validate(costs)
        self.start += validation.once
        self.say("a checkpoint")
        saved = self.save()
        self.say("smaller frames")
        smaller = smaller_frames(run.splits.train, run.dataset.sampling, [spec.shape for spec in self.specs()])
        costs = self.costs(costs.together, validation.each, saved)
        return Measured(
            costs,
            storage,
            smaller,
            self.train_videos,
            self.validation.videos,
            self.limit,
            self.fixed,
            self.steps.too_large,
            validation.is_measured,
            saved.is_elsewhere,
        )

    def costs(self, together: Mapping[Cycle, float], validation: float = 0.0, saved: Saved = NOT_SAVED) -> Costs:
        """The costs of what was measured so far."""
        run = self.run
        return Costs(
            run.plan, self.shapes, run.is_gpu, run.workers, run.cores, run.frequencies, together,
            self.epoch_start(), validation, saved.copy, saved.write, saved.size, self.start + self.steps.once,
        )  # fmt: skip

    def epoch_start(self) -> float:
        """Seconds until the first batch of an epoch is there; where no epoch was begun, the time to read one."""
        found = self.epoch_starts or [self.shapes[phase.short_cycle[0]].read for phase in self.run.plan.phases]
        return sum(found) / len(found)

    def say(self, text: str) -> None:
        """Show what is being measured now."""
        self.show(f"measuring {text}", (clock() - self.started) / self.seconds)

    def left(self, part: str) -> float:
        """Seconds until a part should end."""
        return self.started + ENDS[part] * self.seconds - clock()

    def allowance(self, part: str, items: int) -> float:
        """Seconds for the next of `items` that a part still has to measure; a little also when its time is over."""
        return max(LEAST[part], min(MOST[part] * max(1.0, self.seconds / USUAL), self.left(part) / items))

    # Reading

    def read_all(self) -> None:
        """Read at each shape, with all workers and nothing else to do."""
        kinds = list(dict.fromkeys((spec.shape, spec.max_interval_factor) for spec in self.specs()))
        for number, (shape, factor) in enumerate(kinds):
            spec = next(s for s in self.specs() if (s.shape, s.max_interval_factor) == (shape, factor))
            self.say(f"reading: shape {number + 1} of {len(kinds)}, {'x'.join(map(str, shape))}")
            clips = min(self.run.of_rank(spec).batch_size, CLIPS_READ * max(1, self.run.workers))
            self.run.batches.cycle = [spec._replace(batch_size=clips)]
            started = clock()
            batches = iter(self.run.loader)
            self.note(next(batches))
            if number == 0:
                self.start += clock() - started
            self.reads[shape, factor] = self._read(batches, self.allowance("reading", len(kinds) - number))
            self.end(batches)

    def _read(self, batches: Iterator[Batch], seconds: float) -> float:
        """Seconds of a clip."""
        started, clips = clock(), 0
        while not clips or clock() - started < seconds:
            batch = next(batches)
            self.note(batch)
            clips += len(batch.labels)
        return (clock() - started) / clips

    def note(self, batch: Batch) -> None:
        """Count the videos that could not be read. DataError where the run itself finds none in their place."""
        if any(bad.replacement is None for bad in batch.bad_videos):
            raise DataError(bad_video_problem(batch.bad_videos, limit=1))
        self.train_videos.add(batch)

    def end(self, batches: Iterator[Batch]) -> None:
        """End an iteration of the loader: what it still reads would count as time of what is measured next."""
        self.run.batches.end()
        for batch in batches:
            self.note(batch)

    # Computing

    def specs(self) -> list[StepSpec]:
        """The steps of the plan; those that take most of the run come first."""
        plan = self.run.plan
        pixels: dict[StepSpec, float] = {}
        for phase in plan.phases:
            steps = phase.num_epochs * plan.steps_per_epoch(phase) / len(phase.short_cycle)
            for spec in phase.short_cycle:
                pixels[spec] = pixels.get(spec, 0.0) + steps * pixels_of(spec)
        return sorted(pixels, key=lambda spec: pixels[spec], reverse=True)

    def compute_all(self) -> None:
        """Make steps of each shape, without reading."""
        specs = self.specs()
        rest = []
        for number, spec in enumerate(specs):
            if number and self.left("computing") <= 0:
                rest.append(spec)
            else:
                self.say(f"computing: shape {number + 1} of {len(specs)}, {'x'.join(map(str, spec.shape))}")
                cost = self.steps.compute(spec, self.allowance("computing", len(specs) - number))
                self.shapes[spec] = cost._replace(read=self.read_of(spec))
        known, pixels = list(self.shapes.values()), sum(map(pixels_of, self.shapes))
        for spec in rest:
            share = pixels_of(spec) / pixels
            computing, augment = sum(cost.compute for cost in known), sum(cost.augment for cost in known)
            self.shapes[spec] = ShapeCost(self.read_of(spec), computing * share, augment * share, how=PIXELS)
        if self.run.is_gpu:
            peaks = {s: cost.memory for s, cost in self.shapes.items() if cost.memory and s not in self.steps.too_large}
            self.limit, self.fixed = self.steps.memory(peaks if self.left("together") > 0 else {})

    def read_of(self, spec: StepSpec) -> float:
        """Seconds to read a rank's clips of a step."""
        return self.reads[spec.shape, spec.max_interval_factor] * self.run.of_rank(spec).batch_size

    # Both

    def train_all(self, costs: Costs) -> dict[Cycle, float]:
        """Real training of each short cycle: seconds of a round."""
        found = {}
        cycles = sorted(costs.cycles(), key=costs.of_cycle, reverse=True)
        before = REPLAYED_FROM if self.run.trainer.options.graphs else 1  # rounds, in which passes are recorded
        for number, cycle in enumerate(cycles):
            seconds = self.allowance("together", len(cycles) - number)
            is_whole = all(spec in self.shapes and spec not in self.steps.too_large for spec in cycle)
            if is_whole and (before + 1) * costs.round(cycle) < seconds:
                self.say(f"training: {number + 1} of {len(cycles)} cycles")
                found[cycle] = self.train(cycle, before, seconds - before * costs.round(cycle))
        return found

    def train(self, cycle: Cycle, before: int, seconds: float) -> float:
        """Seconds of a round, after some that are not counted."""
        run = self.run
        run.batches.cycle = [run.of_rank(spec) for spec in cycle]
        started = clock()
        batches = on_device(run.loader, run.device)
        batches.fetch_ahead()
        self.epoch_starts.append(clock() - started)
        for _ in range(before):
            self._round(batches, cycle)
        self.steps.wait()
        started, rounds = clock(), 0
        while not rounds or clock() - started < seconds:
            self._round(batches, cycle)
            rounds += 1
        self.steps.wait()
        took = clock() - started
        self.end(batches)
        return took / rounds

    def _round(self, batches: DeviceBatches, cycle: Cycle) -> None:
        for spec in cycle:
            batch = next(batches)
            self.note(batch)
            self.steps.step(batch, spec)
            batches.fetch_ahead()

    # Once in an epoch

    def validate(self, costs: Costs) -> Validation:
        """A validation, as far as there is time for it."""
        full = max(self.shapes, key=lambda spec: spec.shape.frames * spec.shape.height)
        share = self.validation.pixels / pixels_of(self.run.of_rank(full))
        guess = costs.at_once(share * costs.read((full,)), share * FORWARD_SHARE * costs.compute((full,)))
        found = self.validation.measure(self.allowance("validation", 1), guess)
        statistics = self.run.statistics * pixels_of(self.run.of_rank(self.run.plan.full_spec))
        return found._replace(each=found.each * (1 + statistics / (self.validation.pixels * self.validation.batches)))

    def save(self) -> Saved:
        """Copy the state of a checkpoint, and write it."""
        run = self.run
        trainer = run.trainer
        for _ in range(2):  # at first, memory is taken from the system, and modules are imported
            started = clock()
            state = snapshot(
                collect_state(trainer.network, trainer.optimizer_step, trainer.progress, run.device, trainer.average)
            )
            copied = clock() - started
        size, seconds, is_elsewhere = write_time(state, run.place)
        if seconds < SHORT_WRITE:
            size, seconds, is_elsewhere = write_time(state, run.place)
        return Saved(size + HASH_BYTES * len(run.splits.train), copied, seconds, is_elsewhere)


def pixels_of(spec: StepSpec) -> int:
    """Clips x frames x height x width of a step."""
    return spec.batch_size * spec.shape.frames * spec.shape.height * spec.shape.width
