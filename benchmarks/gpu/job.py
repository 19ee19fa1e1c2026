"""What a section gets: its device, its time, and where its results go."""

import gc
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.results import Results
from common.kernels.switch import has_triton
from common.precision import DTYPES
from data.augment.use import failure as augmentation_failure
from network.kernels.use import failure, recursion_failure


class NotAsked(Exception):
    """A section has nothing to do, since a flag was not given."""


@dataclass
class Job:
    """The work of one section, in its own process."""

    section: str
    device: torch.device
    is_tiny: bool  # small networks and shapes, to try the script itself
    ends: float  # by time.monotonic(): when the section should have ended by itself
    results: Results
    folder: Path  # for temporary files
    fast_folder: Path | None = None  # the same, in memory if there is enough; nothing may be executed there
    videos: Path | None = None
    dataset: Path | None = None
    problems: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    @property
    def is_cuda(self) -> bool:
        """Whether the device is a GPU."""
        return self.device.type == "cuda"

    @property
    def half(self) -> tuple[str, ...]:
        """The precisions that the networks train in, the more usual first; on the CPU they train in fp32 alone."""
        return ("bf16", "fp16") if self.is_cuda else ("fp32",)

    def prepare(self) -> None:
        """Make the networks `tiny` and `srtg_tiny` known, if the section is to try them; one thread is enough then."""
        if self.is_tiny:
            torch.set_num_threads(1)
            from tests.tiny_network import register_tiny_networks

            register_tiny_networks()

    def expect_fused(self) -> None:
        """Note a problem if the fused operations are not used: else their sections would measure PyTorch's."""
        if not self.is_cuda:
            return
        if not has_triton():
            self.fail("Triton is missing: fused operations are not measured")
            return
        device = torch.device("cuda", torch.cuda.current_device())
        for name in self.half:
            for failure_of, what in ((failure, "fused operations"), (recursion_failure, "fused squeeze and recursion")):
                if reason := failure_of(device, DTYPES[name]):
                    self.fail(f"{what} in {name}: not used, {reason}")
            for memory_format in (torch.contiguous_format, torch.channels_last_3d):
                if reason := augmentation_failure(device, DTYPES[name], memory_format):
                    self.fail(f"fused augmentation in {name}: not used, {reason}")

    def left(self) -> float:
        """Seconds until the section should end."""
        return self.ends - time.monotonic()

    def add(self, what: str, shape: str, dtype: str, **values: Any) -> None:
        """Write a measurement, and print it. One of the same name, shape and dtype is replaced."""
        row = {"section": self.section, "what": what, "shape": shape, "dtype": dtype}
        self.results.add(row | self.about(), values)
        print(f"{self.section}: {what}, {shape}, {dtype}: {values}", flush=True)

    def about(self) -> dict[str, str]:
        """Where and when a number was measured."""
        name = torch.cuda.get_device_name(self.device) if self.is_cuda else f"CPU, {torch.get_num_threads()} thread(s)"
        date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M")
        return {"device": name, "torch": torch.__version__, "date": date}

    def attempt(self, what: str, measure: Callable[[], None], seconds: float = 0.0) -> bool:
        """Run one measurement unless less than `seconds` are left. Returns whether it was made.

        An error is noted and printed, and the section goes on, unless the device cannot be used any more.
        """
        if self.left() < seconds:
            self.left_out.append(what)
            print(f"{self.section}: {what}: left out, {self.left():.0f} s are left", flush=True)
            return False
        try:
            measure()
        except Exception as error:
            traceback.print_exc()
            self.fail(f"{what}: {describe(error)}")
        else:
            return True
        self.free()
        if self.is_cuda:
            torch.cuda.synchronize()  # after a fault of a kernel every call fails: then the section ends here
        return False

    def fail(self, problem: str) -> None:
        """Note a problem, and go on."""
        print(f"{self.section}: {problem}", flush=True)
        self.problems.append(problem)
        self.results.note(self.section, problems=self.problems)

    def free(self) -> None:
        """Return the memory of networks that are gone."""
        if self.is_cuda:
            torch.cuda.synchronize()  # what is freed may be a recording that is still replayed
        gc.collect()
        if self.is_cuda:
            torch.cuda.empty_cache()


def describe(error: BaseException) -> str:
    """An error in one line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
