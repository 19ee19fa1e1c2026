"""Weights of torchvision's 2D ResNets for 3D networks: repeated over time and divided by the number of repeats.

A clip whose frames are all the same then gets the features of the 2D network, except near its first and last frame:
there the convolutions see zeros beyond the clip. In the last stages of usual clips that is everywhere.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS, Normalisation
from network.base import VideoNetwork
from network.weights.loading import CLASSIFIER, LoadReport, SkippedTensor, load_published
from network.weights.published import PublishedWeights
from network.weights.recognising import plain_state_dict
from network.weights.resnet_names import from_hara
from network.weights.tensors import first_names, may_lack

FITTING = (
    "2D ResNets of 18 and 34 layers fit r3d_N and resnet3d_N; those of 50, 101 and 152 resnet3d_N; wide_resnetN_2 "
    "wide_r3dN_2; resnext50_32x4d and resnext101_32x8d r3dxt50_32x4d and r3dxt101_32x8d; all also with srtg_"
)


def flat_weights(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of a 2D ResNet, under its own names; NetworkError if the checkpoint is none."""
    found = plain_state_dict(checkpoint)
    stem = found.get("conv1.weight")
    if stem is None or tuple(stem.shape) != (64, 3, 7, 7) or "layer1.0.conv1.weight" not in found:
        raise NetworkError(
            f"--inflate takes the state dict of a 2D ResNet as torchvision publishes it, with a conv1.weight of "
            f"64x3x7x7; the checkpoint has {first_names(found)}"
        )
    return found


def load_inflated(
    network: VideoNetwork, checkpoint: Mapping[str, Any], normalisation: Normalisation | None = None
) -> tuple[LoadReport, str]:
    """Start a network from a 2D ResNet's weights; the report, and a description of the source.

    The classifier, which is ImageNet's, and SRTG stay new. The network gets ImageNet's normalisation, or
    `normalisation` with a warning. NetworkError if any other tensor does not fit, or the network has no max-pool as the
    2D one has.
    """
    flat = flat_weights(checkpoint)
    if not isinstance(getattr(network, "max_pool", None), nn.MaxPool3d):
        raise NetworkError(f"{network.name} has no max-pool after the stem, as 2D ResNets have: {FITTING}")
    is_bottleneck = "layer1.0.conv3.weight" in flat
    own = network.state_dict()
    inflated = {}
    for name, tensor in flat.items():
        new = from_hara(name, is_bottleneck)
        if new not in CLASSIFIER:
            inflated[new] = _inflated(tensor, own[new]) if new in own else tensor
    wrong = [name for name, tensor in inflated.items() if name not in own or tensor.shape != own[name].shape]
    wrong += [
        name
        for name in own
        if name not in inflated and name not in CLASSIFIER and ".sar." not in name and not may_lack(inflated, name)
    ]
    if wrong:
        raise NetworkError(
            f"the 2D network does not fit {network.name} ({first_names(wrong, 1)} differs or is missing): {FITTING}"
        )
    weights = PublishedWeights(
        inflated, "a 2D ResNet of ImageNet, inflated", normalisation=NORMALISATIONS["imagenet"], is_known=True
    )
    report, origin = load_published(network, weights, normalisation)
    classifier = tuple(
        SkippedTensor(name, tuple(flat[name].shape), tuple(own[name].shape), "ImageNet's classes")
        for name in CLASSIFIER
        if name in flat
    )
    kept = tuple(name for name in report.missing if name not in CLASSIFIER or name not in flat)
    return replace(report, skipped=report.skipped + classifier, missing=kept), origin


def _inflated(tensor: Tensor, own: Tensor) -> Tensor:
    """A 2D convolution's weight (out, in, h, w) as (out, in, t, h, w) of the network's t; other tensors as they are."""
    if tensor.dim() != 4 or own.dim() != 5:
        return tensor
    frames = own.shape[2]
    return (tensor / frames).unsqueeze(2).repeat(1, 1, frames, 1, 1)
