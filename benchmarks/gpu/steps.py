"""Sections c and d, a training step: of one network and its plain twin in every form, and of other networks in few."""

import json
import os
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec

from benchmarks.gpu.forms import Form, FormStep
from benchmarks.gpu.job import Job
from benchmarks.gpu.profiling import profile_step
from benchmarks.gpu.timing import Timing, host_seconds, peaks, repeats_of, time_call, with_smaller_batches
from benchmarks.network_cost import TORCHVISION, Setting, count_macs, matrix_peak
from common.device import tune_device
from train.step_graphs import REPLAYED_FROM

CLIP, BATCH = (16, 224, 224), 32
TINY_CLIP, TINY_BATCH = (4, 32, 32), 2
OTHER_NETWORKS = ("r3d_18", "srtg_r3d_50", "r3d_50", "srtg_r2plus1d_34", "ir_csn_50", "tv_r3d_18", "tv_r2plus1d_18")
LONGEST_STEP = 12  # seconds that a form may take, with the choice of algorithms


def forms(network: str, half: tuple[str, ...], graphs: bool) -> list[Form]:
    """The forms of section c, in the order of their worth; of each precision and layout, the plain twin comes first."""
    first, last, twin = half[0], half[-1], network.removeprefix("srtg_")
    best, other = "channels-last", "contiguous"
    three = ((twin, False), (network, False), (network, True))
    found = [Form(name, first, best, gates, graphs=graphs) for name, gates in three]
    found += [Form(network, last, other, original=True)]
    found += [Form(name, first, best, gates) for name, gates in three]
    found += [Form(name, last, best, gates, graphs=graphs) for name, gates in three]
    found += [Form(name, first, best, fused=False) for name in (twin, network)]
    found += [Form(name, first, other) for name in (twin, network)]
    return list(dict.fromkeys(found))


def run_forms(job: Job) -> None:
    """Section c."""
    network = "srtg_tiny" if job.is_tiny else "srtg_r3d_34"
    meter = StepMeter(job)
    every = forms(network, job.half, graphs=job.is_cuda)
    if not job.is_cuda:
        job.left_out.append("CUDA graphs, which need a GPU")
    for form in every:
        job.attempt(form.name, lambda: meter.time(form), LONGEST_STEP * job.is_cuda)  # noqa: B023 - called at once
    # After all times: the profiler slows down what runs after it.
    for form in every:
        if form in meter.times:
            job.attempt(f"profile of {form.name}", lambda: meter.profile(form), LONGEST_STEP / 2 * job.is_cuda)  # noqa: B023
    job.free()
    job.attempt(f"compile of {network}", lambda: in_process(job, network), 20 * job.is_cuda)


def run_networks(job: Job) -> None:
    """Section d."""
    names: tuple[str, ...] = ("tiny", "srtg_tiny") if job.is_tiny else OTHER_NETWORKS
    if find_spec("torchvision") and not job.is_tiny:
        names += tuple(TORCHVISION)
    meter = StepMeter(job)
    for layout in ("channels-last", "contiguous"):
        for name in names:
            form = Form(name, job.half[0], layout, graphs=job.is_cuda and name not in TORCHVISION)
            job.attempt(form.name, lambda: meter.time(form), LONGEST_STEP * job.is_cuda)  # noqa: B023 - called at once


class StepMeter:
    """Times steps, and compares each with its plain twin and with the matrix peak of the card."""

    def __init__(self, job: Job) -> None:
        tune_device(job.device.type)
        job.expect_fused()
        self.job = job
        self.clip, self.batch = (TINY_CLIP, TINY_BATCH) if job.is_tiny else (CLIP, BATCH)
        self.times: dict[Form, tuple[int, float]] = {}  # batch, and seconds a clip
        self.peak = cache(peak_of)

    def time(self, form: Form) -> None:
        """Time a form at the largest batch that fits, and write it down."""
        batch, (timing, host, allocated, reserved) = with_smaller_batches(
            self.batch, lambda batch: self._time(form, batch), self.job.free
        )
        self.job.free()
        seconds = timing.median / batch
        self.times[form] = batch, seconds
        setting = form.setting(self.clip, batch, self.job.device)
        peak = self.peak(setting.device, setting.precision)
        values: dict[str, float | int | str] = {
            "clips_per_s": 1 / seconds,
            "step_ms": 1000 * timing.median,
            "highest_ms": 1000 * timing.highest,
            "host_ms": 1000 * host,
            "first_s": timing.first,
            "of_matrix_peak": 3 * count_macs(form.network, setting) / seconds / peak,
            "allocated_gib": allocated,
            "reserved_gib": reserved,
            "repeats": timing.repeats,
        }
        if form.twin in self.times and form.twin != form:
            values["of_plain_twin"] = seconds / self.times[form.twin][1]
        if batch < self.batch:
            values["batch_that_did_not_fit"] = 2 * batch
        self.job.add(form.name, self._shape(batch), form.precision, **values)

    def _time(self, form: Form, batch: int) -> tuple[Timing, float, float, float]:
        step = FormStep(form, self.clip, batch, self.job.device)
        timing = time_call(step, self.job.device, **repeats_of(self.job))
        if form.graphs and not step.is_replayed:
            raise RuntimeError("its passes were not recorded")
        return timing, host_seconds(step, self.job.device), *peaks(self.job.device)

    def profile(self, form: Form) -> None:
        """Profile a form that was timed."""
        batch, seconds = self.times[form]
        step = FormStep(form, self.clip, batch, self.job.device)
        for _ in range(REPLAYED_FROM if form.graphs else 2):
            step()
        profile = profile_step(step, self.job.device)
        del step
        self.job.free()
        shape = self._shape(batch)
        title = ", ".join([form.name, shape, form.precision, *self.job.about().values()])
        self.job.results.profile(title, profile.table)
        self.job.add(
            f"profile of {form.name}", shape, form.precision, launches=profile.launches, kernels=profile.kernels,
            kernels_ms=profile.device_ms, of_the_step=profile.device_ms / (1000 * seconds * batch),
            costliest=profile.costliest,
        )  # fmt: skip

    def _shape(self, batch: int) -> str:
        return "x".join(map(str, (batch, 3, *self.clip)))


def peak_of(device: str, precision: str) -> float:
    """Multiply-accumulates a second of a large matrix product."""
    return matrix_peak(Setting((1, 1, 1), 1, 1, device, precision, "contiguous", False, "final", False))


def in_process(job: Job, network: str) -> None:
    """Run benchmarks.gpu.compiled for the time that is left: a compilation cannot be interrupted in any other way."""
    request = {
        "section": job.section, "network": network, "device": str(job.device), "is_tiny": job.is_tiny,
        "ends": job.ends, "output": str(job.results.folder), "folder": str(job.folder),
    }  # fmt: skip
    command = [sys.executable, "-m", "benchmarks.gpu.compiled", json.dumps(request)]
    environment = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(job.folder / "inductor")}  # nothing is compiled already
    started = time.monotonic()
    try:
        done = subprocess.run(command, env=environment, timeout=max(1, job.left()))
    except subprocess.TimeoutExpired:
        job.left_out.append(f"compile of {network} (not finished in {time.monotonic() - started:.0f} s)")
        return
    if done.returncode:
        raise RuntimeError(f"exit status {done.returncode}, see log.txt")
