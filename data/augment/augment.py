"""Where clips are augmented: Augment, which applies the parameters of params.py to a batch on the device."""

import torch
from torch import Tensor, nn

from common.normalisation import SRTG, Normalisation
from data.augment import plain
from data.augment.use import may_use_kernels


class Augment(nn.Module):
    """Augments uint8 clips (B, 3, T, h, w) of any strides with their augmentation parameters, and normalises them.

    The operations, in this order, with the imgaug augmenters of the original's training:

    1. rotation (Affine) or perspective (PerspectiveTransform): one bilinear sampling;
    2. Gaussian blur (GaussianBlur) and motion blur (MotionBlur): one convolution with the product of their kernels;
    3. hue and saturation (AddToHueAndSaturation), in HSV;
    4. addition (Add), noise (AdditiveGaussianNoise), colour (pillike.EnhanceColor), contrast (LinearContrast) and
       normalisation: one affine map of the channels;
    5. the limits of 0 and 255 grey levels.

    RandAugment's operations are among these, in the order in which they are drawn where they are of one kind. First all
    operations on levels are one look up in a table for each channel (levels.py). Rotation, shears and translations are
    one sampling (1), changes of sharpness one convolution (2), those of colour one factor (4); see composed.py.

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

    `normalisation` is what the network expects, its attribute of this name; by default that of new networks here.

    On a GPU the operations are those of kernels.py, if they are wanted and right (see use.py), else those of plain.py.
    """

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format = torch.contiguous_format,
        normalisation: Normalisation = SRTG,
    ) -> None:
        super().__init__()
        self.normalisation = normalisation
        self.dtype = dtype
        self.memory_format = memory_format

    @torch.no_grad()
    def forward(self, clips: Tensor, params: Tensor) -> Tensor:
        """Clips (B, 3, T, h, w) uint8, params (B, NUM_PARAMS) float32 on the CPU -> (B, 3, T, h, w), normalised."""
        out = torch.empty(clips.shape, dtype=self.dtype, device=clips.device, memory_format=self.memory_format)
        if may_use_kernels(clips, out, self.memory_format, self.normalisation):
            from data.augment import kernels  # not at import: Triton is not everywhere

            kernels.augment(clips, params, out, self.normalisation)
        else:
            plain.augment(clips, params, out, self.normalisation)
        return out
