"""What is measured, and in which time: reading, computing, both at once, a validation, a checkpoint.

Each part has until a share of the time is over, and each of its items a part of that. What is not reached is
estimated from the rest, and marked.
"""

import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from common.processes import seconds_of_process
from data.clips.types import ClipShape
from data.loading.loader import Batch
from data.loading.prefetch import on_device
from evaluate.evaluation import evaluate
from train.checkpoint.state import collect_state
from train.estimate.costs import PART, PIXELS, Costs, Cycle, ShapeCost, fixed_bytes, line_through
from train.estimate.files import Storage, storage_of
from train.estimate.set_up import ALONE, Run
from train.estimate.short_side import Smaller, smaller_frames
from train.schedule.plan import StepSpec

ENDS = {"reading": 0.2, "computing": 0.6, "together": 0.85, "validation": 0.95, "rest": 1.0}  # shares of the time
MOST = {"reading": 4.0, "computing": 8.0, "together": 15.0, "validation": 10.0}  # seconds of an item
GROWTH = 4  # from one batch size to the next, where a whole batch may take too long
CLIPS_READ = 4  # for each worker, of a batch that is read alone
FORWARD_SHARE = 0.4  # of a step, where a validation cannot be measured: forward is a third, and reading comes on top
USABLE = 0.9  # of a GPU's free memory: the rest is lost between tensors of different sizes
HASH_BYTES = 8  # of each training video, in a checkpoint

clock = time.perf_counter


@dataclass
class Measured:
    """What the meter found."""

    costs: Costs
    storage: Storage
    smaller: Smaller | None  # what smaller frames would bring
    bad_videos: int  # of those that were read
    read_videos: int
    memory_limit: float = 0.0  # bytes of a GPU
    memory_fixed: float = 0.0  # of them, those that do not depend on the batch
    too_large: dict[StepSpec, int] = field(default_factory=dict)  # steps that do not fit, and the clips that do
    validation_is_measured: bool = True


