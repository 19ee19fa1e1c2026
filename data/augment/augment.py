"""Where clips are augmented: Augment, which applies the parameters of params.py to a batch on the device."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from data.augment.normalise import MEAN, SCALE
from data.augment.ops import (
    LUMA,
    blur_kernels,
    convolve,
    homographies,
    is_visible_blur,
    noise,
    sampling_grid,
    shift_hue_and_saturation,
    warp,
    weighted_sum,
)
from data.augment.packed import to_device
from data.augment.params import named_params

MEDIUM_GREY = 127.0  # the level that a change of contrast does not move, as in imgaug
# On the CPU, so many frames go through all operations before the next ones. More do not fit into its caches, and the
# memory of their copies would be returned to the system and requested again each time.
FRAMES_AT_ONCE = 2


class Augment(nn.Module):
    """Augments uint8 clips (B, 3, T, h, w) of any strides with their augmentation parameters, and normalises them.

    The operations, in this order, with the imgaug augmenters of the original's training:

    1. rotation (Affine) or perspective (PerspectiveTransform): one bilinear sampling;
    2. Gaussian blur (GaussianBlur) and motion blur (MotionBlur): one convolution with the product of their kernels;
    3. hue and saturation (AddToHueAndSaturation), in HSV;
    4. addition (Add), noise (AdditiveGaussianNoise), colour (pillike.EnhanceColor), contrast (LinearContrast) and
       normalisation: one affine map of the channels;
    5. the limits of 0 and 255 grey levels.

    Differences to a chain of imgaug's augmenters:

    - Values are never rounded, and clipped to 0-255 only at the end.
    - Sampling comes first, so that it does not smear the noise. Pixels uncovered by a rotation are black, and the
      later operations apply to them too.
    - A Gaussian blur that changes no pixel by half a grey level (sigma below 0.26) is left out: imgaug's rounding
      undoes it.
    - Hue is not quantised to 2 degrees, and saturation is at most doubled (see `shift_hue_and_saturation`).
    - Motion blur has equal weights along its line.
    - The horizontal flip is done by the worker that reads the clip (data.clips.crop), in a copy that it makes anyway.
      All distributions here are symmetric under mirroring, so the order does not matter.

    The result for a clip depends on its pixels and parameters only, not on the rest of the batch. The parameters stay
    on the host, which decides with them which clips need an operation. So the other clips do not pay for it, and
    nothing waits for the device.
    """

    def __init__(
        self, dtype: torch.dtype = torch.float32, memory_format: torch.memory_format = torch.contiguous_format
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.memory_format = memory_format

    @torch.no_grad()
    def forward(self, clips: Tensor, params: Tensor) -> Tensor:
        """Clips (B, 3, T, h, w) uint8, params (B, NUM_PARAMS) float32 on the CPU -> (B, 3, T, h, w), normalised."""
        out = torch.empty(clips.shape, dtype=self.dtype, device=clips.device, memory_format=self.memory_format)
        with torch.autocast(clips.device.type, enabled=False):  # half precision would lose bits of the pixels
            if clips.device.type != "cpu":
                self.augment(clips, params, out, clips.shape[2])
                return out
            for index in range(len(clips)):
                clip = slice(index, index + 1)
                self.augment(clips[clip], params[clip], out[clip], FRAMES_AT_ONCE)
        return out

    def augment(self, clips: Tensor, params: Tensor, out: Tensor, frames_at_once: int) -> None:
        """Write n clips (n, 3, T, h, w), augmented and normalised, to `out`; `frames_at_once` of each at a time."""
        operations = _operations(named_params(params.numpy()), clips.shape[3], clips.shape[4], clips.device)
        for frames, target in zip(clips.split(frames_at_once, 2), out.split(frames_at_once, 2), strict=True):
            x = frames.contiguous().float()  # reordered while uint8: a third faster than .float() in one step
            for operation in operations:
                x = operation(x)
            for channel, mean in zip(x.unbind(1), MEAN, strict=True):
                channel.clamp_((0 - mean) * SCALE, (255 - mean) * SCALE)
            target.copy_(x)


Operation = Callable[[Tensor], Tensor]


class _Part(NamedTuple):
    """An operation that some of n clips need, before its parameters are on the device."""

    is_chosen: np.ndarray  # bool (n,)
    values: dict[str, np.ndarray]  # of the chosen clips
    make: Callable[..., Operation]  # gets the values, by their names, as tensors on the device


def _operations(fields: np.ndarray, height: int, width: int, device: torch.device) -> list[Operation]:
    """What n clips go through, on x (n, 3, t, h, w), float32 in grey levels; the last operation normalises."""
    parts = [*_geometry(fields, height, width), *_blur(fields), *_hue(fields), _affine_map(fields, height, width)]
    indices = [[] if part.is_chosen.all() else [np.flatnonzero(part.is_chosen)] for part in parts]
    arrays = [array for index, part in zip(indices, parts, strict=True) for array in (*index, *part.values.values())]
    tensors = iter(to_device(arrays, device))
    operations = []
    for index, part in zip(indices, parts, strict=True):
        chosen = next(tensors) if index else None
        operation = part.make(**{name: next(tensors) for name in part.values})
        operations.append(operation if chosen is None else partial(_on_some, index=chosen, operation=operation))
    return operations


def _on_some(x: Tensor, index: Tensor, operation: Operation) -> Tensor:
    """Apply the operation to the clips at `index`, in place; the others stay as they are."""
    return x.index_copy_(0, index, operation(x.index_select(0, index)))


def _geometry(fields: np.ndarray, height: int, width: int) -> list[_Part]:
    """Rotation and perspective."""
    parts = []
    # A rotation shows black outside of the source. A perspective stays inside; black would only darken its border.
    for field, beyond in (("rotation", "zeros"), ("corner_shifts", "border")):
        is_warped = np.any(fields[field].reshape(len(fields), -1) != 0, axis=1)
        if is_warped.any():
            chosen = fields[is_warped]
            matrices = homographies(chosen["rotation"], chosen["corner_shifts"], height, width)
            parts.append(_Part(is_warped, {"matrices": matrices}, partial(_warp, height, width, beyond)))
    return parts


def _warp(height: int, width: int, beyond: str, matrices: Tensor) -> Operation:
    return partial(warp, grid=sampling_grid(matrices, height, width), beyond=beyond)


def _blur(fields: np.ndarray) -> list[_Part]:
    """Gaussian and motion blur."""
    sigma = np.where(is_visible_blur(fields["blur_sigma"]), fields["blur_sigma"], 0)
    is_blurred = (fields["motion_kernel"] != 0) | (sigma != 0)
    if not is_blurred.any():
        return []
    chosen = fields[is_blurred]
    kernels = blur_kernels(sigma[is_blurred], chosen["motion_kernel"], chosen["motion_angle"])
    return [_Part(is_blurred, {"kernels": kernels}, partial(partial, convolve))]


def _hue(fields: np.ndarray) -> list[_Part]:
    """Hue and saturation."""
    parts = []
    is_shifted = (fields["hue"] != 0) | (fields["saturation"] != 0)
    for is_forwards in (True, False):
        is_chosen = is_shifted & ((fields["hue"] >= 0) == is_forwards)
        if is_chosen.any():
            chosen = fields[is_chosen]
            values = {"hue": np.abs(chosen["hue"]) * 6 / 255, "saturation": chosen["saturation"] / 255}
            parts.append(_Part(is_chosen, values, partial(partial, shift_hue_and_saturation, forwards=is_forwards)))
    return parts


def _affine_map(fields: np.ndarray, height: int, width: int) -> _Part:
    """Addition, noise, colour, contrast and normalisation: one affine map of the channels for each clip.

    With addition a, noise n, colour factor f, contrast factor c, and the luma L(x) of x:

        y = x + a + n,  z = L(y) + f (y - L(y)),  (127 + c (z - 127) - mean) scale

    equals c f scale x + c (1 - f) scale L(x) + c scale n + (c (L(a) + f (a - L(a)) - 127) + 127 - mean) scale.
    """
    contrast, colour, add = (fields[name].astype(float) for name in ("contrast", "colour", "add"))
    luma_of_add = (add @ LUMA)[:, None]
    constant = contrast[:, None] * (luma_of_add + colour[:, None] * (add - luma_of_add) - MEDIUM_GREY)
    values = {"offset": (constant + MEDIUM_GREY - MEAN) * SCALE, "gain": contrast * colour * SCALE}
    if (colour != 1).any():
        values["luma_gain"] = contrast * (1 - colour) * SCALE
    is_noisy = fields["noise_scale"] != 0
    if is_noisy.any():
        values["noisy"], values["noise_seed"] = np.flatnonzero(is_noisy), fields["noise_seed"][is_noisy]
        values["noise_scale"] = contrast[is_noisy] * fields["noise_scale"][is_noisy] * SCALE
    return _Part(np.ones(len(fields), bool), values, partial(_AffineMap, height, width))


class _AffineMap:
    """The map of `_affine_map`. For n clips: offset (n, 3), gain and luma_gain (n,); noise is for those at `noisy`."""

    def __init__(
        self,
        height: int,
        width: int,
        offset: Tensor,
        gain: Tensor,
        luma_gain: Tensor | None = None,
        noisy: Tensor | None = None,
        noise_seed: Tensor | None = None,
        noise_scale: Tensor | None = None,
    ) -> None:
        self.offset, self.gain = offset[..., None, None, None], _per_clip(gain)
        self.luma_gain = None if luma_gain is None else _per_clip(luma_gain)[:, 0]
        if noisy is not None and noise_seed is not None and noise_scale is not None:
            pattern = noise(noise_seed, height, width).mul_(_per_clip(noise_scale))
            offset = self.offset.expand(-1, -1, -1, height, width).contiguous()
            self.offset = offset.index_add_(0, noisy, pattern.expand(-1, 3, -1, -1, -1))

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (n, 3, t, h, w) in place, and return it."""
        luma = None if self.luma_gain is None else weighted_sum(x, LUMA).mul_(self.luma_gain)
        x.mul_(self.gain).add_(self.offset)
        return x if luma is None else x.add_(luma[:, None])


def _per_clip(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1, 1)
