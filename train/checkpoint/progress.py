"""Position and counts of a run. Each checkpoint saves them, so that a resumed run reports the same numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, NamedTuple

from common.errors import DataError
from data.clips.types import BadVideo
from evaluate.metrics import Scores, all_metrics
from train.monitor.reported import entry_of

TOP1 = "top1"
BEST_BY = {TOP1: "top1", "mean-class": "mean_class", "loss": "loss"}
"""The values of --best-by, and the metrics that they name."""


class Best(NamedTuple):
    """What tells the best state of a run from another: see `Progress`."""

    top1: float
    by: str
    score: float | None


@dataclass
class Progress:
    """The position (the next step is number `step`, from 0, of `epoch`, from 1) and the counts."""

    epoch: int = 1
    step: int = 0
    global_step: int = 0
    skipped_updates: int = 0
    best_top1: float = -1.0  # of the best state; below 0: none yet
    best_by: str = TOP1  # the score by which a state is the best, a key of BEST_BY
    best_score: float | None = None  # that score of the best state; None if it is the top-1
    reported: list[list[Any]] = field(default_factory=list)  # of each finished epoch, see `next_epoch`
    # Of the current epoch. Repeated frames and bad videos are of this rank until the Trainer collects them.
    scores: Scores = field(default_factory=Scores)
    clips: int = 0
    seconds: float = 0.0
    repeated_frames: int = 0
    bad_videos: list[BadVideo] = field(default_factory=list)

    def count_step(self, clips: int, repeated_frames: int) -> None:
        """Count a finished step with `clips` over all ranks and `repeated_frames` of this rank."""
        self.step += 1
        self.global_step += 1
        self.clips += clips
        self.repeated_frames += repeated_frames

    def next_of(
        self,
        num_epochs: int,
        steps_in_epoch: Callable[[int], int],
        is_validated: Callable[[int], bool] = lambda epoch: True,
    ) -> str:
        """What a run of `num_epochs` that resumes here does next, for the log."""
        if self.epoch > num_epochs:
            return f"after epoch {self.epoch - 1}, its last"
        if self.step == steps_in_epoch(self.epoch):
            what = "at the validation" if is_validated(self.epoch) else "after the last step"
            return f"{what} of epoch {self.epoch}"
        return f"at step {self.step + 1} of epoch {self.epoch}"

    def update_best(self, val: Scores | None) -> bool:
        """Whether a validation has the best score so far; the state is then saved as `best`."""
        if val is None:
            return False
        metric = next(metric for metric in all_metrics() if metric.name == BEST_BY[self.best_by])
        score, best = val.values()[metric.name], self.best_value
        if best is not None and not (score < best if metric.is_lower_better else score > best):
            return False
        self.best_top1 = val.top1
        self.best_score = None if self.best_by == TOP1 else score
        return True

    @property
    def best(self) -> Best:
        """What tells the best state so far from another one."""
        return Best(self.best_top1, self.best_by, self.best_score)

    @property
    def best_value(self) -> float | None:
        """The score of the best state by which it is the best; None if there is none yet."""
        if self.best_top1 < 0:
            return None
        return self.best_top1 if self.best_by == TOP1 else self.best_score

    def forget_best(self, best_by: str = "") -> None:
        """Count the best anew, from now on by the score `best_by` if it is given."""
        self.best_top1, self.best_score, self.best_by = Progress.best_top1, None, best_by or self.best_by

    def next_epoch(self, val: Scores | None = None) -> None:
        """Move to the first step of the next epoch, and reset the counts of the epoch, which ended with `val`.

        Its number and scores, of training and validation, stay in `reported`: see `same_attempt`, `score_files`.
        """
        self.reported.append(entry_of(self.epoch, self.scores, val))
        self.epoch += 1
        self.step = 0
        self.scores, self.clips, self.seconds, self.repeated_frames, self.bad_videos = Scores(), 0, 0.0, 0, []

    def state_dict(self) -> dict[str, Any]:
        """The progress as plain types."""
        scores = {"examples": self.scores.examples, "sums": {k: list(v) for k, v in self.scores.sums.items()}}
        return asdict(self) | {"scores": scores, "bad_videos": [list(bad) for bad in self.bad_videos]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """The progress of a `state_dict`. DataError if it has fields that this version does not know."""
        unknown = sorted(state.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise DataError(f"its progress has the field {unknown[0]!r}, of another version of this project")
        bad_videos = [BadVideo(*bad) for bad in state["bad_videos"]]
        return cls(**(state | {"scores": read_scores(state["scores"]), "bad_videos": bad_videos}))


def best_of(progress: Mapping[str, Any]) -> Best:
    """The best state of a saved progress; older versions had the top-1 alone."""
    return Best(progress["best_top1"], progress.get("best_by", TOP1), progress.get("best_score"))


def same_attempt(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two saved states of a run, as progress, may be of one attempt: one has gone on from the other.

    Copies of a run's folder that went on apart are attempts of their own: the epochs that both have finished since
    have other losses. True of older versions, which saved nothing that tells it.
    """
    known = {entry[0]: entry[1:3] for entry in one.get("reported", [])}
    return all(
        _are_close(entry[1:3], losses)
        for entry in other.get("reported", [])
        if (losses := known.get(entry[0])) is not None
    )


def _are_close(one: Sequence[float | None], other: Sequence[float | None]) -> bool:
    """Whether losses are the same, but for what a GPU rounds otherwise when a killed run validates once more."""
    return all(
        a is b if a is None or b is None else math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-6)
        for a, b in zip(one, other, strict=True)
    )


def read_scores(saved: Any) -> Scores:
    """The scores of a saved progress."""
    if isinstance(saved, list):  # older versions: the sums of loss, top-1 and top-5, then the number of examples
        *sums, examples = saved
        if not examples:
            return Scores()
        return Scores(examples, {name: (total,) for name, total in zip(("loss", "top1", "top5"), sums, strict=True)})
    return Scores(saved["examples"], {name: tuple(values) for name, values in saved["sums"].items()})
