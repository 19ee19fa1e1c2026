"""`--time-probe`: whether a network uses the order of frames: the same videos with their time changed.

    reversed, shuffled, frozen        the frames of the same clips: last first; in a random order; the middle one only
    half_interval, double_interval    clips around the same middle whose frames lie half or twice as far apart

Each is compared with the videos as they are (`forwards`), by the paired bootstrap over videos.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from common.errors import DataError
from common.ranks import Ranks
from data.clips.changed_time import ChangedTime, changed_interval
from data.clips.dataset import SOURCES, known_rate
from data.clips.sampling import ClipSampling, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.video_list import VideoList
from data.store.video_source import VideoSourceError
from evaluate.comparison.comparing import FEW_WINS, LEVEL, few_videos
from evaluate.comparison.significance import mcnemar_p
from evaluate.evaluation import Evaluation, VideoRows
from evaluate.results.bootstrap import (
    SCORES,
    ScoreInterval,
    percentile_interval,
    resampled_scores,
    score_values,
    video_results,
)
from evaluate.results.outcomes import predicted_classes
from evaluate.results.predictions import Predictions

FORWARDS, REVERSED, SHUFFLED, FROZEN = "forwards", "reversed", "shuffled", "frozen"
FACTORS = {"half_interval": 0.5, "double_interval": 2.0}
SEED = 0  # of the random orders
HALF_WAY = {0.5: 0.75, 2.0: 1.5}  # a video counts as changed if its interval changes at least so much

EvaluateAs = Callable[[str, ClipSampling], Evaluation]


class IntervalChange(NamedTuple):
    """What a changed interval comes to: as videos are short and frames whole, not all of it may be possible."""

    videos: int  # whose interval changes at least half of the way: 0.75 or 1.5 times
    of: int  # videos
    factor: float  # the mean over all videos; NaN without videos


@dataclass(frozen=True)
class Condition:
    """The scores of the videos with their time changed in one way."""

    name: str
    scores: Mapping[str, float]  # by the names of SCORES
    differences: Mapping[str, ScoreInterval]  # this - forwards; of forwards 0
    open_gates: Mapping[str, float]  # by block, the percentage of views; empty for a network without gates
    change: IntervalChange | None = None
    wins: tuple[int, int] = (0, 0)
    """Videos whose class is right forwards alone, and in this condition alone."""

    @property
    def mean_open_gates(self) -> float:
        """The percentage of open gates over views and blocks; NaN for a network without gates."""
        return float(np.mean(list(self.open_gates.values()))) if self.open_gates else float("nan")


class ClassProbe(NamedTuple):
    """A class, and what becomes of its videos."""

    name: str
    videos: int
    top1: Mapping[str, float]  # percent, by the name of the condition; NaN without videos
    reversed_as: str  # the class that most of its reversed videos are predicted as; "" without videos
    reversed_times: int  # and how many


@dataclass(frozen=True)
class TimeProbe:
    """The probe of `videos` videos: those that could be read in each condition."""

    videos: int
    unread: int  # that could not be read in some condition
    conditions: tuple[Condition, ...]  # forwards first
    classes: tuple[ClassProbe, ...]  # in class order
    left_out: Mapping[str, str] = field(default_factory=dict)  # the reason why a condition is not possible

    def entry(self) -> dict[str, Any]:
        """As summary.json and the JSON line have it. Differences are against forwards."""
        conditions: dict[str, Any] = {}
        for each in self.conditions:
            found: dict[str, Any] = dict(each.scores)
            if each.name != FORWARDS:
                found["differences"] = {name: own.value for name, own in each.differences.items()}
                found["intervals"] = {name: [own.low, own.high] for name, own in each.differences.items()}
            if each.open_gates:
                found |= {"open_gates": each.mean_open_gates, "open_gates_by_block": dict(each.open_gates)}
            if each.change:
                found |= {"videos_changed": each.change.videos, "mean_factor": each.change.factor}
            conditions[each.name] = found
        return {
            "videos": self.videos, "unread": self.unread, "seed": SEED, "conditions": conditions,
            "left_out": dict(self.left_out), "warnings": self.warnings(),
        }  # fmt: skip

    def warnings(self) -> list[str]:
        """What makes the probe tell less than it seems to: few videos, or few that change."""
        found = [few] if (few := few_videos(self.videos)) else []
        decisive = self._decisive()
        if 0 < (wins := sum(decisive.wins)) < FEW_WINS:
            are = f"{wins} videos are" if wins > 1 else "1 video is"
            found.append(
                f"{are} right {FORWARDS} alone or {decisive.name} alone: of fewer than {FEW_WINS} McNemar's test shows "
                "nothing"
            )
        return found

    def _decisive(self) -> Condition:
        """The condition that tells whether the order of frames is used."""
        conditions = {each.name: each for each in self.conditions}
        return conditions.get(SHUFFLED) or conditions[REVERSED]

    def conclusion(self) -> str:
        """What can be said, in a sentence."""
        decisive = self._decisive()
        found, p = decisive.differences["top1"], mcnemar_p(*decisive.wins)
        cost, low, high = (0 - each for each in (found.value, found.high, found.low))
        size = f"{decisive.name} frames cost {cost:.2f} points of top-1 ({low:.2f} to {high:.2f})"
        if low > 0 and p >= LEVEL:
            return f"not clear whether the network uses the order of frames: {size}; McNemar's exact test: p = {p:.3f}"
        if low > 0:
            return f"the network uses the order of frames: {size}"
        return f"no sign that the network gains by the order of frames: {size}"


def check_time_probe(shape: ClipShape) -> None:
    """DataError if clips of this shape have no order."""
    if shape.frames < 2:
        raise DataError("--time-probe needs clips of 2 frames or more: a single frame has no order")


def time_probe(
    forwards: Evaluation,
    clips: UniformClips,
    videos: VideoList,
    shape: ClipShape,
    ranks: Ranks,
    evaluate_as: EvaluateAs,
) -> TimeProbe | None:
    """Evaluate the videos in each condition and compare them with `forwards`, their evaluation with `clips`.

    `evaluate_as` evaluates all videos with another sampling; its first argument is the condition's name. All ranks must
    call this; the result is on the first.
    """
    samplings: dict[str, ClipSampling] = {
        name: ChangedTime(clips, name, seed=SEED) for name in (REVERSED, SHUFFLED, FROZEN)
    }
    left_out = {}
    if shape.frames == 2:
        left_out[SHUFFLED] = f"two frames have no other order than {REVERSED}"
    changes = interval_changes(clips, videos, shape, ranks)
    for name, change in changes.items():
        samplings[name] = ChangedTime(clips, factor=FACTORS[name])
        if not change.videos:
            left_out[name] = _reason(clips, FACTORS[name], change)
    found = {FORWARDS: forwards}
    for name, sampling in samplings.items():
        if name not in left_out:
            found[name] = evaluate_as(name, sampling)
    return compared(found, videos.classes, left_out, changes) if ranks.is_first else None


def interval_changes(
    clips: UniformClips, videos: VideoList, shape: ClipShape, ranks: Ranks
) -> dict[str, IntervalChange]:
    """What each of FACTORS comes to, over the videos of all ranks; all of them must call it.

    Of clips over whole videos there is no double interval.
    """
    factors: dict[str, list[float]] = {name: [] for name in FACTORS}
    rng = np.random.default_rng(0)  # these clips draw nothing
    for index in range(ranks.rank, len(videos), ranks.world_size):
        frames, rate = int(videos.frame_counts[index]), None
        if clips.needs_rate:
            place = videos.place(index)
            try:
                with SOURCES[videos.source](place) as video:
                    rate = known_rate(video, place)
            except VideoSourceError:  # the evaluation says it
                continue
        (first,) = clips.evenly(1).frames(frames, ClipRequest(index, shape, 0), rng, rate)
        for name, factor in FACTORS.items():
            is_whole = clips.span and factor > 1
            reached = first.interval if is_whole else changed_interval(first, frames, factor).interval
            factors[name].append(reached / first.interval)
    found = {}
    for name, factor in FACTORS.items():
        every = np.array([each for of_rank in ranks.gather(factors[name]) for each in of_rank])
        is_changed = every <= HALF_WAY[factor] if factor < 1 else every >= HALF_WAY[factor]
        found[name] = IntervalChange(
            int(is_changed.sum()), len(every), float(every.mean()) if len(every) else float("nan")
        )
    return found


def _reason(clips: UniformClips, factor: float, change: IntervalChange) -> str:
    """Why no video's interval can change."""
    if clips.span and factor > 1:
        return "the clips cover the whole video"
    limit = "a smaller one would repeat frames" if factor < 1 else "the videos are too short for a larger one"
    return f"{limit} (on average {change.factor:.2f} times the interval is possible)"


