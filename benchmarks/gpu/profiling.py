"""What the device does in a step: the launches of kernels, and the costliest ones, by torch.profiler."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

LAUNCHES = ("cudaLaunch", "cuLaunch")  # beginnings of the names
ROWS = 30


class Profile(NamedTuple):
    """A profiled step."""

    launches: int  # calls of the host that launch a kernel; 0 on the CPU
    kernels: int  # on the CPU, operators
    device_ms: float  # the sum of the kernels' times; on the CPU of the operators' own times
    costliest: str  # the first of the table
    table: str


def profile_step(step: Callable[[], object], device: torch.device) -> Profile:
    """Profile one step; it should have run before."""
    is_cuda = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * is_cuda) as profiler:
        step()
        if is_cuda:
            torch.cuda.synchronize()
    rows = profiler.key_averages()
    launches = sum(row.count for row in rows if row.key.startswith(LAUNCHES))
    wanted = DeviceType.CUDA if is_cuda else DeviceType.CPU
    costs = [(_own_microseconds(row, is_cuda), row) for row in rows if row.device_type == wanted and not _is_range(row)]
    costs.sort(key=lambda cost: -cost[0])
    total = sum(cost for cost, _ in costs)
    lines = [f"{'ms':>9} {'share':>6} {'calls':>6}  {'kernel' if is_cuda else 'operator'}"]
    for cost, row in costs[:ROWS]:
        lines.append(f"{cost / 1000:9.3f} {cost / max(total, 1e-9):6.1%} {row.count:6d}  {row.key[:150]}")
    kernels = sum(row.count for _, row in costs if not row.key.startswith(("Memcpy", "Memset")))
    lines.append(f"{total / 1000:9.3f} in {kernels} of them, {launches} launches")
    costliest = f"{costs[0][1].key[:60]} {costs[0][0] / max(total, 1e-9):.0%}" if costs else ""
    return Profile(launches, kernels, total / 1000, costliest, "\n".join(lines))


def _is_range(row: Any) -> bool:
    """Whether a row is a named range of the program: on the device it would count its kernels once more."""
    return bool(getattr(row, "is_user_annotation", False)) or row.key.startswith("Optimizer.")


def _own_microseconds(row: Any, is_cuda: bool) -> float:
    return float(row.self_device_time_total if is_cuda else row.self_cpu_time_total)
