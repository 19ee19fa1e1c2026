"""Which clips each step of each rank reads: the batch sampler of the training loader."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from data.clips.types import ClipRequest, ClipShape
from train.schedule.plan import Plan


class ScheduleSampler(Sampler[list[ClipRequest]]):
    """Yields, for one rank, the requests of each step from a position to the end of its epoch.

    The order of an epoch's videos depends on the seed and the epoch alone, each is drawn at most once, and a step
    takes the next `batch_size` of them in the plan's order; rank r has every `world_size`-th clip of the step from
    the r-th on. So all ranks see the same number of batches of the same shapes, together the same clips whatever
    their number, and a run that goes on in the middle of an epoch, even with other ranks, sees exactly the rest.

    Iterating does not move the position: a loader reads ahead of the training.
    """

    def __init__(self, plan: Plan, seed: int, rank: int = 0, world_size: int = 1) -> None:
        assert 0 <= rank < world_size, (rank, world_size)
        assert seed >= 0, seed
        self.plan = plan
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 1
        self.step = 0

    def set_position(self, epoch: int, step: int = 0) -> None:
        """Start the next iteration at this step of this epoch."""
        assert 0 <= step <= self.plan.steps_in_epoch(epoch), (epoch, step)
        self.epoch, self.step = epoch, step

    def __iter__(self) -> Iterator[list[ClipRequest]]:
        epoch, plan = self.epoch, self.plan
        order = np.random.default_rng((self.seed, epoch)).permutation(plan.num_videos)
        start = plan.clips_before(epoch, self.step)
        for step in range(self.step, plan.steps_in_epoch(epoch)):
            spec = plan.step_spec(epoch, step)
            assert spec.batch_size % self.world_size == 0, (spec.batch_size, self.world_size)
            videos = order[start + self.rank : start + spec.batch_size : self.world_size].tolist()
            yield [ClipRequest(video, spec.shape, epoch, spec.max_interval_factor) for video in videos]
            start += spec.batch_size

    def __len__(self) -> int:
        """Steps from the position to the end of its epoch."""
        return self.plan.steps_in_epoch(self.epoch) - self.step

    def sizes(self) -> set[tuple[int, ClipShape]]:
        """Number and shape of this rank's clips in each kind of step of the whole run."""
        return {
            (spec.batch_size // self.world_size, spec.shape) for phase in self.plan.phases for spec in phase.short_cycle
        }
