"""Scores of a network over a set of videos; training uses this for validation."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import DataError, TrainingError
from common.precision import DTYPES, autocast
from common.ranks import Ranks
from data.augment.normalise import Normalise
from data.clips.types import BadVideo
from data.loading.loader import Batch, BatchLoader
from data.loading.prefetch import on_device
from evaluate.metrics import Scores, ScoreSums
from network import VideoNetwork
from network.sub_batch_norm import aggregate_statistics

BatchWrapper = Callable[[Iterable[Batch | None]], Iterator[Batch | None]]


@dataclass(frozen=True)
class Evaluation(Scores):
    """The scores over the videos that could be read, and the others."""

    bad_videos: tuple[BadVideo, ...] = ()  # of all ranks; they are not among the examples

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
    progress: Callable[[int, int, Callable[[], Scores]], None] | None = None,
) -> Evaluation:
    """Scores over every video of all ranks' loaders, once each; the probabilities of a video's views are averaged.

    Leaves the network in evaluation mode, with the first rank's batch-norm statistics. `watch` wraps the iterator of
    batches, so that a caller can stop between two of them; all ranks have the same number of batches (a rank without
    further videos has None). Up to `bad_video_limit` videos that cannot be read are left out. DataError on all ranks if
    there are more, or if no video can be read; TrainingError on all ranks if the loss is not finite.
    """
    ranks.broadcast(network.buffers())  # batch-norm statistics differ between ranks after training
    aggregate_statistics(network)
    network.eval()
    normalise = Normalise(DTYPES[precision]).to(device)
    sums = ScoreSums(device, network.num_classes)
    bad: list[BadVideo] = []
    rounds = int(ranks.maximum(torch.tensor(len(loader))))
    for done, batch in enumerate(watch(_rounds(loader, device, ranks)), start=1):
        if batch is not None:
            bad += batch.bad_videos
        _check_limit(bad, bad_video_limit, ranks)
        if batch is not None and len(batch.labels):
            scores = video_scores(network, normalise, batch, precision)
            sums.add(F.nll_loss(scores, batch.labels, reduction="sum"), scores, batch.labels)
        if progress is not None and ranks.is_first:
            progress(done, rounds, lambda: sums.scores_of(sums.sums))
    network.reset_open_gate_fractions()  # reports are of training only
    total = sums.scores_of(ranks.sum(sums.take()))
    all_bad = sorted((each for of_rank in ranks.gather(bad) for each in of_rank), key=lambda each: each.video)
    result = Evaluation(total.examples, total.sums, tuple(all_bad))
    _check_scores(result)
    return result


def video_scores(network: VideoNetwork, normalise: Normalise, batch: Batch, precision: str) -> Tensor:
    """Log-probabilities (B, classes) of a batch of B videos: of the mean probabilities over each video's views."""
    with autocast(batch.frames.device, precision):
        logits = network(normalise(batch.frames))
    views = logits.float().unflatten(0, (len(batch.labels), -1)).log_softmax(dim=-1)  # (B, V, classes)
    return views.logsumexp(dim=1) - math.log(views.shape[1])


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
        raise TrainingError(
            f"the validation loss is {result.loss:g} over {int(result.examples)} videos: the network's outputs are not "
            "finite, so there are no scores",
            on_all_ranks=True,
        )


def _rounds(loader: BatchLoader, device: torch.device, ranks: Ranks) -> Iterator[Batch | None]:
    """The rank's batches on the device, then None until all ranks have had the same number."""
    rounds = int(ranks.maximum(torch.tensor(len(loader))))
    return islice(chain(on_device(loader, device), repeat(None)), rounds)
