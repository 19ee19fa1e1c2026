"""Where clips are augmented: Augment, which applies the parameters of params.py to a batch on the device."""

from collections.abc import Callable
from functools import partial

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
        fields, (height, width) = named_params(params.numpy()), clips.shape[3:]
        operations = _operations(fields, height, width, clips.device)
        operations.append(_AffineMap(fields, height, width, clips.device))
        for frames, target in zip(clips.split(frames_at_once, 2), out.split(frames_at_once, 2), strict=True):
            x = frames.contiguous().float()  # reordered while uint8: a third faster than .float() in one step
            for operation in operations:
                x = operation(x)
            for channel, mean in zip(x.unbind(1), MEAN, strict=True):
                channel.clamp_((0 - mean) * SCALE, (255 - mean) * SCALE)
            target.copy_(x)


Operation = Callable[[Tensor], Tensor]


def _operations(fields: np.ndarray, height: int, width: int, device: torch.device) -> list[Operation]:
    """The geometry, blur and hue operations that n clips need, on x (n, 3, t, h, w), float32 in grey levels."""
    operations: list[Operation] = []
    # A rotation shows black outside of the source. A perspective stays inside; black would only darken its border.
    for field, beyond in (("rotation", "zeros"), ("corner_shifts", "border")):
        is_warped = np.any(fields[field].reshape(len(fields), -1) != 0, axis=1)
        if is_warped.any():
            chosen = fields[is_warped]
            matrices = homographies(chosen["rotation"], chosen["corner_shifts"], height, width)
            grid = sampling_grid(_to_device(matrices, device), height, width)
            operations.append(_on(is_warped, partial(warp, grid=grid, beyond=beyond), device))
    sigma = np.where(is_visible_blur(fields["blur_sigma"]), fields["blur_sigma"], 0)
    is_blurred = (fields["motion_kernel"] != 0) | (sigma != 0)
    if is_blurred.any():
        chosen = fields[is_blurred]
        kernels = _to_device(blur_kernels(sigma[is_blurred], chosen["motion_kernel"], chosen["motion_angle"]), device)
        operations.append(_on(is_blurred, partial(convolve, kernels=kernels), device))
    is_shifted = (fields["hue"] != 0) | (fields["saturation"] != 0)
    for is_forwards in (True, False):
        is_chosen = is_shifted & ((fields["hue"] >= 0) == is_forwards)
        if is_chosen.any():
            hue = _to_device(np.abs(fields["hue"][is_chosen]) * 6 / 255, device)
            saturation = _to_device(fields["saturation"][is_chosen] / 255, device)
            shift = partial(shift_hue_and_saturation, hue=hue, saturation=saturation, forwards=is_forwards)
            operations.append(_on(is_chosen, shift, device))
    return operations


class _AffineMap:
    """Addition, noise, colour, contrast and normalisation: one affine map of the channels for each clip.

    With addition a, noise n, colour factor f, contrast factor c, and the luma L(x) of x:

        y = x + a + n,  z = L(y) + f (y - L(y)),  (127 + c (z - 127) - mean) scale

    equals c f scale x + c (1 - f) scale L(x) + c scale n + (c (L(a) + f (a - L(a)) - 127) + 127 - mean) scale.
    """

    def __init__(self, fields: np.ndarray, height: int, width: int, device: torch.device) -> None:
        contrast, colour, add = (fields[name].astype(float) for name in ("contrast", "colour", "add"))
        luma_of_add = (add @ LUMA)[:, None]
        constant = contrast[:, None] * (luma_of_add + colour[:, None] * (add - luma_of_add) - MEDIUM_GREY)
        self.offset = _to_device((constant + MEDIUM_GREY - MEAN) * SCALE, device)[..., None, None, None]
        self.gain = _per_clip(contrast * colour * SCALE, device)
        self.luma_gain = _per_clip(contrast * (1 - colour) * SCALE, device)[:, 0] if (colour != 1).any() else None
        is_noisy = fields["noise_scale"] != 0
        if is_noisy.any():
            seeds = _to_device(fields["noise_seed"][is_noisy], device)
            scale = _per_clip(contrast[is_noisy] * fields["noise_scale"][is_noisy] * SCALE, device)
            pattern = noise(seeds, height, width).mul_(scale)
            offset = self.offset.expand(-1, -1, -1, height, width).contiguous()
            self.offset = _on(is_noisy, lambda x: x.add_(pattern), device)(offset)

    def __call__(self, x: Tensor) -> Tensor:
        """Map x (n, 3, t, h, w) in place, and return it."""
        luma = None if self.luma_gain is None else weighted_sum(x, LUMA).mul_(self.luma_gain)
        x.mul_(self.gain).add_(self.offset)
        return x if luma is None else x.add_(luma[:, None])


def _on(is_chosen: np.ndarray, operation: Operation, device: torch.device) -> Operation:
    """Turn an operation on the chosen clips into one on x, which leaves the other clips unchanged."""
    if is_chosen.all():
        return operation
    index = _to_device(np.flatnonzero(is_chosen), device)
    return lambda x: x.index_copy_(0, index, operation(x.index_select(0, index)))


def _per_clip(values: np.ndarray, device: torch.device) -> Tensor:
    return _to_device(values, device).view(-1, 1, 1, 1, 1)


def _to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """A copy on the device, float64 as float32; does not wait for the device."""
    tensor = torch.from_numpy(values.astype(np.float32) if values.dtype == np.float64 else values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