def compared(
    found: Mapping[str, Evaluation],
    classes: tuple[str, ...],
    left_out: Mapping[str, str],
    changes: Mapping[str, IntervalChange],
) -> TimeProbe:
    """The probe from the evaluations of the conditions, forwards first, on the videos that all of them could read."""
    every = {name: _rows(each) for name, each in found.items()}
    read = [set(rows.videos.tolist()) for rows in every.values()]
    common = sorted(set.intersection(*read))
    predictions = {name: _predictions(rows, common, classes) for name, rows in every.items()}
    results = [video_results(each) for each in predictions.values()]
    values = np.stack([score_values(each) for each in results])
    resampled = resampled_scores(results)
    low, high = percentile_interval(resampled - resampled[:, :1])
    conditions = []
    for row, (name, evaluation) in enumerate(found.items()):
        differences = zip(values[row] - values[0], low[row], high[row], strict=True)
        intervals = {score: ScoreInterval(*map(float, ends)) for score, ends in zip(SCORES, differences, strict=True)}
        scores = dict(zip(SCORES, map(float, values[row]), strict=True))
        gates = {block: 100 * share for block, share in evaluation.open_gates.items()}
        own, plain = results[row].top1, results[0].top1
        wins = int((plain & ~own).sum()), int((own & ~plain).sum())
        conditions.append(Condition(name, scores, intervals, gates, changes.get(name), wins))
    hits = {name: each.top1 for name, each in zip(predictions, results, strict=True)}
    probes = _class_probes(predictions[REVERSED], hits)
    return TimeProbe(len(common), len(set.union(*read)) - len(common), tuple(conditions), probes, left_out)


def _rows(evaluation: Evaluation) -> VideoRows:
    assert evaluation.rows is not None
    return evaluation.rows


def _predictions(rows: VideoRows, common: list[int], classes: tuple[str, ...]) -> Predictions:
    """Those of the videos `common` alone; rows are in the order of the videos' indices."""
    own = np.isin(rows.videos, common)
    return Predictions(rows.videos[own].astype(str), rows.labels[own], classes, rows.log_probabilities[own])


def _class_probes(backwards: Predictions, hits: Mapping[str, np.ndarray]) -> tuple[ClassProbe, ...]:
    predicted = predicted_classes(backwards)
    probes = []
    for index, name in enumerate(backwards.classes):
        own = backwards.labels == index
        videos = int(own.sum())
        top1 = {condition: float(100 * hit[own].mean()) if videos else float("nan") for condition, hit in hits.items()}
        counts = np.bincount(predicted[own], minlength=len(backwards.classes))
        most = int(counts.argmax())
        probes.append(ClassProbe(name, videos, top1, backwards.classes[most] if videos else "", int(counts[most])))
    return tuple(probes)
