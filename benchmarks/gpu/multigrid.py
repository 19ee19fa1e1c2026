"""Section e: the Trainer's step at every shape of a multigrid plan, and what the changes of shape cost."""

from statistics import mean

import torch

from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import peaks, repeats_of, time_call, times_of
from benchmarks.gpu.training import CLASSES, Trained, kinetics_plan, name_of, random_batch, text_of, train_step
from common.device import tune_device
from train.schedule.plan import Phase, StepSpec
from train.step_graphs import REPLAYED_FROM

LONGEST_STEP = 8  # seconds that a shape may take, with the choice of algorithms
ROUNDS = 3  # of the short cycle


def run(job: Job) -> None:
    """Measure in the order of the plan, so that the memory is divided as in a run."""
    tune_device(job.device.type)
    job.expect_fused()
    meter = ShapeMeter(job)
    for spec in meter.plan.step_specs:
        job.attempt(text_of(spec.batch_size, spec.shape), lambda: meter.shape(spec), LONGEST_STEP * job.is_cuda)  # noqa: B023
    for phase in {(phase.frames, phase.size): phase for phase in meter.plan.phases}.values():
        what = f"changing shapes, {phase.frames} frames of {phase.size}"
        job.attempt(what, lambda: meter.changes(phase), LONGEST_STEP / 2 * job.is_cuda)  # noqa: B023
    meter.total()


class ShapeMeter:
    """One network that is trained at one shape after the other."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.plan = kinetics_plan(job)
        self.trained = Trained.of_kinetics(job)
        self.trainer = self.trained.trainer(self.plan)
        self.seconds: dict[StepSpec, float] = {}
        self.first: dict[StepSpec, float] = {}

    def shape(self, spec: StepSpec) -> None:
        """The step at one shape: the first, and the median of those after it."""
        job, device = self.job, self.job.device
        batch = random_batch(spec, CLASSES, device)
        try:
            timing = time_call(lambda: train_step(self.trainer, batch, spec), device, **repeats_of(job))
        except torch.OutOfMemoryError as error:
            raise RuntimeError(f"does not fit the memory: {str(error).splitlines()[0]}") from None
        memory = peaks(device)
        self.seconds[spec], self.first[spec] = timing.median, timing.first
        job.add(
            f"step of {name_of(job)}, {spec.batch_factor} sub-batches", text_of(spec.batch_size, spec.shape),
            self.trained.precision, clips_per_s=spec.batch_size / timing.median, step_ms=1000 * timing.median,
            highest_ms=1000 * timing.highest, first_s=timing.first, allocated_gib=memory.allocated,
            reserved_gib=memory.reserved, repeats=timing.repeats,
        )  # fmt: skip

    def changes(self, phase: Phase) -> None:
        """Steps whose shape changes from one to the next, as in the short cycle, against steps of one shape."""
        job, cycle = self.job, [spec for spec in phase.short_cycle if spec in self.seconds]
        if len(cycle) < len(phase.short_cycle):
            job.left_out.append(f"changing shapes, {phase.frames} frames of {phase.size}: one of them is missing")
            return
        batches = [random_batch(spec, CLASSES, job.device) for spec in cycle]
        number = 0

        def step() -> None:
            nonlocal number
            train_step(self.trainer, batches[number % len(cycle)], cycle[number % len(cycle)])
            number += 1

        rounds = 1 if job.is_tiny else ROUNDS
        # The first round follows another phase; later ones record the passes.
        times_of(step, job.device, (REPLAYED_FROM if job.is_cuda else 1) * len(cycle))
        changing = mean(times_of(step, job.device, rounds * len(cycle)))
        alone = mean(self.seconds[spec] for spec in cycle)
        crops = "/".join(str(spec.shape.height) for spec in cycle)
        job.add(
            f"changing shapes, crops {crops}", text_of(cycle[-1].batch_size, cycle[-1].shape), self.trained.precision,
            step_ms=1000 * changing, of_one_shape=changing / alone, lost_ms=1000 * (changing - alone),
        )  # fmt: skip

    def total(self) -> None:
        """What the shapes cost together once in a run, and how the memory is divided at the end."""
        first = sum(self.first[spec] - self.seconds[spec] for spec in self.first)
        values = {"shapes": float(len(self.first)), "first_steps_s": first}
        if self.job.is_cuda:
            stats = torch.cuda.memory_stats(self.job.device)
            values |= {
                "reserved_gib": stats.get("reserved_bytes.all.current", 0) / 2**30,
                "allocated_gib": stats.get("allocated_bytes.all.current", 0) / 2**30,
                "unusable_gib": stats.get("inactive_split_bytes.all.current", 0) / 2**30,
                "allocation_retries": float(stats.get("num_alloc_retries", 0)),
                "in_growing_segments": growing_share(),
            }
        self.job.add("all shapes of the plan, lost once", f"{len(self.first)} shapes", self.trained.precision, **values)


def growing_share() -> float:
    """The share of the GPU's reserved memory that lies in segments that can grow; see common.device."""
    segments = torch.cuda.memory_snapshot()
    sizes = [(segment["total_size"], segment.get("is_expandable", False)) for segment in segments]
    return sum(size for size, grows in sizes if grows) / max(1, sum(size for size, _ in sizes))
