"""How long something takes on a device: CUDA events on a GPU, the clock on the CPU."""

import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median
from typing import NamedTuple, TypeVar

import torch

from benchmarks.gpu.job import Job
from train.step_graphs import REPLAYED_FROM

T = TypeVar("T")


class Timing(NamedTuple):
    """The times of a repeated call, in seconds."""

    first: float  # with what libraries do once: load kernels, choose algorithms
    median: float  # after warm-up
    highest: float
    repeats: int


class Memory(NamedTuple):
    """Peaks of a GPU's memory, in GiB; zeros on the CPU."""

    allocated: float  # by tensors
    reserved: float  # from the device


def times_of(call: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of each of `repeats` calls one after the other, without a pause for the host between them."""
    if device.type == "cpu":
        clock = [time.perf_counter()]
        for _ in range(repeats):
            call()
            clock.append(time.perf_counter())
        return [end - start for start, end in pairwise(clock)]
    torch.cuda.synchronize()
    events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return [start.elapsed_time(end) / 1000 for start, end in pairwise(events)]


def time_call(
    call: Callable[[], object], device: torch.device, seconds: float = 2.0, least: int = 5, most: int = 30
) -> Timing:
    """Time a call: once, as often as records the passes, then for about `seconds`. Peaks start after the first."""
    (first,) = times_of(call, device, 1)
    reset_peaks(device)
    warm = times_of(call, device, REPLAYED_FROM - 1 if device.type == "cuda" else 2)[-1]
    repeats = max(least, min(most, round(seconds / max(warm, 1e-6))))
    times = times_of(call, device, repeats)
    return Timing(first, median(times), max(times), repeats)


def host_seconds(call: Callable[[], object], device: torch.device, repeats: int = 4) -> float:
    """The host's median time of a call whose work the device has not begun yet; on the CPU that of the whole call."""
    seconds = []
    for _ in range(repeats):
        if device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return median(seconds)


def repeats_of(job: Job) -> dict[str, float | int]:
    """The arguments of `time_call` for a try of the script itself, which has no time."""
    return {"seconds": 0.1, "least": 1, "most": 3} if job.is_tiny else {}


def reset_peaks(device: torch.device) -> None:
    """Start the peaks of memory anew."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peaks(device: torch.device) -> Memory:
    """The peaks since `reset_peaks`."""
    if device.type != "cuda":
        return Memory(0.0, 0.0)
    allocated, reserved = torch.cuda.max_memory_allocated(device), torch.cuda.max_memory_reserved(device)
    return Memory(allocated / 2**30, reserved / 2**30)


def with_smaller_batches(batch: int, measure: Callable[[int], T], free: Callable[[], None]) -> tuple[int, T]:
    """The result of `measure` with the largest of batch, batch / 2, ... that fits the memory, and that batch."""
    while True:
        try:
            return batch, measure(batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        # Outside of the handler, so that the error no longer holds the tensors of the step.
        batch //= 2
        print(f"the memory does not hold the batch: {batch} clips", flush=True)
        free()
