"""The operations of Augment in PyTorch: on any device, and what the kernels have to agree with."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from common.normalisation import SRTG, Normalisation
from data.augment.levels import level_tables, looked_up
from data.augment.ops import (
    LUMA,
    convolve,
    noise,
    sampling_grid,
    shift_hue_and_saturation,
    warp,
    weighted_sum,
)
from data.augment.packed import to_device
from data.augment.params import named_params
from data.augment.values import parts_of

# On the CPU, so many frames go through all operations before the next ones. More do not fit into its caches, and the
# memory of their copies would be returned to the system and requested again each time.
FRAMES_AT_ONCE = 2

Operation = Callable[[Tensor], Tensor]


def augment(clips: Tensor, params: Tensor, out: Tensor, normalisation: Normalisation = SRTG) -> None:
    """Write clips (n, 3, T, h, w), augmented and normalised, to `out`; params (n, NUM_PARAMS) are on the CPU."""
    with torch.autocast(clips.device.type, enabled=False):  # half precision would lose bits of the pixels
        if clips.device.type != "cpu":
            augment_together(clips, params, out, clips.shape[2], normalisation)
            return
        for index in range(len(clips)):
            clip = slice(index, index + 1)
            augment_together(clips[clip], params[clip], out[clip], FRAMES_AT_ONCE, normalisation)


def augment_together(
    clips: Tensor, params: Tensor, out: Tensor, frames_at_once: int, normalisation: Normalisation = SRTG
) -> None:
    """As `augment`: each operation on all clips, and on `frames_at_once` of each."""
    fields, (height, width) = named_params(params.numpy()), clips.shape[3:]
    operations = [*_levels(clips, fields), *_operations(fields, height, width, clips.device, normalisation)]
    for frames, target in zip(clips.split(frames_at_once, 2), out.split(frames_at_once, 2), strict=True):
        x = frames.contiguous().float()  # reordered while uint8: a third faster than .float() in one step
        for operation in operations:
            x = operation(x)
        for channel, (low, high) in zip(x.unbind(1), normalisation.limits, strict=True):
            channel.clamp_(low, high)
        target.copy_(x)


def _levels(clips: Tensor, fields: np.ndarray) -> list[Operation]:
    """What looks up the levels of clips that have a table for them."""
    found = level_tables(clips, fields)
    if found is None:
        return []
    (index,) = to_device([np.flatnonzero(found.is_chosen)], clips.device)
    return [partial(_on_some, index=index, operation=partial(looked_up, tables=found.tables))]


def _operations(
    fields: np.ndarray, height: int, width: int, device: torch.device, normalisation: Normalisation
) -> list[Operation]:
    """What n clips go through, on x (n, 3, t, h, w), float32 in grey levels; the last operation normalises."""
    # A rotation shows black outside of the source. A perspective stays inside; black would only darken its border.
    makers: dict[str, Callable[..., Operation]] = {
        "rotation": partial(_warp, height, width, "zeros"),
        "perspective": partial(_warp, height, width, "border"),
        "blur": partial(partial, convolve),
        "hue forwards": partial(partial, shift_hue_and_saturation, forwards=True),
        "hue backwards": partial(partial, shift_hue_and_saturation, forwards=False),
        "affine map": partial(_AffineMap, height, width, normalisation.factors),
    }
    parts = parts_of(fields, height, width, normalisation)
    values = parts["affine map"].values
    for name in values.keys() & {"gain", "noise_scale"}:
        values[name] = values[name][:, None] * np.array(normalisation.factors)
    indices = [[] if part.is_chosen.all() else [np.flatnonzero(part.is_chosen)] for part in parts.values()]
    arrays = [
        array for index, part in zip(indices, parts.values(), strict=True) for array in (*index, *part.values.values())
    ]
    tensors = iter(to_device(arrays, device))
    operations = []
    for index, (name, part) in zip(indices, parts.items(), strict=True):
        chosen = next(tensors) if index else None
        operation = makers[name](**{name: next(tensors) for name in part.values})
        operations.append(operation if chosen is None else partial(_on_some, index=chosen, operation=operation))
    return operations


def _on_some(x: Tensor, index: Tensor, operation: Operation) -> Tensor:
    """Apply the operation to the clips at `index`, in place; the others stay as they are."""
    return x.index_copy_(0, index, operation(x.index_select(0, index)))


def _warp(height: int, width: int, beyond: str, matrices: Tensor) -> Operation:
    return partial(warp, grid=sampling_grid(matrices, height, width), beyond=beyond)


class _AffineMap:
    """The map of `values._affine_map`, with the gain and the noise of each channel."""

    def __init__(
        self,
        height: int,
        width: int,
        factors: tuple[float, float, float],
        offset: Tensor,
        gain: Tensor,
        luma_gain: Tensor | None = None,
        noisy: Tensor | None = None,
        noise_seed: Tensor | None = None,
        noise_scale: Tensor | None = None,
    ) -> None:
        self.factors = factors
        self.offset, self.gain = offset[..., None, None, None], gain[..., None, None, None]
        self.luma_gain = None if luma_gain is None else _per_clip(luma_gain)[:, 0]
        if noisy is not None and noise_seed is not None and noise_scale is not None:
            pattern = noise(noise_seed, height, width) * noise_scale[..., None, None, None]
            offset = self.offset.expand(-1, -1, -1, height, width).contiguous()
            self.offset = offset.index_add_(0, noisy, pattern)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (n, 3, t, h, w) in place, and return it."""
        luma = None if self.luma_gain is None else weighted_sum(x, LUMA).mul_(self.luma_gain)
        x.mul_(self.gain).add_(self.offset)
        if luma is not None:
            for channel, factor in zip(x.unbind(1), self.factors, strict=True):
                channel.add_(luma, alpha=factor)
        return x


def _per_clip(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1, 1)
