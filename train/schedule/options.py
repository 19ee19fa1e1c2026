"""The flags of the schedule."""

from dataclasses import dataclass

from common.options import option
from train.schedule.learning_rate import RateOptions


@dataclass(frozen=True)
class ScheduleOptions(RateOptions):
    """The base shape, the cycles, the learning rate and the number of epochs of a run."""

    clip_length: int = option(16, "frames of a clip", "data", minimum=1, is_compared=True)
    clip_size: int = option(256, "height and width of a clip, in pixels", "data", minimum=1, is_compared=True)
    batch_size: int = option(
        32, "clips of a batch at the base shape, over all GPUs; cycles use larger batches of smaller clips", "schedule",
        minimum=1, is_compared=True,
    )  # fmt: skip
    end_epoch: int = option(
        100,
        "nominal number of epochs; a run with cycles has 1.5 times as many (not with --multigrid per-epoch)",
        "schedule",
        minimum=1,
        is_compared=True,
    )
    long_cycles: bool = option(
        False, "multigrid: clip shape and batch change over the epochs", "schedule", is_compared=True
    )
    short_cycles: bool = option(
        False, "multigrid: crop and batch change from step to step", "schedule", is_compared=True
    )
    multigrid: str = option(
        "paper", "order of the long cycles' four shapes; paper: one after the other within each lr step; per-epoch: "
        "all in each epoch, and the run has exactly --end-epoch epochs", "schedule", choices=("paper", "per-epoch"),
        is_compared=True,
    )  # fmt: skip
    repeat_clips: int = option(
        1, "clips of each video in a batch, each with its own random choices; a batch of B clips has B/N videos, and "
        "an epoch N times the steps", "schedule", minimum=1, is_compared=True,
    )  # fmt: skip
