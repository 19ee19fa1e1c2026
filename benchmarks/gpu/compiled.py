"""The step of section c by torch.compile, and as a CUDA graph: python -m benchmarks.gpu.compiled REQUEST."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from benchmarks.gpu.forms import Form, FormStep
from benchmarks.gpu.job import Job
from benchmarks.gpu.results import Results
from benchmarks.gpu.steps import BATCH, CLIP, TINY_BATCH, TINY_CLIP
from benchmarks.gpu.timing import peaks, repeats_of, time_call
from common.device import tune_device

WARM_UPS = 3  # steps before a capture


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


def capture_step(job: Job, step: FormStep) -> None:
    """The whole step as one CUDA graph, in bf16: fixed clips, rate and shape, one launch; no check of the gradient."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())

    def whole_step() -> None:
        # Without its cache, autocast converts the weights within the graph, at every replay.
        with torch.autocast("cuda", torch.bfloat16, cache_enabled=False):
            logits = step.network(step.clips).float()
        loss = cross_entropy(logits, step.labels)
        step.update.backward(loss)
        step.update.optimizer.step()

    with torch.cuda.stream(stream):
        for _ in range(WARM_UPS):
            step.update.optimizer.zero_grad(set_to_none=True)
            whole_step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    step.update.optimizer.zero_grad(set_to_none=True)
    started = time.perf_counter()
    with torch.cuda.graph(graph):
        whole_step()
    torch.cuda.synchronize()
    captured = time.perf_counter() - started
    timing = time_call(graph.replay, job.device, **repeats_of(job))
    _add(job, step, "CUDA graph", timing.median, capture_s=captured)


KINDS = {"compile": compile_step, "graph": capture_step}


def _add(job: Job, step: FormStep, what: str, seconds: float, **values: float) -> None:
    batch = len(step.clips)
    memory = peaks(job.device)
    job.add(
        f"{what} of {step.form.name}", "x".join(map(str, step.clips.shape)), step.form.precision,
        clips_per_s=batch / seconds, step_ms=1000 * seconds, **values, allocated_gib=memory.allocated,
        reserved_gib=memory.reserved,
    )  # fmt: skip


def run(request: dict[str, Any]) -> None:
    """Run one of KINDS."""
    job = Job(
        request["section"], torch.device(request["device"]), request["is_tiny"], request["ends"],
        Results(Path(request["output"])), Path(request["folder"]),
    )  # fmt: skip
    job.prepare()
    tune_device(job.device.type)
    job.expect_fused()
    clip, batch = (TINY_CLIP, TINY_BATCH) if job.is_tiny else (CLIP, BATCH)
    step = FormStep(Form(request["network"], job.half[0], "channels-last"), clip, batch, job.device)
    KINDS[request["kind"]](job, step)


if __name__ == "__main__":
    run(json.loads(sys.argv[1]))
