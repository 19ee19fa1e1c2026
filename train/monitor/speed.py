"""The speed of each part of a step."""

import time
from itertools import pairwise

import torch

from train.monitor.reports import Speeds


class SpeedMonitor:
    """Measures the time of reading, forward pass and backward pass of each step.

    On a GPU, CUDA events time the passes and are read only when a report is due: the host's clock would need a
    synchronisation in each step. Reading is the wait for the loader, where it delays the step: on a GPU, that part of
    the host's wait in which the GPU had nothing to compute.
    """

    def __init__(self, device: torch.device) -> None:
        self.is_cuda = device.type == "cuda"
        self.restart()

    def restart(self) -> None:
        """Start anew: forget the steps so far and the time since the last one."""
        self.clips = 0
        self.read_seconds = 0.0
        self.marks: list[list[float | torch.cuda.Event]] = []
        self.latest: torch.cuda.Event | None = None
        self.waits: list[
            tuple[float, torch.cuda.Event, torch.cuda.Event]
        ] = []  # of the host, with a GPU's events around
        self.started = time.perf_counter()

    def begin_step(self, seconds: float, clips: int) -> None:
        """Begin a step whose batch of `clips` took `seconds` to come from the loader."""
        self.add_wait(seconds)
        self.clips += clips
        self.marks.append([])
        self.mark()

    def add_wait(self, seconds: float) -> None:
        """Count `seconds` until now of waiting for the next batch, without the time in which a GPU still computes."""
        before = self.latest
        if before is None:
            self.read_seconds += seconds
        else:
            self.waits.append((seconds, before, self._record()))

    def mark(self) -> None:
        """Note the time: called before the forward pass, between the passes and after the update."""
        self.marks[-1].append(self._record() if self.is_cuda else time.perf_counter())

    def _record(self) -> torch.cuda.Event:
        self.latest = torch.cuda.Event(enable_timing=True)
        self.latest.record()
        return self.latest

    def take(self) -> Speeds:
        """Return the speeds since the last call; on a GPU, wait for the events of the last step."""
        elapsed = time.perf_counter() - self.started
        forward = backward = 0.0
        for marks in self.marks:
            # The marks: one before the first forward pass, then for each part of the batch one after its forward pass
            # and one after its backward pass. The last one is after the update.
            for index, (first, second) in enumerate(pairwise(marks)):
                seconds = self._seconds(first, second)
                forward, backward = (forward + seconds, backward) if index % 2 == 0 else (forward, backward + seconds)
        read = self.read_seconds + sum(
            min(seconds, self._seconds(first, second)) for seconds, first, second in self.waits
        )
        speeds = Speeds(
            read=self.clips / max(read, 1e-9),
            forward=self.clips / max(forward, 1e-9),
            backward=self.clips / max(backward, 1e-9),
            clips=self.clips / max(elapsed, 1e-9),
            wait_share=min(1.0, read / max(elapsed, 1e-9)),
        )
        self.restart()
        return speeds

    @staticmethod
    def _seconds(first: "float | torch.cuda.Event", second: "float | torch.cuda.Event") -> float:
        if isinstance(first, float) or isinstance(second, float):
            return float(second) - float(first)  # type: ignore[arg-type]
        second.synchronize()
        return first.elapsed_time(second) / 1000
