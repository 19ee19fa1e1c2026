"""Steps of the run's Trainer on noise: how long they take, and how much memory."""

import time
from collections.abc import Mapping

import numpy as np
import torch

from data.loading.loader import Batch
from train.estimate.costs import PART, ShapeCost, fixed_bytes, line_through
from train.estimate.set_up import Run
from train.schedule.plan import StepSpec
from train.step_graphs import REPLAYED_FROM

GROWTH = 4  # from one batch size to the next, where a whole batch may take too long
USABLE = 0.9  # of a GPU's free memory: the rest is lost between tensors of different sizes

clock = time.perf_counter


class StepMeter:
    """Measures single shapes of the plan, without reading."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.once = 0.0  # seconds that the first steps of the shapes took longer
        self.too_large: dict[StepSpec, int] = {}  # steps that do not fit the memory, and the clips that do
        self.rng = np.random.default_rng(0)

    def compute(self, spec: StepSpec, seconds: float) -> ShapeCost:
        """The cost of a step, without reading; that of a large one from two smaller batches."""
        clips, memory = self.run.of_rank(spec).batch_size, 0
        if self.run.is_gpu:
            most = self._fitting(spec, clips)
            found = self._repeat(spec, most, seconds) * clips / most
            memory = int(torch.cuda.max_memory_allocated(self.run.device))
        else:
            most, found = self._growing(spec, clips, seconds)
        augment = self._augment(spec, most) * clips / most
        return ShapeCost(0.0, found, augment, memory, "" if most == clips else PART)

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
                self.once += max(0.0, first - self._timed(spec, clips))
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
        batch, before = self.batch(spec, clips), REPLAYED_FROM if self.run.trainer.options.graphs else 0
        self.wait()
        began = clock()
        for _ in range(before):
            self.step(batch, spec)
        self.wait()
        started, steps = clock(), 0
        while not steps or clock() - started < seconds:
            self.step(batch, spec)
            steps += 1
            if self.run.is_gpu and steps % 4 == 0:
                self.wait()
        self.wait()
        each = (clock() - started) / steps
        self.once += max(0.0, started - began - before * each)  # to record the passes
        return each

    def _timed(self, spec: StepSpec, clips: int) -> float:
        """Seconds of one step."""
        batch = self.batch(spec, clips)
        self.wait()
        started = clock()
        self.step(batch, spec)
        self.wait()
        return clock() - started

    def step(self, batch: Batch, spec: StepSpec) -> None:
        """One step of the Trainer, outside of its loop."""
        trainer = self.run.trainer
        trainer.freezing.begin_epoch(trainer.network, trainer.progress.epoch)
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

    def memory(self, peaks: Mapping[StepSpec, int]) -> tuple[float, float]:
        """The usable bytes of the GPU, and those that do not depend on the batch (0: not known).

        The second by another batch at the step with the highest of the `peaks`.
        """
        run, device = self.run, self.run.device
        free, _ = torch.cuda.mem_get_info(device)
        limit = USABLE * (free + torch.cuda.memory_reserved(device))
        if not peaks:
            return limit, 0.0
        spec = max(peaks, key=lambda each: peaks[each])
        clips, unit = run.of_rank(spec).batch_size, run.unit(spec)
        half = clips // 2 // unit * unit
        if half < run.fewest(spec) or half == clips:
            return limit, 0.0
        self._timed(spec, half)
        torch.cuda.reset_peak_memory_stats(device)
        self._timed(spec, half)
        return limit, fixed_bytes((half, torch.cuda.max_memory_allocated(device)), (clips, peaks[spec]))
