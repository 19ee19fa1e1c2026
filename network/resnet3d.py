"""3D and (2+1)D residual networks, with or without SRTG, and the tables of their names.

Parameter names and shapes are those of the checkpoints published with the paper.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from network.convs import conv1x1x1, conv2plus1d, conv3d, middle_channels, stem2plus1d, stem3d
from network.registry import register
from network.srtg import SqueezeAndRecursion, VideoNetwork

STAGE_CHANNELS = (64, 128, 256, 512)


class Convolutions(NamedTuple):
    """What a family of networks builds its stem and the spatio-temporal convolutions of its blocks with."""

    stem: Callable[[], nn.Sequential]
    conv: Callable[[int, int, int, int], nn.Sequential]  # in, out and middle channels, stride


BlockConvs = Callable[[int, int, int, Convolutions], list[nn.Sequential]]
"""In and out channels, stride and family to the convolutions of a residual block."""


class Depth(NamedTuple):
    """A row of the table of depths: the convolutions of a block, and the blocks of each stage."""

    convs: BlockConvs
    blocks: tuple[int, int, int, int]


class Recursion(NamedTuple):
    """How the blocks of a network apply SRTG."""

    gates: bool
    placement: str


def basic_convs(in_channels: int, out_channels: int, stride: int, family: Convolutions) -> list[nn.Sequential]:
    """The two spatio-temporal convolutions of a basic block; the first has the stride."""
    middle = middle_channels(in_channels, out_channels)
    return [
        nn.Sequential(
            family.conv(in_channels, out_channels, middle, stride),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        ),
        nn.Sequential(family.conv(out_channels, out_channels, middle, 1), nn.BatchNorm3d(out_channels)),
    ]


def bottleneck_convs(in_channels: int, out_channels: int, stride: int, family: Convolutions) -> list[nn.Sequential]:
    """The three convolutions of a bottleneck of expansion 1; the spatio-temporal one has the stride."""
    middle = middle_channels(in_channels, out_channels)
    return [
        nn.Sequential(conv1x1x1(in_channels, out_channels), nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)),
        nn.Sequential(
            family.conv(out_channels, out_channels, middle, stride),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        ),
        nn.Sequential(conv1x1x1(out_channels, out_channels), nn.BatchNorm3d(out_channels)),
    ]


Contexts = Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]
"""The contexts of a block's forward pass and of its repetition in the backward pass."""


class ResidualBlock(nn.Module):
    """Two or three convolutions beside a shortcut: (B, in, T, H, W) to (B, out, T/stride, H/stride, W/stride)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int,
        convs: list[nn.Sequential],
        recursion: Recursion | None,
    ) -> None:
        super().__init__()
        self.conv1, self.conv2 = convs[:2]
        self.conv3 = convs[2] if len(convs) > 2 else None
        self.downsample = None
        if stride != 1 or in_channels != out_channels:
            self.downsample = nn.Sequential(conv1x1x1(in_channels, out_channels, stride), nn.BatchNorm3d(out_channels))
        self.contexts: Contexts | None = None  # set where activations are checkpointed
        self.placement = None
        if recursion:
            self.placement = recursion.placement
            channels = in_channels if recursion.placement == "start" else out_channels
            self.sar = SqueezeAndRecursion(channels, recursion.gates)

    def forward(self, x: Tensor) -> Tensor:
        """The block's output, of the shapes above."""
        if self.contexts is None or not torch.is_grad_enabled():
            return self._forward(x)
        return checkpoint(self._forward, x, use_reentrant=False, preserve_rng_state=False, context_fn=self.contexts)

    def _forward(self, x: Tensor) -> Tensor:
        x = self._recurse("start", x)
        out = self._recurse("top", self.conv1(x))
        out = self._recurse("mid", self.conv2(out))
        if self.conv3 is not None:
            out = self.conv3(out)
        out = self._recurse("end", out)
        out += self._recurse("res", x if self.downsample is None else self.downsample(x))
        return self._recurse("final", F.relu(out, inplace=True))

    def _recurse(self, place: str, x: Tensor) -> Tensor:
        """Apply the block's SRTG to x if this is its place."""
        return self.sar(x) if place == self.placement else x


def _stage(
    family: Convolutions,
    convs: BlockConvs,
    in_channels: int,
    out_channels: int,
    blocks: int,
    stride: int,
    recursion: Recursion | None,
) -> nn.Sequential:
    """Blocks of one width, of which the first has the stride and takes `in_channels`."""
    stage = nn.Sequential()
    for index in range(blocks):
        block_in, block_stride = (in_channels, stride) if index == 0 else (out_channels, 1)
        block_convs = convs(block_in, out_channels, block_stride, family)
        stage.append(ResidualBlock(block_in, out_channels, block_stride, block_convs, recursion))
    return stage


class ResNet3d(VideoNetwork):
    """Stem, max-pool, four stages of residual blocks, average over frames and pixels, linear classifier.

    Clips (B, 3, T, H, W) to logits (B, num_classes); a stage after the first halves T, H and W.
    """

    def __init__(self, family: Convolutions, depth: Depth, num_classes: int, recursion: Recursion | None) -> None:
        super().__init__()
        self.stem = family.stem()
        self.max_pool = nn.MaxPool3d(3, stride=2, padding=1)
        first, second, third, fourth = STAGE_CHANNELS
        self.layer1 = _stage(family, depth.convs, first, first, depth.blocks[0], 1, recursion)
        self.layer2 = _stage(family, depth.convs, first, second, depth.blocks[1], 2, recursion)
        self.layer3 = _stage(family, depth.convs, second, third, depth.blocks[2], 2, recursion)
        self.layer4 = _stage(family, depth.convs, third, fourth, depth.blocks[3], 2, recursion)
        self.fc = nn.Linear(fourth, num_classes)
        self._initialise()

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, num_classes) of clips (B, 3, T, H, W) of any length and size."""
        x = self.max_pool(self.stem(clips))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3, 4)))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)


FAMILIES = {
    "r3d": Convolutions(stem3d, conv3d),
    "r2plus1d": Convolutions(stem2plus1d, conv2plus1d),
}
DEPTHS = {
    10: Depth(basic_convs, (1, 1, 1, 1)),
    18: Depth(basic_convs, (2, 2, 2, 2)),
    34: Depth(basic_convs, (3, 4, 6, 3)),
    50: Depth(bottleneck_convs, (3, 4, 6, 3)),
    101: Depth(bottleneck_convs, (3, 4, 23, 3)),
    152: Depth(bottleneck_convs, (3, 8, 36, 3)),
    200: Depth(bottleneck_convs, (3, 24, 36, 3)),
}


def _build_plain(family: Convolutions, depth: Depth, num_classes: int, gates: bool, placement: str) -> ResNet3d:
    """A network without SRTG, to which gates and placement mean nothing."""
    return ResNet3d(family, depth, num_classes, None)


def _build_srtg(family: Convolutions, depth: Depth, num_classes: int, gates: bool, placement: str) -> ResNet3d:
    return ResNet3d(family, depth, num_classes, Recursion(gates, placement))


for _family_name, _family in FAMILIES.items():
    for _number, _depth in DEPTHS.items():
        register(f"{_family_name}_{_number}", partial(_build_plain, _family, _depth))
        register(f"srtg_{_family_name}_{_number}", partial(_build_srtg, _family, _depth))
