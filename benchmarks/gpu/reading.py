"""Section f, reading: how long real training waits for its data, and what augmentation takes of a step."""

import multiprocessing
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2

import train_kinetics
from benchmarks.batches import Rate, own, sustained
from benchmarks.corpus import make_video
from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import repeats_of, time_call
from benchmarks.gpu.training import CLASSES, Trained, kinetics_plan, name_of, random_batch, text_of
from common.device import tune_device
from common.processes import available_cpus
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips
from data.labels.video_list import FoundVideo, VideoList, pack
from data.loading.loader import BatchLoader
from train.monitor.reports import EpochReport, LogReport
from train.schedule.plan import Plan, StepSpec
from train.schedule.sampler import ScheduleSampler

SIZE = (256, 340)  # height and width of the frames
FRAMES = 128  # of a video: a clip of 16 frames at an interval of 6 has 91
VIDEOS = 200
NOT_COUNTED = 10  # first steps: libraries choose their algorithms, and the passes are recorded
COUNTED = {"full": 30, "other": 20}  # steps after them; multiples, as the Trainer reports at every tenth
WAITS = 0.03  # of the time, from which a row tells the cores that would be needed
READING_SECONDS = {"full": 3.0, "other": 1.5}
LONGEST = 10  # seconds that one shape may take


class Collected:
    """A callback that keeps the reports."""

    def __init__(self) -> None:
        self.reports: list[LogReport] = []

    def on_step(self, step: int, steps: int) -> None: ...

    def on_log(self, report: LogReport) -> None:
        self.reports.append(report)

    def on_epoch(self, report: EpochReport) -> None: ...

    def close(self) -> None: ...


def run(job: Job) -> None:
    """Make the videos, then train at the full shape and at each shape of multigrid."""
    workers = max(1, min(16, available_cpus()))
    videos = 4 if job.is_tiny else VIDEOS
    started = time.perf_counter()
    # Forked processes, as those of the loader: they do not touch the GPU.
    with multiprocessing.get_context("fork").Pool(workers, cv2.setNumThreads, (0,)) as pool:
        pool.map(partial(make_video, job.folder / "class", SIZE, FRAMES), range(videos))
    print(f"{videos} videos in {time.perf_counter() - started:.0f} s", flush=True)
    tune_device(job.device.type)
    job.expect_fused()
    specs = kinetics_plan(job).step_specs
    full = specs[-1]
    reader = Reader(job, job.folder, videos, workers)
    job.attempt("reading alone", lambda: reader.alone(full), LONGEST / 2 * job.is_cuda)
    job.attempt("augmentation", lambda: reader.augmentation(full), LONGEST / 2 * job.is_cuda)
    # Some differ in the sub-batches of batch norm alone, which is not read.
    others = {(spec.batch_size, spec.shape): spec for spec in specs[:-1]}.values()
    for spec in (full, *others):
        counted = COUNTED["full" if spec is full else "other"]
        what = f"training at {text_of(spec.batch_size, spec.shape)}"
        job.attempt(what, lambda: reader.training(spec, counted), LONGEST * job.is_cuda)  # noqa: B023 - called at once


