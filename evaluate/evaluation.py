"""Scores of a network over a set of videos; training uses this for validation."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import DataError, TrainingError
from common.precision import DTYPES
from common.ranks import Ranks
from data.augment.normalise import Normalise
from data.clips.types import BadVideo
from data.loading.loader import Batch, BatchLoader
from data.loading.prefetch import on_device
from evaluate.clip_order import clip_order, counts_of
from evaluate.metrics import Scores, ScoreSums
from evaluate.view_scores import mean_of_views, view_scores
from network import VideoNetwork
from network.sub_batch_norm import aggregate_statistics

BatchWrapper = Callable[[Iterable[Batch | None]], Iterator[Batch | None]]
Progress = Callable[[int, int, Callable[[], Scores]], None]


class VideoRows(NamedTuple):
    """The scores of N videos, in the order of their indices."""

    videos: np.ndarray  # int64 (N,), indices
    labels: np.ndarray  # int64 (N,)
    log_probabilities: np.ndarray  # float32 (N, C)


@dataclass(frozen=True)
class Evaluation(Scores):
    """The scores over the videos that could be read, and the others."""

    bad_videos: tuple[BadVideo, ...] = ()  # of all ranks; they are not among the examples
    by_clips: Mapping[int, Scores] = field(default_factory=dict)
    """The scores with the first clips of `clip_order` alone, by their number: fewer than all; if they are asked for."""
    rows: VideoRows | None = None  # on the first rank, if they are asked for
    open_gates: Mapping[str, float] = field(default_factory=dict)
    """By block, the share of views whose gate was open; empty for a network without gates."""

    def show_videos(self) -> str:
        """`16 videos`, or `15 of 16 videos; 1 could not be read`."""
        count, bad = int(self.examples), len(self.bad_videos)
        return f"{count} of {count + bad} videos; {bad} could not be read" if bad else f"{count} videos"


@torch.no_grad()
def evaluate(
    network: VideoNetwork,
    loader: BatchLoader,
    device: torch.device,
    ranks: Ranks,
    precision: str = "fp32",
    watch: BatchWrapper = iter,
    bad_video_limit: int = 0,
    progress: Progress | None = None,
    normalise: Normalise | None = None,
    most_clips: int = 0,
    clips: int = 0,
) -> Evaluation:
    """Scores over every video of all ranks' loaders, once each; the probabilities of a video's views are averaged.

    Leaves the network in evaluation mode, with the first rank's batch-norm statistics. `watch` wraps the iterator of
    batches, so that a caller can stop between two of them; all ranks have the same number of batches (a rank without
    further videos has None). `progress` is called on the first rank after each batch, with the batches done, their
    number and a function that gives the scores so far. `normalise` is by default what the network expects. At most
    `most_clips` (0: a batch) views go through the network at a time. With `clips`, the number of clips among a video's
    views, the result has the scores by their number, and the rows of the videos.

    Up to `bad_video_limit` videos that cannot be read are left out. DataError on all ranks if
    there are more, or if no video can be read; TrainingError on all ranks if the loss is not finite.
    """
    network.reset_open_gate_fractions()  # those of training
    ranks.broadcast(network.buffers())  # batch-norm statistics differ between ranks after training
    aggregate_statistics(network)
    network.eval()
    normalise = (normalise or Normalise(DTYPES[precision], normalisation=network.normalisation)).to(device)
    sums = _Sums(device, network.num_classes, clips)
    bad: list[BadVideo] = []
    rounds = int(ranks.maximum(torch.tensor(len(loader))))
    batches = on_device(loader, device)
    for done, batch in enumerate(watch(islice(chain(batches, repeat(None)), rounds)), start=1):  # None: no videos left
        if batch is not None:
            bad += batch.bad_videos
        _check_limit(bad, bad_video_limit, ranks)
        if batch is not None and len(batch.labels):
            views = view_scores(network, normalise, batch.frames, precision, most_clips)
            batches.fetch_ahead()  # before anything waits for the device
            sums.add(views.unflatten(0, (len(batch.labels), -1)), batch)
        if progress is not None and ranks.is_first:
            progress(done, rounds, sums.running)
    open_gates = _open_gates(network, sums.videos, ranks)
    network.reset_open_gate_fractions()  # reports are of training only
    all_bad = sorted((each for of_rank in ranks.gather(bad) for each in of_rank), key=lambda each: each.video)
    result = replace(sums.result(ranks, tuple(all_bad)), open_gates=open_gates)
    _check_scores(result)
    return result


class _Sums:
    """The running scores of all views and, with `clips`, of the first clips alone; and then also the videos' rows."""

    def __init__(self, device: torch.device, num_classes: int, clips: int) -> None:
        self.clips = clips
        self.order = torch.tensor(clip_order(clips), device=device) if clips else None
        counts = counts_of(clips) if clips else (0,)
        self.sums = {count: ScoreSums(device, num_classes) for count in counts}
        self.num_classes = num_classes
        self.rows: list[VideoRows] = []
        self.videos = 0

    def add(self, views: Tensor, batch: Batch) -> None:
        """Add a batch: log-probabilities (B, V, C) of its videos' views; the views of one crop are neighbours."""
        scores = mean_of_views(views)
        self.videos += len(views)
        for count, sums in self.sums.items():
            some = scores
            if count < self.clips and self.order is not None:
                by_crop = views.unflatten(1, (-1, self.clips))  # (B, crops, clips, C)
                some = mean_of_views(by_crop[:, :, self.order[:count]].flatten(1, 2))
            sums.add(F.nll_loss(some, batch.labels, reduction="sum"), some, batch.labels)
        if self.clips:
            self.rows.append(VideoRows(batch.videos.numpy(), batch.labels.cpu().numpy(), scores.cpu().numpy()))

    def running(self) -> Scores:
        """The scores so far, of this rank. Waits for the device."""
        *_, sums = self.sums.values()
        return sums.scores_of(sums.sums)

    def result(self, ranks: Ranks, bad: tuple[BadVideo, ...]) -> Evaluation:
        """The scores of all ranks; all of them must call it."""
        found = {count: sums.scores_of(ranks.sum(sums.take())) for count, sums in self.sums.items()}
        *fewer, total = found.items()
        rows = self._gathered(ranks) if self.clips else None
        return Evaluation(total[1].examples, total[1].sums, bad, dict(fewer), rows)

    def _gathered(self, ranks: Ranks) -> VideoRows | None:
        """The rows of all ranks, on the first."""
        none = VideoRows(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, self.num_classes), np.float32))
        mine = VideoRows(*map(np.concatenate, zip(none, *self.rows, strict=True)))
        every = ranks.gather(mine)
        if not ranks.is_first:
            return None
        joined = VideoRows(*map(np.concatenate, zip(*every, strict=True)))
        order = np.argsort(joined.videos, kind="stable")
        return VideoRows(*(array[order] for array in joined))


