"""Grey levels to the values that a network expects."""

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.layout import best_format
from common.normalisation import SCALE as SCALE
from common.normalisation import SRTG, Normalisation

MEAN = SRTG.mean


class Normalise(nn.Module):
    """Normalises uint8 clips (B, 3, T, h, w) of any strides: (x - mean) / std, by default float32.

    `normalisation` is what the network expects, its attribute of this name; by default that of new networks here.
    For clips that are not augmented; Augment normalises by itself, and takes the same `dtype` and `memory_format`. The
    default memory format is that in which networks are fastest on the device of the clips.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format | None = None,
        normalisation: Normalisation = SRTG,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.memory_format = memory_format
        scale = [1 / each for each in normalisation.std]
        for name, levels in (("mean", normalisation.mean), ("scale", scale)):
            self.register_buffer(name, torch.tensor(levels).view(1, 3, 1, 1, 1), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, h, w) uint8 -> the same shape, normalised.

        DataError for other types, whose values may be of another scale.
        """
        if clips.dtype != torch.uint8:
            raise DataError(f"clips are {clips.dtype}: Normalise takes uint8, grey levels from 0 to 255")
        x = clips.to(torch.float32, memory_format=self.memory_format or best_format(clips.device))
        return x.sub_(self.mean).mul_(self.scale).to(self.dtype)
