"""The scores of clips, and of a video from those of its views: what evaluation and prediction have in common."""

import math

import torch
from torch import Tensor

from common.precision import autocast
from data.augment.normalise import Normalise
from network import VideoNetwork


@torch.no_grad()
def view_scores(network: VideoNetwork, normalise: Normalise, frames: Tensor, precision: str, most_clips: int) -> Tensor:
    """Log-probabilities (V, classes), float32, of the clips uint8 (V, 3, T, h, w) on the network's device.

    The network gets at most `most_clips` at a time.
    """
    parts = []
    for clips in frames.split(most_clips):
        with autocast(frames.device, precision):
            logits = network(normalise(clips))
        parts.append(logits.float().log_softmax(dim=-1))
    return torch.cat(parts)


def mean_of_views(log_probabilities: Tensor) -> Tensor:
    """The log (B, classes) of the mean over views of the probabilities whose logs are given (B, V, classes)."""
    return log_probabilities.logsumexp(dim=1) - math.log(log_probabilities.shape[1])