def _open_gates(network: VideoNetwork, videos: int, ranks: Ranks) -> dict[str, float]:
    """The shares of open gates over the views of all ranks, of which this one had those of `videos` videos."""
    shares = network.open_gate_fractions()
    if not shares:
        return {}
    counts = torch.stack([*(share.double().nan_to_num() * videos for share in shares.values())])
    total = ranks.sum(torch.cat([counts, counts.new_full((1,), videos)]))
    return dict(zip(shares, (total[:-1] / total[-1]).tolist(), strict=True))


def _check_limit(bad: list[BadVideo], limit: int, ranks: Ranks) -> None:
    """DataError on all ranks if they have more bad videos than `limit`; all ranks must call this."""
    total = int(ranks.sum(torch.tensor(len(bad))))
    if total <= limit:
        return
    reason = next(of_rank[-1].reason for of_rank in ranks.gather(bad) if of_rank)
    remedy = (
        f"the validation has {total} bad videos and --bad-video-limit allows {limit}: convert them again, or raise the "
        "limit"
        if limit
        else "convert it again, or leave such videos out of the scores with --on-bad-video skip"
    )
    raise DataError(f"a validation video cannot be read: {reason}; {remedy}", on_all_ranks=True)


def _check_scores(result: Evaluation) -> None:
    if not result.examples and result.bad_videos:
        raise DataError(
            f"none of the {len(result.bad_videos)} validation videos can be read, such as "
            f"{result.bad_videos[0].reason}: check --dataset",
            on_all_ranks=True,
        )
    if result.examples and not math.isfinite(result.loss):
        # Of outputs that are NaN or +inf, log-softmax makes NaN. Finite ones that are far apart make it overflow.
        are = "not finite" if math.isnan(result.loss) else "so far apart that the loss overflows"
        raise TrainingError(
            f"the validation loss is {result.loss:g} over {int(result.examples)} videos: the network's outputs are "
            f"{are}, so there are no scores",
            on_all_ranks=True,
        )
