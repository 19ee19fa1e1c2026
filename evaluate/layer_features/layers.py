"""The output of a network's layer for clips, and how it is averaged.

Shapes: N clips, C channels, t frames and h x w pixels of the layer.
"""

from typing import NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from common.errors import DataError, NetworkError
from common.text import quoted
from data.labels.text import did_you_mean
from evaluate.exported import ExportedNetwork
from evaluate.model import TrainedModel
from network import VideoNetwork

STAGES = ("stem", "layer1", "layer2", "layer3", "layer4")
FLAT = ("fc", "logits")
"""Layers without frames and pixels: the input of the classifier, and its output."""
POOLS = ("mean", "time", "none")


class LayerClips(NamedTuple):
    """The views of one piece of a video (the whole, or a window): `clips` clips at each of `crops` crops."""

    values: Tensor  # (crops * clips, C, t, h, w); all clips of the first crop, then of the second
    clips: int
    frames: np.ndarray  # int64 (clips, T), the frames of the video that each clip has


class Pooled(NamedTuple):
    """The features of one piece of a video, and the first and last frame that each row was made from."""

    rows: np.ndarray  # float32 (R, C), or (R, C, h, w)
    frames: np.ndarray  # int64 (R, 2)


def stage_names(network: VideoNetwork) -> tuple[str, ...]:
    """The layers of a network that have frames and pixels, the first one first."""
    if isinstance(network, ExportedNetwork):
        return ()
    return tuple(name for name in STAGES if isinstance(getattr(network, name, None), nn.Module))


def layer_names(network: VideoNetwork) -> tuple[str, ...]:
    """The layers whose features can be taken. Of an exported file, only the logits can be seen."""
    has_classifier = isinstance(getattr(network, "fc", None), nn.Module)
    return (*stage_names(network), *(FLAT if has_classifier else FLAT[1:]))


def check_layer(model: TrainedModel, layer: str, names: tuple[str, ...]) -> None:
    """NetworkError, which lists the layers, if `layer` is not one of `names`."""
    if layer not in names:
        what = model.path if isinstance(model.network, ExportedNetwork) else model.facts["name"]
        there = f"the layers of {what} are {', '.join(names)}"
        if isinstance(model.network, ExportedNetwork):
            there = f"of the exported file {what}, only the logits can be taken: give --layer logits, or its checkpoint"
        raise NetworkError(f"--layer {quoted(layer)}: {there}{did_you_mean(layer, names)}")


def check_pool(layer: str, pool: str, crops: int) -> None:
    """DataError if the features of this layer cannot be averaged in this way."""
    if layer in FLAT and pool != "mean":
        raise DataError(f"--pool {pool}: {layer} has neither frames nor pixels: leave --pool out")
    if pool == "none" and crops > 1:
        raise DataError("--pool none with --val-crops: pixels of several crops cannot be averaged: give one crop")


class _Reached(Exception):
    """Ends a forward pass at the layer whose output is wanted."""


class Layer:
    """Normalised clips (N, 3, T, h, w) to the output of a layer, float32 (N, C, t, h, w); 1x1x1 for FLAT."""

    def __init__(self, network: VideoNetwork, name: str) -> None:
        self.network, self.name = network, name

    def __call__(self, clips: Tensor) -> Tensor:
        """The layer's output. What comes after it is not computed."""
        if self.name == "logits":
            return self.network(clips).float()[:, :, None, None, None]
        found: list[Tensor] = []

        def reach(value: Tensor) -> NoReturn:
            found.append(value)
            raise _Reached

        module = self.network.get_submodule(self.name)
        if self.name == "fc":
            handle = module.register_forward_pre_hook(lambda _, inputs: reach(inputs[0]))
        else:
            handle = module.register_forward_hook(lambda _, __, output: reach(output))
        try:
            self.network(clips)
        except _Reached:
            pass
        finally:
            handle.remove()
        (values,) = found
        return values.float() if values.dim() == 5 else values.float()[:, :, None, None, None]


def pool_views(views: LayerClips, pool: str) -> Pooled:
    """Average over crops and, by `pool`, over more.

    mean: over clips, frames and pixels, to one row (1, C). time: over pixels, to a row for each frame of the layer,
    (clips * t, C). none: over nothing else, (clips * t, C, h, w).
    """
    values = views.values.unflatten(0, (-1, views.clips)).mean(dim=0)  # (clips, C, t, h, w)
    if pool == "mean":
        rows = values.mean((0, 2, 3, 4))[None]
        return Pooled(_array(rows), np.array([[views.frames.min(), views.frames.max()]]))
    parts = [part for clip in views.frames for part in np.array_split(clip, values.shape[2])]
    frames = np.array([[part.min(), part.max()] for part in parts])
    by_frame = values.transpose(1, 2).flatten(0, 1)  # (clips * t, C, h, w)
    return Pooled(_array(by_frame.mean((2, 3)) if pool == "time" else by_frame), frames)


def _array(rows: Tensor) -> np.ndarray:
    return rows.cpu().numpy().astype(np.float32, copy=False)


def layer_of_views(layer: Layer, normalise: nn.Module, views: Tensor, device: torch.device, batch: int) -> Tensor:
    """The layer's output for uint8 views (V, 3, T, h, w), `batch` at a time: float32 (V, C, t, h, w) on the CPU."""
    with torch.inference_mode():
        return torch.cat([layer(normalise(part.to(device))).cpu() for part in views.split(batch)])
