"""The reports of the Trainer to its callbacks. They are frozen, so that a callback cannot change a run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from data.clips.types import BadVideo
from evaluate.evaluation import Evaluation
from evaluate.metrics import Scores


@dataclass(frozen=True)
class Speeds:
    """Clips per second of each part of a step, by the time of this part alone."""

    read: float  # taking batches from the loader; high if the workers read ahead
    forward: float
    backward: float  # with the update
    clips: float  # of the whole step
    wait_share: float  # share of the time spent waiting for batches, 0 to 1


@dataclass(frozen=True)
class LogReport:
    """The steps since the last report."""

    epoch: int  # from 1
    num_epochs: int
    step: int  # steps done in the epoch
    steps: int  # steps of the whole epoch
    global_step: int  # steps done in the run
    scores: Scores
    speeds: Speeds
    batch_shape: tuple[int, ...]  # of the last step, over all ranks: (B, 3, T, h, w)
    lr: float
    grad_norm: float  # of the last step, before clipping
    memory_bytes: int  # peak on the device since the run began; 0 on the CPU
    skipped_updates: int  # by the fp16 scaler, in the whole run
    open_gates: dict[str, float]  # share of open gates of each block since the last report; empty without gates
    remaining: float | None = None  # seconds until the end of the run; None if not known


@dataclass(frozen=True)
class EpochReport:
    """A finished epoch."""

    epoch: int
    num_epochs: int
    global_step: int
    lr: float
    train: Scores
    val: Evaluation | None  # None if the epoch had no validation
    is_best: bool
    seconds: float  # of training and validation, summed over all parts of an interrupted epoch
    clips: int
    repeated_frames: int
    bad_videos: tuple[BadVideo, ...]
    checkpoint: Path
    remaining: float | None = None  # as in LogReport; None after the last epoch


class Callback(Protocol):
    """Receives the reports of a run. Only the first rank has callbacks.

    If one raises an exception, `Guarded` logs it and calls the callback again at its next report.
    """

    def on_step(self, step: int, steps: int) -> None:
        """Called after every step: `step` of the epoch's `steps` are done. Must not wait for the device."""

    def on_log(self, report: LogReport) -> None:
        """Called every `--log-every` steps and after the last step of an epoch."""

    def on_epoch(self, report: EpochReport) -> None:
        """Called after an epoch and its validation, before its checkpoint is written."""

    def close(self) -> None:
        """Called when the run ends, for any reason."""
