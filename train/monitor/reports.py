"""What the Trainer tells its callbacks: frozen reports, so that a callback cannot change a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.clips.types import BadVideo
from evaluate.metrics import Scores


@dataclass(frozen=True)
class Speeds:
    """Clips per second of each part of a step, as if it were all that is done."""

    read: float  # taking batches from the loader; high when workers are ahead
    forward: float
    backward: float  # and update
    clips: float  # of the whole step
    wait_share: float  # share of the time in which the step waited for its batch, 0 to 1


@dataclass(frozen=True)
class LogReport:
    """The steps since the last report."""

    epoch: int  # from 1
    num_epochs: int
    step: int  # steps done in the epoch
    steps: int  # of the epoch
    global_step: int  # steps done in the run
    scores: Scores
    speeds: Speeds
    batch_shape: tuple[int, ...]  # of the last step on all ranks: (B, 3, T, h, w)
    lr: float
    grad_norm: float
    memory_bytes: int  # peak on the device since the run began; 0 on the CPU
    skipped_updates: int  # by the fp16 scaler, in the run
    open_gates: dict[str, float]  # share of open gates by block since the last report; empty without gates


@dataclass(frozen=True)
class EpochReport:
    """A finished epoch."""

    epoch: int
    num_epochs: int
    global_step: int
    lr: float
    train: Scores
    val: Scores | None  # None where the epoch had no validation
    is_best: bool
    seconds: float  # of training and validation, over all parts if the epoch was interrupted
    clips: int
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    checkpoint: Path


class Callback(Protocol):
    """Told of a run as it goes on; the first rank alone has any."""

    def on_step(self, step: int, steps: int) -> None:
        """`step` of the epoch's `steps` are done. Called every step: must not touch the device."""

    def on_log(self, report: LogReport) -> None:
        """A report is due."""

    def on_epoch(self, report: EpochReport) -> None:
        """An epoch and its validation are done; its checkpoint comes next."""

    def close(self) -> None:
        """The run ends, whatever the reason."""
