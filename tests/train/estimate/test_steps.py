"""Steps that do not fit a GPU's memory, and what the memory would hold: with a made-up GPU, on the CPU."""

from types import SimpleNamespace

import pytest
import torch

from data.clips.sampling import RandomClips
from tests.plans import make_plan
from train.estimate.set_up import Run
from train.estimate.steps import USABLE, StepMeter

PLAN = make_plan(
    num_videos=400, end_epoch=8, lr_steps=(4,), long_cycles=True, clip_length=8, clip_size=32, batch_size=4, lr_base=0.1
)
FIXED, EACH = 1000, 10  # bytes of the network, and of a clip


class MadeUpGpu:
    """A GPU that holds `most` clips."""

    def __init__(self, monkeypatch, most):
        self.most, self.peak, self.steps = most, 0, []
        for name, value in (
            ("synchronize", None), ("mem_get_info", (5000, 9999)), ("memory_reserved", 1000), ("empty_cache", None),
        ):  # fmt: skip
            monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: self.peak)
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self.forget)
        monkeypatch.setattr(StepMeter, "step", lambda _, batch, spec: self.step(len(batch.labels)))

    def forget(self, _):
        self.peak = 0

    def step(self, clips):
        if clips > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.steps.append(clips)
        self.peak = max(self.peak, FIXED + EACH * clips)


def meter_of():
    run = SimpleNamespace(gpus=1, accumulate=1, is_gpu=True, device=torch.device("cpu"))
    options = SimpleNamespace(graphs=False)
    run.trainer = SimpleNamespace(network=SimpleNamespace(num_classes=3), augment=lambda *_: None, options=options)
    run.dataset = SimpleNamespace(sampling=RandomClips((1, 1), flip=False))
    run.of_rank = lambda spec: Run.of_rank(run, spec)
    run.unit = lambda spec: Run.unit(run, spec)
    run.fewest = lambda spec: Run.fewest(run, spec)
    return StepMeter(run)


def test_a_step_that_does_not_fit_is_measured_with_fewer_clips(monkeypatch):
    """The estimate is there to tell that before the run does."""
    gpu = MadeUpGpu(monkeypatch, most=20)
    spec = max(PLAN.step_specs, key=lambda spec: spec.batch_size)
    assert (spec.batch_size, spec.batch_factor) == (32, 8)
    meter = meter_of()
    cost = meter.compute(spec, 0.01)
    assert meter.too_large == {spec: 16} and set(gpu.steps) == {16}
    assert (cost.how, cost.memory) == ("part", FIXED + 16 * EACH)


def test_what_does_not_fit_at_all_is_an_error(monkeypatch):
    """Not an endless loop; the command shows what torch says."""
    MadeUpGpu(monkeypatch, most=10)
    spec = max(PLAN.step_specs, key=lambda spec: spec.batch_size)
    with pytest.raises(torch.OutOfMemoryError):
        meter_of().compute(spec, 0.01)


def test_the_memory_of_the_network_is_told_from_that_of_the_clips(monkeypatch):
    """Else the largest batch would be wrong by the memory of weights and momentum."""
    MadeUpGpu(monkeypatch, most=100)
    meter = meter_of()
    peaks = {spec: meter.compute(spec, 0.01).memory for spec in PLAN.step_specs}
    assert sorted(peaks.values()) == [FIXED + EACH * clips for clips in (4, 8, 16, 32)]
    assert meter.memory(peaks) == (USABLE * 6000, FIXED)
    assert meter.memory({}) == (USABLE * 6000, 0.0)
