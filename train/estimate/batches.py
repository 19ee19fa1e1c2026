"""Batches of random videos, for as long as anything is measured."""

from collections.abc import Iterator, Sequence

import numpy as np

from data.clips.types import ClipRequest, ClipShape
from train.schedule.plan import StepSpec


class RandomBatches:
    """A batch sampler of one rank: batches of random videos, in the order of a cycle, until `end` is called.

    Other videos each time: those that were read before may be in the system's cache. `cycle` may be changed between
    iterations.
    """

    STEPS = 10**6  # more than anybody waits for

    def __init__(self, num_videos: int, cycle: Sequence[StepSpec], sizes: set[tuple[int, ClipShape]]) -> None:
        self.num_videos = num_videos
        self.cycle = cycle
        self._sizes = sizes
        self._is_ending = False
        self.rng = np.random.default_rng()

    def __len__(self) -> int:
        return self.STEPS

    def sizes(self) -> set[tuple[int, ClipShape]]:
        """The batch sizes and shapes that may occur."""
        return self._sizes

    def end(self) -> None:
        """Let the iteration end after the batches that are being read. One that is left would delay the next."""
        self._is_ending = True

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        cycle = tuple(self.cycle)
        self._is_ending = False
        for step in range(self.STEPS):
            if self._is_ending:
                return
            spec = cycle[step % len(cycle)]
            videos = self.rng.integers(0, self.num_videos, spec.batch_size).tolist()
            epoch = int(self.rng.integers(1, 2**31))
            yield [ClipRequest(video, spec.shape, epoch, spec.max_interval_factor) for video in videos]
