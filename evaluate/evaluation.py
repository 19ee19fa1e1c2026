"""Scores of a network over a set of videos; training uses this for validation."""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, repeat

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import DataError
from common.precision import DTYPES, autocast
from common.ranks import Ranks
from data.augment.normalise import Normalise
from data.loading.loader import Batch, BatchLoader
from data.loading.prefetch import on_device
from evaluate.metrics import Scores, ScoreSums
from network import VideoNetwork
from network.sub_batch_norm import aggregate_statistics

BatchWrapper = Callable[[Iterable[Batch | None]], Iterator[Batch | None]]


@torch.no_grad()
def evaluate(
    network: VideoNetwork,
    loader: BatchLoader,
    device: torch.device,
    ranks: Ranks,
    precision: str = "fp32",
    watch: BatchWrapper = iter,
) -> Scores:
    """Scores over every video of all ranks' loaders, once each; the probabilities of a video's views are averaged.

    Leaves the network in evaluation mode, with the first rank's batch-norm statistics. `watch` wraps the iterator of
    batches, so that a caller can stop between two of them; all ranks have the same number of batches (a rank without
    further videos has None). DataError on a video that cannot be read.
    """
    ranks.broadcast(network.buffers())  # batch-norm statistics differ between ranks after training
    aggregate_statistics(network)
    network.eval()
    normalise = Normalise(DTYPES[precision]).to(device)
    sums = ScoreSums(device, network.num_classes)
    for batch in watch(_rounds(loader, device, ranks)):
        if batch is not None:
            scores = video_scores(network, normalise, batch, precision)
            sums.add(F.nll_loss(scores, batch.labels, reduction="sum"), scores, batch.labels)
    network.reset_open_gate_fractions()  # reports are of training only
    return sums.scores_of(ranks.sum(sums.take()))


def video_scores(network: VideoNetwork, normalise: Normalise, batch: Batch, precision: str) -> Tensor:
    """Log-probabilities (B, classes) of a batch of B videos: of the mean probabilities over each video's views.

    DataError if a video cannot be read.
    """
    if batch.bad_videos:
        raise DataError(f"a validation video cannot be read: {batch.bad_videos[0].reason}")
    with autocast(batch.frames.device, precision):
        logits = network(normalise(batch.frames))
    views = logits.float().unflatten(0, (len(batch.labels), -1)).log_softmax(dim=-1)  # (B, V, classes)
    return views.logsumexp(dim=1) - math.log(views.shape[1])


def _rounds(loader: BatchLoader, device: torch.device, ranks: Ranks) -> Iterator[Batch | None]:
    """The rank's batches on the device, then None until all ranks have had the same number."""
    rounds = int(ranks.maximum(torch.tensor(len(loader))))
    return islice(chain(on_device(loader, device), repeat(None)), rounds)