class Reader:
    """Videos on disk, and a network that is trained on them."""

    def __init__(self, job: Job, folder: Path, videos: int, workers: int) -> None:
        self.job, self.folder, self.videos, self.workers = job, folder, videos, workers
        self.plan = kinetics_plan(job)
        self.trained = Trained.of_kinetics(job)
        self.augment_seconds: float | None = None  # of a batch at the full shape

    def video_list(self, length: int) -> VideoList:
        """The videos again and again, as many as an epoch has clips."""
        numbers = [number % self.videos for number in range(length)]
        found = [FoundVideo("class", f"video_{number:03d}", FRAMES, "") for number in numbers]
        classes = [f"class {number}" for number in range(CLASSES)]
        return pack(self.folder, classes, [(n % CLASSES, video) for n, video in enumerate(found)])

    def alone(self, spec: StepSpec) -> None:
        """The rate at which the workers read batches, if nothing else is to be done."""
        rate = self.rate(spec, READING_SECONDS["full"])
        self.job.add(
            f"reading alone, {self.workers} workers", text_of(spec.batch_size, spec.shape), "uint8",
            clips_per_s=rate.clips, core_ms_a_clip=1000 * rate.core, main_process_busy=rate.main,
        )  # fmt: skip

    def rate(self, spec: StepSpec, seconds: float) -> Rate:
        """The speed of reading alone."""
        batches = own(self.video_list(1000), [(spec.batch_size, spec.shape)], self.workers)
        return sustained(batches, seconds / 10 if self.job.is_tiny else seconds)

    def augmentation(self, spec: StepSpec) -> None:
        """Random augmentation of a batch on the device."""
        trainer = self.trained.trainer(one_shape(self.plan, spec, 1))
        batch = random_batch(spec, CLASSES, self.job.device)
        timing = time_call(
            lambda: trainer.augment(batch.frames, batch.augmentation_params), self.job.device, **repeats_of(self.job)
        )
        self.augment_seconds = timing.median
        self.job.add(
            "augmentation", text_of(spec.batch_size, spec.shape), self.trained.precision, ms=1000 * timing.median,
            highest_ms=1000 * timing.highest, clips_per_s=spec.batch_size / timing.median,
        )  # fmt: skip

    def training(self, spec: StepSpec, counted: int) -> None:
        """Real training for an epoch, of which the last `counted` steps count; where it waits, also reading alone."""
        before = NOT_COUNTED
        if self.job.is_tiny:
            before, counted = 1, 2
        steps = before + counted
        plan, collected = one_shape(self.plan, spec, steps), Collected()
        trainer = self.trained.trainer(plan, [collected], log_every=before)
        intervals = train_kinetics.DEFAULTS.train_frame_interval
        sampling = RandomClips((intervals[0], intervals[-1]), flip=True, augment=True)
        sampler = ScheduleSampler(plan, seed=1)
        dataset = ClipDataset(self.video_list(plan.num_videos), sampling, seed=1)
        loader = BatchLoader(dataset, sampler, self.workers, self.job.is_cuda)
        trainer.epoch_started = time.perf_counter()
        trainer.train_epoch(loader, sampler)
        loader.close()
        speeds = [report.speeds for report in collected.reports[1:]]
        seconds = sum(spec.batch_size / speed.clips for speed in speeds) / len(speeds)
        values = {
            "waits": sum(speed.wait_share for speed in speeds) / len(speeds),
            "clips_per_s": spec.batch_size / seconds,
            "step_ms": 1000 * seconds,
        }
        if spec == self.plan.step_specs[-1] and self.augment_seconds:
            values["augmentation"] = self.augment_seconds / seconds
        if values["waits"] > WAITS:
            rate = self.rate(spec, READING_SECONDS["other"])
            values |= reading_needed(rate, values["clips_per_s"], values["waits"])
        self.job.add(
            f"training of {name_of(self.job)}, {self.workers} workers", text_of(spec.batch_size, spec.shape),
            self.trained.precision, **values, steps=float(counted),
        )  # fmt: skip


def reading_needed(rate: Rate, clips_per_s: float, waits: float) -> dict[str, float]:
    """What a step reads that waits for `waits` of its time, 0 to 1: what is read, and what would let it not wait.

    The cores are those of all processes that read; the workers of `rate` had the cores of this machine.
    """
    needed = clips_per_s / max(1e-3, 1 - waits)
    return {
        "read_clips_per_s": rate.clips, "needed_clips_per_s": needed, "core_ms_a_clip": 1000 * rate.core,
        "cores_needed": needed * rate.core,
    }  # fmt: skip


def one_shape(plan: Plan, spec: StepSpec, steps: int) -> Plan:
    """A plan of one epoch with `steps` steps of one kind."""
    phase = next(phase for phase in plan.phases if spec in phase.short_cycle)
    return replace(
        plan, phases=(replace(phase, first_epoch=1, last_epoch=1, short_cycle=(spec,)),),
        num_videos=steps * spec.batch_size, warmup_epochs=0,
    )  # fmt: skip
