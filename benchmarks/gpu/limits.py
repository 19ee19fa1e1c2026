"""Section b, the limits of the card: matrix products and memory."""

import platform

import torch

from benchmarks.gpu.job import Job
from benchmarks.gpu.timing import repeats_of, time_call
from common.processes import available_cpus

MODES = {  # name: (dtype, whether TF32 is allowed)
    "bf16": (torch.bfloat16, False),
    "fp16": (torch.float16, False),
    "fp32": (torch.float32, False),
    "tf32": (torch.float32, True),
}


def run(job: Job) -> None:
    """Measure."""
    job.attempt("the machine", lambda: machine(job))
    for name in MODES if job.is_cuda else ("bf16", "fp32"):
        job.attempt(f"matrix product, {name}", lambda: matrix_product(job, name))  # noqa: B023 - called at once
    job.attempt("copy on the device", lambda: copy(job))
    if job.is_cuda:
        job.attempt("copy to the device", lambda: copy_to_device(job))


def machine(job: Job) -> None:
    """What the figures of all sections depend on."""
    facts: dict[str, str | int | float] = {"python": platform.python_version(), "cpus": available_cpus()}
    if job.is_cuda:
        card = torch.cuda.get_device_properties(job.device)
        facts |= {
            "memory_gib": card.total_memory / 2**30,
            "multiprocessors": card.multi_processor_count,
            "cuda": str(torch.version.cuda),
            "cudnn": str(torch.backends.cudnn.version()),
        }
    job.add("the machine", "-", "-", **facts)


def matrix_product(job: Job, name: str) -> None:
    """A product of two square matrices of random numbers."""
    dtype, tf32 = MODES[name]
    size = 256 if job.is_tiny else 8192
    a, b = torch.randn(2, size, size, device=job.device).to(dtype)
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        timing = time_call(lambda: a @ b, job.device, **repeats_of(job))
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    teraflops = 2 * size**3 / timing.median / 1e12
    shape = f"{size}x{size}x{size}"
    job.add("matrix product", shape, name, tflop_per_s=teraflops, ms=1000 * timing.median, repeats=timing.repeats)


def copy(job: Job) -> None:
    """A copy within the memory; bytes that are read and written both count."""
    source = torch.zeros(2**20 if job.is_tiny else 2**29, device=job.device)  # 2 GiB of float32
    target = torch.empty_like(source)
    timing = time_call(lambda: target.copy_(source), job.device, **repeats_of(job))
    rate = 2 * source.nbytes / timing.median / 1e9
    job.add("copy on the device", f"{source.nbytes / 2**20:.0f} MiB", "fp32", gb_per_s=rate, ms=1000 * timing.median)


def copy_to_device(job: Job) -> None:
    """A copy from page-locked memory of the host."""
    source = torch.zeros(2**20 if job.is_tiny else 2**28, dtype=torch.uint8).pin_memory()
    target = torch.empty_like(source, device=job.device)
    timing = time_call(lambda: target.copy_(source, non_blocking=True), job.device, **repeats_of(job))
    rate = source.nbytes / timing.median / 1e9
    job.add("copy to the device", f"{source.nbytes / 2**20:.0f} MiB", "uint8", gb_per_s=rate, ms=1000 * timing.median)
