"""The learning rate: steps at given epochs and a linear warm-up. Pure functions of numbers."""

from collections.abc import Sequence
from itertools import pairwise

from common.errors import DataError


def usable_lr_steps(lr_steps: Sequence[int], end_epoch: int) -> tuple[int, ...]:
    """The epochs after which the rate falls, without those that the run never passes (`end_epoch` and later).

    DataError unless they are positive and increase.
    """
    if any(step < 1 for step in lr_steps) or any(a >= b for a, b in pairwise(lr_steps)):
        raise DataError(f"--lr-steps {' '.join(map(str, lr_steps))}: give epochs from 1 on, each later than the last")
    return tuple(step for step in lr_steps if step < end_epoch)


def stepped_lr(lr_base: float, lr_factor: float, steps_passed: int) -> float:
    """The rate after that many lr steps."""
    return lr_base * lr_factor**steps_passed


def warmed_up_lr(progress: float, warmup_epochs: float, start: float, target: float) -> float:
    """The rate `progress` epochs into the run: linear from `start` to `target`, which it has from `warmup_epochs` on.

    `target` is the schedule's rate at the end of the warm-up, so the rate does not jump there.
    """
    if progress >= warmup_epochs:
        return target
    return start + (target - start) * progress / warmup_epochs
