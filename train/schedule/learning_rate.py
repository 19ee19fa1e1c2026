"""The learning rate: schedules, by name, and a linear warm-up. Pure functions of numbers.

The rate of a step is `--lr-base` times the schedule's factor times the batch factor of the long cycle's shape.
A new schedule is one class here and one entry in SCHEDULES.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import cos, pi
from typing import Protocol

from common.errors import DataError
from common.options import option


class LrSchedule(Protocol):
    """How the learning rate falls over a run."""

    uses_lr_steps: bool  # whether the rate falls at the lr steps

    def __call__(self, progress: float, steps_passed: int) -> float:
        """The factor of the rate after a share `progress` (0 to 1) of the epochs and after `steps_passed` lr steps."""


@dataclass(frozen=True)
class LrStepSchedule:
    """Falls by `lr_factor` at each lr step."""

    lr_factor: float
    uses_lr_steps = True

    def __call__(self, progress: float, steps_passed: int) -> float:
        """The factor after `steps_passed` lr steps."""
        return self.lr_factor**steps_passed


@dataclass(frozen=True)
class CosineSchedule:
    """Falls along half a cosine from the full rate to `end` of it (Loshchilov & Hutter 2017, arXiv 1608.03983).

    `progress` is the share of the epochs that the run really has: with cycles, 1.5 times `--end-epoch`.
    """

    end: float = 0.0
    uses_lr_steps = False

    def __call__(self, progress: float, steps_passed: int) -> float:
        """The factor after the share `progress` of the epochs."""
        return self.end + (1 - self.end) * 0.5 * (1 + cos(pi * progress))


SCHEDULES: dict[str, Callable[["RateOptions"], LrSchedule]] = {
    "steps": lambda options: LrStepSchedule(options.lr_factor),
    "cosine": lambda options: CosineSchedule(options.end_lr / options.lr_base),
}
"""Builders by name."""


@dataclass(frozen=True)
class RateOptions:
    """The flags of the learning rate."""

    lr_base: float = option(
        0.1, "learning rate of a batch of --batch-size clips; long cycles multiply it by their batch factor. With "
        "--multigrid per-epoch: learning rate of the largest batch", "schedule", above=0, below=1e32, is_compared=True,
    )  # fmt: skip
    lr_schedule: str = option(
        "steps",
        "how the learning rate falls. steps: times --lr-factor at each of --lr-steps; cosine: to --end-lr over the run "
        "(--lr-steps then only divide the long cycles)",
        "schedule",
        choices=SCHEDULES,
        is_compared=True,
    )
    lr_steps: tuple[int, ...] = option(
        (15, 30, 40), "nominal epochs after which the learning rate falls: 40 60 75 or 40,60,75", "schedule",
        is_compared=True,
    )  # fmt: skip
    lr_factor: float = option(
        0.1,
        "the learning rate is multiplied by this at each of --lr-steps",
        "schedule",
        above=0,
        below=1e32,
        is_compared=True,
    )
    end_lr: float = option(
        0.0, "where --lr-schedule cosine ends, as --lr-base is where it begins", "schedule", minimum=0, is_compared=True
    )
    warmup_epochs: float | None = option(
        None, "epochs of linear warm-up (default with long cycles: --end-epoch / 7, at most half of the first phase; "
        "else 0)", "schedule", is_compared=True,
    )  # fmt: skip
    warmup_lr: float | None = option(
        None, "learning rate at the start of the warm-up (default: a tenth of --lr-base)", "schedule", is_compared=True
    )


def usable_lr_steps(lr_steps: Sequence[int], end_epoch: int) -> tuple[int, ...]:
    """The lr steps before `end_epoch`. DataError unless all lr steps are positive and increasing."""
    if any(step < 1 for step in lr_steps) or any(a >= b for a, b in pairwise(lr_steps)):
        raise DataError(f"--lr-steps {' '.join(map(str, lr_steps))}: give increasing epochs, 1 or more")
    return tuple(step for step in lr_steps if step < end_epoch)


def warmed_up_lr(progress: float, warmup_epochs: float, start: float, target: float) -> float:
    """The rate after `progress` epochs: linear from `start` to `target`, which it reaches after `warmup_epochs`.

    `target` is the schedule's rate at the end of the warm-up, so that the rate does not jump there.
    """
    if progress >= warmup_epochs:
        return target
    return start + (target - start) * progress / warmup_epochs
