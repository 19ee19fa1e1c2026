"""The flags that decide a schedule."""

from dataclasses import dataclass

from common.options import option
from train.schedule.learning_rate import RateOptions


@dataclass(frozen=True)
class ScheduleOptions(RateOptions):
    """The base shape, the cycles, the learning rate and the length of a run."""

    clip_length: int = option(16, "frames of a clip", "data", least=1, is_compared=True)
    clip_size: int = option(256, "height and width of a clip, in pixels", "data", least=1, is_compared=True)
    batch_size: int = option(32, "clips of a batch, over all GPUs", "schedule", least=1, is_compared=True)
    end_epoch: int = option(100, "nominal epochs; cycles make 1.5 times as many", "schedule", least=1, is_compared=True)
    long_cycles: bool = option(False, "multigrid: shapes that change over the epochs", "schedule", is_compared=True)
    short_cycles: bool = option(False, "multigrid: crops that change from step to step", "schedule", is_compared=True)
    multigrid: str = option(
        "paper", "long cycles within each lr step, or all four shapes in each epoch", "schedule",
        choices=("paper", "per-epoch"), is_compared=True,
    )  # fmt: skip
