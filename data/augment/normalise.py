"""Grey levels to the values that a network expects."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.layout import best_format

MEAN = (124.0, 117.0, 104.0)  # of R, G, B, in grey levels 0-255
SCALE = 0.0167  # 1 / standard deviation in grey levels, for all channels
STD = (1 / SCALE,) * 3


class Normalise(nn.Module):
    """Normalises uint8 clips (B, 3, T, h, w) of any strides: (x - mean) / std, by default float32.

    `mean` and `std` are of R, G, B in grey levels 0-255, by default those that all networks are trained with here.
    For clips that are not augmented; Augment normalises by itself, and takes the same `dtype` and `memory_format`. The
    default memory format is that in which networks are fastest on the device of the clips.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        dtype: torch.dtype = torch.float32,
        memory_format: torch.memory_format | None = None,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
    ) -> None:
        super().__init__()
        self.dtype = dtype
        self.memory_format = memory_format
        scale = [1 / each for each in std]
        for name, levels in (("mean", mean), ("scale", scale)):
            self.register_buffer(name, torch.tensor(levels).view(1, 3, 1, 1, 1), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, h, w) uint8 -> the same shape, normalised.

        DataError for other types, whose values may be of another scale.
        """
        if clips.dtype != torch.uint8:
            raise DataError(f"clips are {clips.dtype}: Normalise takes uint8, grey levels from 0 to 255")
        x = clips.to(torch.float32, memory_format=self.memory_format or best_format(clips.device))
        return x.sub_(self.mean).mul_(self.scale).to(self.dtype)