class Meter:
    """Measures a run within `seconds`."""

    def __init__(self, run: Run, seconds: float) -> None:
        self.run = run
        self.started = clock()
        self.seconds = seconds
        self.start = seconds_of_process()  # of the imports and the scan, as the run has them
        self.reads: dict[tuple[ClipShape, float], float] = {}  # seconds of a clip
        self.shapes: dict[StepSpec, ShapeCost] = {}  # of the plan's steps
        self.epoch_starts: list[float] = []
        self.bad_videos = self.read_videos = 0
        self.found: dict[str, float] = {}
        self.too_large: dict[StepSpec, int] = {}
        self.rng = np.random.default_rng(0)

    def measure(self) -> Measured:
        """Measure everything; takes about the time that was given, or less."""
        run = self.run
        storage = storage_of((run.splits.train, run.splits.val))  # before reading puts videos into the cache
        self.read_all()
        self.compute_all()
        costs = self.costs({})
        costs = self.costs(self.train_all(costs))
        validation, is_measured = self.validate(costs)
        size, write = self.save()
        smaller = smaller_frames(run.splits.train, run.dataset.sampling, [spec.shape for spec in self.specs()])
        fixed, limit = self.found.get("fixed", 0.0), self.found.get("limit", 0.0)
        costs = self.costs(costs.together, validation, size, write)
        return Measured(
            costs, storage, smaller, self.bad_videos, self.read_videos, limit, fixed, self.too_large, is_measured
        )

    def costs(self, together: "Costs | object", validation: float = 0.0, size: int = 0, write: float = 0.0) -> Costs:
        """The costs of what was measured so far."""
        run = self.run
        return Costs(
            run.plan, self.shapes, run.is_gpu, run.workers, run.cores, run.frequencies, dict(together),  # type: ignore[call-overload]
            sum(self.epoch_starts) / max(1, len(self.epoch_starts)), validation, write, size, self.start,
        )  # fmt: skip

    def left(self, part: str) -> float:
        """Seconds until a part should end."""
        return self.started + ENDS[part] * self.seconds - clock()

    def allowance(self, part: str, items: int) -> float:
        """Seconds for the next of `items` that a part still has to measure."""
        return min(MOST[part], self.left(part) / items)

    # Reading

    def read_all(self) -> None:
        """Read at each shape, with all workers and nothing else to do."""
        kinds = list(dict.fromkeys((spec.shape, spec.max_interval_factor) for spec in self.specs()))
        for number, (shape, factor) in enumerate(kinds):
            spec = next(s for s in self.specs() if (s.shape, s.max_interval_factor) == (shape, factor))
            clips = min(self.run.of_rank(spec).batch_size, CLIPS_READ * max(1, self.run.workers))
            self.run.batches.cycle = [spec._replace(batch_size=clips)]
            started = clock()
            batches = iter(self.run.loader)
            self.note(next(batches))
            if number == 0:
                self.start += clock() - started  # of the workers
            self.reads[shape, factor] = self._read(batches, max(0.2, self.allowance("reading", len(kinds) - number)))

    def _read(self, batches: Iterator[Batch], seconds: float) -> float:
        """Seconds of a clip."""
        started, clips = clock(), 0
        while not clips or clock() - started < seconds:
            batch = next(batches)
            self.note(batch)
            clips += len(batch.labels)
        return (clock() - started) / clips

    def note(self, batch: Batch) -> None:
        """Count the videos that could not be read."""
        self.read_videos += len(batch.labels)
        self.bad_videos += len(batch.bad_videos)

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
            seconds = self.allowance("computing", len(specs) - number)
            if number and seconds <= 0:
                rest.append(spec)
            else:
                self.shapes[spec] = self.compute(spec, max(seconds, 0.5))
        known, pixels = list(self.shapes.values()), sum(map(pixels_of, self.shapes))
        for spec in rest:
            share = pixels_of(spec) / pixels
            computing, augment = sum(cost.compute for cost in known), sum(cost.augment for cost in known)
            self.shapes[spec] = ShapeCost(self.read_of(spec), computing * share, augment * share, how=PIXELS)
        if self.run.is_gpu:
            self.memory()

    def read_of(self, spec: StepSpec) -> float:
        """Seconds to read a rank's clips of a step."""
        return self.reads[spec.shape, spec.max_interval_factor] * self.run.of_rank(spec).batch_size

    def compute(self, spec: StepSpec, seconds: float) -> ShapeCost:
        """The cost of a step; of a large one, from two smaller batches."""
        clips, memory = self.run.of_rank(spec).batch_size, 0
        if self.run.is_gpu:
            most = self._fitting(spec, clips)
            found = self._repeat(spec, most, seconds) * clips / most
            memory = int(torch.cuda.max_memory_allocated(self.run.device))
        else:
            most, found = self._growing(spec, clips, seconds)
        augment = self._augment(spec, most) * clips / most
        return ShapeCost(self.read_of(spec), found, augment, memory, "" if most == clips else PART)

    def _growing(self, spec: StepSpec, clips: int, seconds: float) -> tuple[int, float]:
        """The largest batch that can be measured, and the seconds of a step of `clips`: larger batches in turn."""
        ends = clock() + seconds
        few = self.run.fewest(spec)
        self._timed(spec, few)  # the first step of all is slow
        sizes = [(few, self._timed(spec, few))]
        while (size := sizes[-1][0]) < clips:
            larger = min(clips, GROWTH * size)
            if clock() + sizes[-1][1] * larger / size > ends:
                break
            sizes.append((larger, self._timed(spec, larger)))
        if size == clips:
            return clips, self._repeat(spec, clips, ends - clock())
        if len(sizes) == 1:
            return few, sizes[0][1] * clips / few
        return size, line_through(sizes[-2], sizes[-1], clips)

    def _fitting(self, spec: StepSpec, clips: int) -> int:
        """The clips of a step that fit the GPU's memory, after a first step of them."""
        while True:
            try:
                first = self._timed(spec, clips)
                torch.cuda.reset_peak_memory_stats(self.run.device)
                # Libraries choose their algorithms in the first step of a shape, once in a run.
                self.start += max(0.0, first - self._timed(spec, clips))
                return clips
            except torch.OutOfMemoryError:
                if clips <= self.run.fewest(spec):
                    raise
            unit = self.run.unit(spec)
            clips = max(self.run.fewest(spec), clips // 2 // unit * unit)
            self.too_large[spec] = clips
            torch.cuda.empty_cache()

    def _repeat(self, spec: StepSpec, clips: int, seconds: float) -> float:
        """The mean seconds of a step, of which others were made before."""
        batch = self.batch(spec, clips)
        self.wait()
        started, steps = clock(), 0
        while not steps or clock() - started < seconds:
            self._step(batch, spec)
            steps += 1
            if self.run.is_gpu and steps % 4 == 0:
                self.wait()
        self.wait()
        return (clock() - started) / steps

    def _timed(self, spec: StepSpec, clips: int) -> float:
        """Seconds of one step."""
        batch = self.batch(spec, clips)
        self.wait()
        started = clock()
        self._step(batch, spec)
        self.wait()
        return clock() - started

    def _step(self, batch: Batch, spec: StepSpec) -> None:
        trainer = self.run.trainer
        trainer.network.train()
        trainer.progress.step = 0  # the plan's first, whose rate is as good as 0
        trainer.speed.restart()
        trainer.speed.begin_step(0.0, len(batch.labels))
        trainer.train_step(batch, self.run.of_rank(spec))

    def _augment(self, spec: StepSpec, clips: int) -> float:
        """Seconds of a batch's augmentation, which is a part of the step."""
        batch, times = self.batch(spec, clips), []
        for _ in range(3):
            self.wait()
            started = clock()
            self.run.trainer.augment(batch.frames, batch.augmentation_params)
            self.wait()
            times.append(clock() - started)
            if times[-1] > 1:
                break
        return min(times)

    def batch(self, spec: StepSpec, clips: int) -> Batch:
        """A batch of noise on the device, as the loader gives it."""
        run, device = self.run, self.run.device
        frames = torch.randint(0, 256, (clips, *spec.shape, 3), dtype=torch.uint8, device=device)
        labels = torch.randint(run.trainer.network.num_classes, (clips,), device=device)
        params = np.stack([run.dataset.sampling.augmentation_params(self.rng) for _ in range(clips)])
        return Batch(frames.permute(0, 4, 1, 2, 3), labels, torch.arange(clips), 0, (), torch.from_numpy(params))

    def wait(self) -> None:
        """Wait for the device."""
        if self.run.is_gpu:
            torch.cuda.synchronize(self.run.device)

    def memory(self) -> None:
        """What of the GPU's memory does not depend on the batch, by a second batch at the largest step."""
        run, device = self.run, self.run.device
        free, _ = torch.cuda.mem_get_info(device)
        self.found["limit"] = USABLE * (free + torch.cuda.memory_reserved(device))
        whole = [spec for spec, cost in self.shapes.items() if cost.memory and spec not in self.too_large]
        if not whole:
            return
        spec = max(whole, key=lambda each: self.shapes[each].memory)
        clips, unit = run.of_rank(spec).batch_size, run.unit(spec)
        half = clips // 2 // unit * unit
        if half < run.fewest(spec) or half == clips or self.left("together") <= 0:
            return
        self._timed(spec, half)
        torch.cuda.reset_peak_memory_stats(device)
        self._timed(spec, half)
        low = torch.cuda.max_memory_allocated(device)
        self.found["fixed"] = fixed_bytes((half, low), (clips, self.shapes[spec].memory))

    # Both

    def train_all(self, costs: Costs) -> dict[Cycle, float]:
        """Real training of each short cycle: seconds of a round."""
        found = {}
        cycles = sorted(costs.cycles(), key=costs.of_cycle, reverse=True)
        for number, cycle in enumerate(cycles):
            seconds = self.allowance("together", len(cycles) - number)
            is_whole = all(spec in self.shapes and spec not in self.too_large for spec in cycle)
            if is_whole and 2 * costs.round(cycle) < seconds:
                found[cycle] = self.train(cycle, seconds - costs.round(cycle))
        return found

    def train(self, cycle: Cycle, seconds: float) -> float:
        """Seconds of a round, after a first one."""
        run = self.run
        run.batches.cycle = [run.of_rank(spec) for spec in cycle]
        started = clock()
        batches = on_device(run.loader, run.device)
        for number, spec in enumerate(cycle):
            batch = next(batches)
            if number == 0:
                self.epoch_starts.append(clock() - started)
            self._step(batch, spec)
        self.wait()
        started, rounds = clock(), 0
        while not rounds or clock() - started < seconds:
            for spec in cycle:
                self._step(next(batches), spec)
            rounds += 1
        self.wait()
        return (clock() - started) / rounds

    # Once in an epoch

    def validate(self, costs: Costs) -> tuple[float, bool]:
        """Seconds of a validation, and whether it was measured."""
        run = self.run
        batches = len(run.val_loader)
        (clips, shape), *_ = run.val_loader.batch_sampler.sizes()
        clips *= run.val_loader.dataset.sampling.views
        full = max(self.shapes, key=lambda spec: spec.shape.frames * spec.shape.height)
        pixels = clips * shape.frames * shape.height * shape.width
        guess = FORWARD_SHARE * pixels * costs.compute((full,)) / pixels_of(run.of_rank(full))
        seconds = self.allowance("validation", 1)
        if 2 * guess > seconds:
            return guess * batches, False
        started = clock()
        first = self._evaluate(1, 0.0)  # starts the workers
        self.start += max(0.0, clock() - started - guess)
        if clock() - started + first > seconds:
            return first * batches, True
        return self._evaluate(batches, seconds), True

    def _evaluate(self, batches: int, seconds: float) -> float:
        """Seconds of a validation of `batches`, of which as many are made as `seconds` allow."""
        run, started = self.run, clock()
        arrivals: list[float] = []

        def watch(each: Iterable[Batch | None]) -> Iterator[Batch | None]:
            for batch in each:
                arrivals.append(clock() - started)
                yield batch
                if clock() - started > seconds or len(arrivals) == batches:
                    return

        evaluate(
            run.trainer.network, run.val_loader, run.device, ALONE, run.precision, watch, 2**31,
            most_clips=run.trainer.most_val_clips,
        )  # fmt: skip
        self.wait()
        first, took = arrivals[0], clock() - started
        return first + (took - first) * batches / len(arrivals)

    def save(self) -> tuple[int, float]:
        """Bytes of a checkpoint, and the seconds to write it beside the run's folder, to a file without a name."""
        run = self.run
        trainer = run.trainer
        started = clock()
        state = collect_state(trainer.network, trainer.optimizer_step, trainer.progress, run.device)
        hashes = HASH_BYTES * len(run.splits.train)
        with _nameless(run.folder) as file:
            torch.save(state, file)
            size = file.tell() + hashes
            file.flush()
            os.fsync(file.fileno())
        return size, clock() - started


def _nameless(folder: Path) -> "tempfile._TemporaryFileWrapper[bytes]":
    """A file on the disk of `folder`, which need not exist; elsewhere if nothing may be written there."""
    there = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.is_dir())
    try:
        return tempfile.TemporaryFile(dir=there)  # type: ignore[return-value]
    except OSError:
        return tempfile.TemporaryFile()  # type: ignore[return-value]


def pixels_of(spec: StepSpec) -> int:
    """Clips x frames x height x width of a step."""
    return spec.batch_size * spec.shape.frames * spec.shape.height * spec.shape.width
