"""Which clips each step of each rank reads: the batch sampler of the training loader."""

from collections.abc import Callable, Iterator

import numpy as np
from torch.utils.data import Sampler

from data.clips.types import ClipRequest, ClipShape
from train.schedule.plan import Plan

STATISTICS_EPOCH = 2**31
"""Clips of precise batch norm are drawn as those of this epoch, and further passes over the videos as of the next ones:
after every epoch of a run, and below 2**32, from where numpy would take the number for two."""


class ScheduleSampler(Sampler[list[ClipRequest]]):
    """Yields one rank's requests of each step, from a position to the end of its epoch.

    The order of an epoch's videos depends only on the seed and the epoch; each video occurs at most once. A step takes
    the next `batch_size` / `repeats` videos, and rank r takes every `world_size`-th of these, from the r-th on. So all
    ranks have the same number of batches of the same shapes, and the clips of a step do not depend on the number of
    ranks. A run resumed in mid-epoch, even with another number of ranks, reads exactly the rest.

    With `repeats`, a rank's batch has all clips of its first video, then those of the second one: sub-batches of batch
    norm and parts of --accumulate take every n-th clip, and so have clips of as many videos as they can.

    After the steps of an epoch come the batches for precise batch norm, as many as `statistics_after` says of the
    epoch: at the base shape and --batch-size, and always the same clips, whose draws are their own.

    Iterating does not move the position, because the loader reads ahead of training.
    """

    def __init__(
        self,
        plan: Plan,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        statistics_after: Callable[[int], int] = lambda epoch: 0,
    ) -> None:
        assert 0 <= rank < world_size, (rank, world_size)
        assert seed >= 0, seed
        self.plan = plan
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.statistics_after = statistics_after
        self.epoch = 1
        self.step = 0

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Set where the next iteration starts."""
        assert 0 <= step <= self.plan.steps_in_epoch(epoch), (epoch, step)
        self.epoch, self.step = epoch, step

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        epoch, plan = self.epoch, self.plan
        order = np.random.default_rng((self.seed, epoch)).permutation(plan.num_videos)
        start = plan.clips_before(epoch, self.step) // plan.repeats
        for step in range(self.step, plan.steps_in_epoch(epoch)):
            spec = plan.step_spec(epoch, step)
            assert spec.batch_size % (self.world_size * plan.repeats) == 0, (spec, self.world_size, plan.repeats)
            end = start + spec.batch_size // plan.repeats
            videos = order[start + self.rank : end : self.world_size].tolist()
            yield [
                ClipRequest(video, spec.shape, epoch, spec.max_interval_factor, repeat)
                for video in videos
                for repeat in range(plan.repeats)
            ]
            start = end
        yield from self._statistics_batches(self.statistics_after(epoch))

    def __len__(self) -> int:
        """Batches from the position on: steps to the end of its epoch, then those of precise batch norm."""
        return self.plan.steps_in_epoch(self.epoch) - self.step + self.statistics_after(self.epoch)

    def sizes(self) -> set[tuple[int, ClipShape]]:
        """The batch sizes (of this rank) and shapes that occur in the run."""
        specs = [self.plan.full_spec, *(spec for phase in self.plan.phases for spec in phase.short_cycle)]
        return {(spec.batch_size // self.world_size, spec.shape) for spec in specs}

    def _statistics_batches(self, count: int) -> Iterator[list[ClipRequest]]:
        spec, videos = self.plan.full_spec, self.plan.num_videos
        assert spec.batch_size % self.world_size == 0, (spec.batch_size, self.world_size)
        order, epoch = np.empty(0, np.int64), STATISTICS_EPOCH - 1  # of one pass over the videos
        for start in range(0, count * spec.batch_size, spec.batch_size):
            requests = []
            for position in range(start, start + spec.batch_size):
                if position % videos == 0:
                    epoch = STATISTICS_EPOCH + position // videos
                    order = np.random.default_rng((self.seed, epoch)).permutation(videos)
                video = int(order[position % videos])
                requests.append(ClipRequest(video, spec.shape, epoch, spec.max_interval_factor))
            yield requests[self.rank :: self.world_size]
