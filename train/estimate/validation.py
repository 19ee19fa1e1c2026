"""A validation: what each one takes, and what a run pays once for all of them.

Once are the workers' start, which set_up.py has seen to, and that libraries choose their algorithms for each size of a
batch. Measured with the first batch and counted as a part of each, that made hours of seconds.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch

from common.precision import DTYPES
from data.augment.normalise import Normalise
from data.loading.loader import Batch
from evaluate.evaluation import evaluate
from evaluate.view_scores import view_scores
from network.sub_batch_norm import aggregate_statistics
from train.estimate.set_up import ALONE, Run

FORWARD_SHARE = 0.4  # of a step, where a validation cannot be measured: forward is a third, and some comes on top
LEAST_BATCHES = 2  # the first one tells nothing of how fast others are read

clock = time.perf_counter


@dataclass
class Videos:
    """The videos of a split that the meter has tried to read, each counted once."""

    tried: set[int] = field(default_factory=set)
    bad: set[int] = field(default_factory=set)  # of them, those that cannot be read

    def add(self, batch: Batch) -> None:
        """Count those of a batch."""
        bad = {each.video for each in batch.bad_videos}
        self.bad |= bad
        self.tried |= bad | set(batch.videos.tolist())


class Validation(NamedTuple):
    """Seconds of a validation."""

    each: float = 0.0  # of all videos
    once: float = 0.0  # that the first one of a run takes longer
    is_measured: bool = True


class ValidationMeter:
    """Measures the validation of a run."""

    def __init__(self, run: Run, wait: Callable[[], None]) -> None:
        """`wait` waits for the device."""
        self.run, self.wait = run, wait
        self.videos = Videos()
        loader = run.val_loader
        self.number = sum(map(len, loader.batch_sampler))  # of this rank
        ((self.batch, self.shape), *_) = loader.batch_sampler.sizes()
        self.views = loader.dataset.sampling.views

    @property
    def batches(self) -> float:
        """The batches of a validation; the last one may be a part of one."""
        return self.number / self.batch

    @property
    def pixels(self) -> int:
        """Clips x frames x height x width of a batch."""
        return self.batch * self.views * self.shape.frames * self.shape.height * self.shape.width

    def measure(self, seconds: float, guess: float) -> Validation:
        """Measure for about `seconds`; only if a batch that takes `guess` seconds leaves time for another."""
        if LEAST_BATCHES * guess > seconds:
            return Validation(guess * self.batches, is_measured=False)
        started = clock()
        self._choose_algorithms()
        once = clock() - started
        each, is_whole = self._evaluate(seconds)
        if is_whole and clock() - started + each < seconds:
            again, _ = self._evaluate(each)
            once, each = once + max(0.0, each - again), again
        return Validation(each, once)

    def _choose_algorithms(self) -> None:
        """Scores of noise: on a GPU for both sizes of a batch, as libraries choose for each; else for one view."""
        run = self.run
        network = run.trainer.network
        aggregate_statistics(network)
        network.eval()
        normalise = Normalise(DTYPES[run.precision]).to(run.device)
        sizes = {self.batch, self.number % self.batch or self.batch} if run.is_gpu else {1}
        for videos in sizes:
            views = videos * self.views if run.is_gpu else 1
            frames = torch.zeros((views, *self.shape, 3), dtype=torch.uint8, device=run.device)
            view_scores(network, normalise, frames.permute(0, 4, 1, 2, 3), run.precision, run.trainer.most_val_clips)
        self.wait()

    def _evaluate(self, seconds: float) -> tuple[float, bool]:
        """Seconds of a validation, of which as much is made as `seconds` allow, and whether that was all."""
        run, started, seen = self.run, clock(), 0
        arrivals: list[float] = []

        def watch(each: Iterable[Batch | None]) -> Iterator[Batch | None]:
            nonlocal seen
            has_video = False
            for batch in each:
                arrivals.append(clock() - started)
                if batch is not None:
                    self.videos.add(batch)
                    seen += len(batch.labels) + len(batch.bad_videos)
                    has_video = has_video or len(batch.labels) > 0
                yield batch
                if has_video and len(arrivals) >= LEAST_BATCHES and clock() - started > seconds:
                    return

        evaluate(
            run.trainer.network, run.val_loader, run.device, ALONE, run.precision, watch, 2**31,
            most_clips=run.trainer.most_val_clips,
        )  # fmt: skip
        self.wait()
        return whole_seconds(arrivals, clock() - started, seen / self.number), seen == self.number


def whole_seconds(arrivals: Sequence[float], took: float, share: float) -> float:
    """Seconds of a validation, of which a `share` of the videos, 0 to 1, took `took` seconds.

    `arrivals`: when its batches had been read, in seconds since its start. The first is waited for once.
    """
    first, last, done = arrivals[0], arrivals[-1], len(arrivals)
    more = done / share - done  # batches
    computed = took + (took - first) / done * more
    read = took + (last - first) / max(1, done - 1) * more
    return max(computed, read)
