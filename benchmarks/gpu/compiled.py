"""The step of section c by torch.compile: python -m benchmarks.gpu.compiled REQUEST."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.forms import Form, FormStep
from benchmarks.gpu.job import Job
from benchmarks.gpu.results import Results
from benchmarks.gpu.steps import BATCH, CLIP, TINY_BATCH, TINY_CLIP
from benchmarks.gpu.timing import peaks, repeats_of, time_call
from common.device import tune_device


def compile_step(job: Job, step: FormStep) -> None:
    """The network by torch.compile with its defaults; its LSTMs stay calls of the library."""
    step.network.compile(backend="aot_eager" if job.is_tiny else "inductor")
    started = time.perf_counter()
    step()
    if job.is_cuda:
        torch.cuda.synchronize()
    compiling = time.perf_counter() - started
    timing = time_call(step, job.device, **repeats_of(job))
    _add(job, step, "torch.compile", timing.median, compile_s=compiling)


def _add(job: Job, step: FormStep, what: str, seconds: float, **values: float) -> None:
    batch = len(step.clips)
    memory = peaks(job.device)
    job.add(
        f"{what} of {step.form.name}", "x".join(map(str, step.clips.shape)), step.form.precision,
        clips_per_s=batch / seconds, step_ms=1000 * seconds, **values, allocated_gib=memory.allocated,
        reserved_gib=memory.reserved,
    )  # fmt: skip


def run(request: dict[str, Any]) -> None:
    """Compile the network of the request, and time a step."""
    job = Job(
        request["section"], torch.device(request["device"]), request["is_tiny"], request["ends"],
        Results(Path(request["output"])), Path(request["folder"]),
    )  # fmt: skip
    job.prepare()
    tune_device(job.device.type)
    job.expect_fused()
    clip, batch = (TINY_CLIP, TINY_BATCH) if job.is_tiny else (CLIP, BATCH)
    step = FormStep(Form(request["network"], job.half[0], "channels-last"), clip, batch, job.device)
    compile_step(job, step)


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
