"""From the views of videos to their scores: the one place where an evaluation, a prediction and training agree."""

import math

import torch
from torch import Tensor

from common.precision import autocast
from data.augment.normalise import Normalise
from network import VideoNetwork


@torch.no_grad()
def view_scores(
    network: VideoNetwork, normalise: Normalise, frames: Tensor, precision: str = "fp32", most_clips: int = 0
) -> Tensor:
    """Log-probabilities (V, C), float32, of views, uint8 (V, 3, T, h, w).

    At most `most_clips` views (0: all) go through the network at a time.
    """
    parts = []
    for views in frames.split(most_clips or max(1, len(frames))):
        with autocast(frames.device, precision):
            logits = network(normalise(views))
        parts.append(logits.float().log_softmax(dim=-1))
    return torch.cat(parts)


def mean_of_views(log_probabilities: Tensor) -> Tensor:
    """Log-probabilities (B, V, C) of the V views of B videos -> (B, C), those of the mean of their probabilities."""
    return log_probabilities.logsumexp(dim=1) - math.log(log_probabilities.shape[1])
