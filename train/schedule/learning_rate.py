"""The learning rate: its schedules, by name, and a linear warm-up. Pure functions of numbers.

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
    """How the rate falls over a run."""

    uses_steps: bool  # whether it falls at the lr steps

    def __call__(self, progress: float, steps_passed: int) -> float:
        """The rate's factor when a share `progress` (0 to 1) of the epochs is done and `steps_passed` lr steps are."""


@dataclass(frozen=True)
class StepSchedule:
    """Falls by `lr_factor` at each lr step."""

    lr_factor: float
    uses_steps = True

    def __call__(self, progress: float, steps_passed: int) -> float:
        """The factor after that many lr steps."""
        return self.lr_factor**steps_passed


@dataclass(frozen=True)
class CosineSchedule:
    """Falls along half a cosine from the whole rate to zero over the run (Loshchilov & Hutter 2017, arXiv 1608.03983).

    Under cycles, which make 1.5 times as many epochs, a share of the run's epochs counts as that of the nominal ones.
    """

    lr_factor: float = 1.0  # of no use here
    uses_steps = False

    def __call__(self, progress: float, steps_passed: int) -> float:
        """The factor when that share of the epochs is done."""
        return 0.5 * (1 + cos(pi * progress))


SCHEDULES: dict[str, Callable[[float], LrSchedule]] = {"steps": StepSchedule, "cosine": CosineSchedule}
"""Builders by name; each takes `--lr-factor`."""


@dataclass(frozen=True)
class RateOptions:
    """The flags of the learning rate."""

    lr_base: float = option(0.1, "learning rate of the base batch", "schedule", above=0, is_compared=True)
    lr_schedule: str = option(
        "steps",
        "how the rate falls; cosine: --lr-steps only divide the long cycles",
        "schedule",
        choices=SCHEDULES,
        is_compared=True,
    )
    lr_steps: tuple[int, ...] = option(
        (15, 30, 40), "nominal epochs after which the rate falls: 40 60 75 or 40,60,75", "schedule", is_compared=True
    )
    lr_factor: float = option(0.1, "what each lr step multiplies the rate by", "schedule", above=0, is_compared=True)
    warmup_epochs: float | None = option(
        None, "epochs of linear warm-up; by default only with long cycles", "schedule", is_compared=True
    )
    warmup_lr: float | None = option(
        None, "rate at which the warm-up begins; by default a tenth of --lr-base", "schedule", is_compared=True
    )


def usable_lr_steps(lr_steps: Sequence[int], end_epoch: int) -> tuple[int, ...]:
    """The lr steps that the run reaches, those before `end_epoch`. DataError unless they are positive and increase."""
    if any(step < 1 for step in lr_steps) or any(a >= b for a, b in pairwise(lr_steps)):
        raise DataError(f"--lr-steps {' '.join(map(str, lr_steps))}: give epochs from 1 on, each later than the last")
    return tuple(step for step in lr_steps if step < end_epoch)


def warmed_up_lr(progress: float, warmup_epochs: float, start: float, target: float) -> float:
    """The rate `progress` epochs into the run: linear from `start` to `target`, which it has from `warmup_epochs` on.

    `target` is the schedule's rate at the end of the warm-up, so that the rate does not jump there.
    """
    if progress >= warmup_epochs:
        return target
    return start + (target - start) * progress / warmup_epochs
