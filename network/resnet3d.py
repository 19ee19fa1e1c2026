"""3D and (2+1)D residual networks, with and without SRTG, and the tables of their names.

A new variant is one row in DEPTHS, EXPANDED_DEPTHS or a table of families below; its SRTG twin is registered with it.
Parameter names and shapes of r3d and r2plus1d are those of the checkpoints published with the paper. The families:

    r3d, r2plus1d           of the paper; bottlenecks of expansion 1
    r3dxt, r2plus1dxt       ResNeXt (Xie et al. 2017, arXiv 1611.05431): grouped convolutions, expansion 4
    wide_r3d, wide_r2plus1d wide ResNets (Zagoruyko & Komodakis 2016, arXiv 1605.07146): twice the width, expansion 4
    resnet3d                of Hara et al. 2018 (arXiv 1711.09577), shortcut type B: 7x7x7 stem, expansion 4
    tv_r3d, tv_r2plus1d     of torchvision (Tran et al. 2018, arXiv 1711.11248): no max-pool after the stem; in
                            tv_r2plus1d_34, of IG65M, middle channels follow from each convolution's own widths
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from network.base import VideoNetwork, check_clips
from network.convs import (
    conv1x1x1,
    conv2plus1d,
    conv3d,
    halving_pool,
    middle_channels,
    stem2plus1d,
    stem3d,
)
from network.fused import ConvNormReLU, added, norm_add_relu, pooled_stem
from network.registry import register
from network.srtg import SqueezeAndRecursion, without_autocast

STAGE_CHANNELS = (64, 128, 256, 512)
EXPANSION = 4
"""Of all bottlenecks except those of the paper, which have 1."""


class Convolutions(NamedTuple):
    """The builders of a family: of its stem, of the spatio-temporal convolutions of its blocks, of its max-pool."""

    stem: Callable[[], nn.Sequential]
    conv: Callable[[int, int, int, int, int], nn.Sequential]  # in, out and middle channels, stride, groups
    max_pool: Callable[[], nn.Module] = halving_pool


BlockConvs = Callable[[int, int, int, Convolutions], list[nn.Sequential]]
"""(in_channels, out_channels, stride, family) to the convolutions of a residual block."""

CheckpointContexts = Callable[[], tuple[AbstractContextManager[None], AbstractContextManager[None]]]
"""The `context_fn` of torch.utils.checkpoint: contexts of a block's forward pass and of its recomputation."""


class Depth(NamedTuple):
    """A row of a table: the convolutions of a block, the number of blocks of each stage, and the expansion.

    A stage's output channels are the expansion times 64, 128, 256 and 512.
    """

    convs: BlockConvs
    blocks: tuple[int, int, int, int]
    expansion: int = 1


class Recursion(NamedTuple):
    """How the blocks of a network apply SRTG: with or without temporal gates, and at which of PLACEMENTS."""

    gates: bool
    placement: str


def basic_convs(in_channels: int, out_channels: int, stride: int, family: Convolutions) -> list[nn.Sequential]:
    """The two convolutions of a basic block, both spatio-temporal; the first has the stride."""
    middle = middle_channels(in_channels, out_channels)
    return [
        ConvNormReLU(
            family.conv(in_channels, out_channels, middle, stride, 1),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        ),
        ConvNormReLU(family.conv(out_channels, out_channels, middle, 1, 1), nn.BatchNorm3d(out_channels)),
    ]


def own_middle_convs(in_channels: int, out_channels: int, stride: int, family: Convolutions) -> list[nn.Sequential]:
    """As `basic_convs`, but the second convolution's middle channels follow from its own widths, as in Caffe2."""
    first, _ = basic_convs(in_channels, out_channels, stride, family)
    _, second = basic_convs(out_channels, out_channels, 1, family)
    return [first, second]


def bottleneck_convs(in_channels: int, out_channels: int, stride: int, family: Convolutions) -> list[nn.Sequential]:
    """The three convolutions of a bottleneck of expansion 1; the spatio-temporal one has the stride."""
    middle = middle_channels(in_channels, out_channels)
    return [
        ConvNormReLU(conv1x1x1(in_channels, out_channels), nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True)),
        ConvNormReLU(
            family.conv(out_channels, out_channels, middle, stride, 1),
            nn.BatchNorm3d(out_channels),
            nn.ReLU(inplace=True),
        ),
        ConvNormReLU(conv1x1x1(out_channels, out_channels), nn.BatchNorm3d(out_channels)),
    ]


def expanded_convs(
    in_channels: int, out_channels: int, stride: int, family: Convolutions, groups: int = 1, base_width: int = 64
) -> list[nn.Sequential]:
    """The three convolutions of a bottleneck of expansion 4; the spatio-temporal one has the stride and the groups.

    Its width is out_channels / 4 * base_width / 64 * groups, torchvision's convention for 2D ResNeXt and wide ResNets.
    In (2+1)D, the number of middle channels follows from this width; bottlenecks of expansion 1 take it from the
    block's in and out channels, as the published networks do.
    """
    width = out_channels // EXPANSION * base_width // 64 * groups
    return [
        ConvNormReLU(conv1x1x1(in_channels, width), nn.BatchNorm3d(width), nn.ReLU(inplace=True)),
        ConvNormReLU(
            family.conv(width, width, middle_channels(width, width), stride, groups),
            nn.BatchNorm3d(width),
            nn.ReLU(inplace=True),
        ),
        ConvNormReLU(conv1x1x1(width, out_channels), nn.BatchNorm3d(out_channels)),
    ]


class ResidualBlock(nn.Module):
    """Two or three convolutions and a shortcut: (B, in, T, H, W) to (B, out, T/stride, H/stride, W/stride)."""

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
        self.checkpoint_contexts: CheckpointContexts | None = None  # set by activation_checkpointing.py
        self.drop_path = 0.0  # the probability that a clip's branch is dropped in training; set by regularisation.py
        self.placement = None
        if recursion:
            self.placement = recursion.placement
            widths = {"start": in_channels, "top": _width(self.conv1), "mid": _width(self.conv2)}
            self.sar = SqueezeAndRecursion(widths.get(recursion.placement, out_channels), recursion.gates)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in, T, H, W) to (B, out, T/stride, H/stride, W/stride)."""
        kept = self._draw_kept(x)  # not in what is checkpointed, whose recomputation must not draw again
        contexts = self.checkpoint_contexts
        if contexts is None or not torch.is_grad_enabled():
            return self._forward(x, kept)
        return checkpoint(self._forward, x, kept, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)

    def _draw_kept(self, x: Tensor) -> Tensor | None:
        """1 for each clip of x whose branch is kept, else 0: (B, 1, 1, 1, 1); None if nothing is dropped."""
        if not self.training or not self.drop_path:
            return None
        return torch.empty((len(x), 1, 1, 1, 1), device=x.device).bernoulli_(1 - self.drop_path)

    def _forward(self, x: Tensor, kept: Tensor | None) -> Tensor:
        x = self._recurse("start", x)
        out = self._recurse("top", self.conv1(x))
        if self.conv3 is None:
            return self._finish(self.conv2, out, x, ("mid", "end"), kept)
        out = self._recurse("mid", self.conv2(out))
        return self._finish(self.conv3, out, x, ("end",), kept)

    def _finish(
        self, conv: nn.Sequential, out: Tensor, x: Tensor, places: tuple[str, ...], kept: Tensor | None
    ) -> Tensor:
        """The last convolution, with the SRTG of one of `places` before the addition of the shortcut of x."""
        factor = 1 / (1 - self.drop_path)  # of a kept branch, so that the mean over the draws is the sum
        if self.placement in places:
            return F.relu(added(self.sar(conv(out)), self._shortcut(x), kept, factor), inplace=True)
        return self._recurse("final", norm_add_relu(conv[1], conv[0](out), self._shortcut(x), kept, factor))

    def _shortcut(self, x: Tensor) -> Tensor:
        return self._recurse("res", x if self.downsample is None else self.downsample(x))

    def _recurse(self, place: str, x: Tensor) -> Tensor:
        """Apply the block's SRTG to x if `place` is its placement."""
        return self.sar(x) if place == self.placement else x


def _width(conv: nn.Sequential) -> int:
    """The output channels of one of a block's convolutions, read off its batch norm."""
    norm = conv[1]
    assert isinstance(norm, nn.BatchNorm3d)
    return norm.num_features


def _stage(
    family: Convolutions,
    convs: BlockConvs,
    in_channels: int,
    out_channels: int,
    blocks: int,
    stride: int,
    recursion: Recursion | None,
) -> nn.Sequential:
    """Blocks of one width; the first has the stride and takes `in_channels`."""
    stage = nn.Sequential()
    for index in range(blocks):
        block_in, block_stride = (in_channels, stride) if index == 0 else (out_channels, 1)
        block_convs = convs(block_in, out_channels, block_stride, family)
        stage.append(ResidualBlock(block_in, out_channels, block_stride, block_convs, recursion))
    return stage


class ResNet3d(VideoNetwork):
    """Stem, max-pool, four stages of residual blocks, average over frames and pixels, linear classifier.

    Clips (B, 3, T, H, W) to logits (B, num_classes); each stage after the first halves T, H and W.
    """

    def __init__(self, family: Convolutions, depth: Depth, num_classes: int, recursion: Recursion | None) -> None:
        super().__init__()
        self.stem = family.stem()
        self.max_pool = family.max_pool()
        first, second, third, fourth = (depth.expansion * channels for channels in STAGE_CHANNELS)
        self.layer1 = _stage(family, depth.convs, STAGE_CHANNELS[0], first, depth.blocks[0], 1, recursion)
        self.layer2 = _stage(family, depth.convs, first, second, depth.blocks[1], 2, recursion)
        self.layer3 = _stage(family, depth.convs, second, third, depth.blocks[2], 2, recursion)
        self.layer4 = _stage(family, depth.convs, third, fourth, depth.blocks[3], 2, recursion)
        self.fc = nn.Linear(fourth, num_classes)
        self._initialise()

    def forward(self, clips: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) of any length and size to logits (B, num_classes), of the precision of the weights."""
        check_clips(clips)
        x = pooled_stem(self.stem, self.max_pool, clips)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        # Logits are float32 also under autocast: in half precision, those of different classes can become equal.
        with without_autocast(x.device.type):
            return self.fc(x.mean((2, 3, 4), dtype=self.fc.weight.dtype))

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)


R3D = Convolutions(stem3d, conv3d)
R2PLUS1D = Convolutions(stem2plus1d, conv2plus1d)
FAMILIES = {"r3d": R3D, "r2plus1d": R2PLUS1D}
DEPTHS = {
    10: Depth(basic_convs, (1, 1, 1, 1)),
    18: Depth(basic_convs, (2, 2, 2, 2)),
    34: Depth(basic_convs, (3, 4, 6, 3)),
    50: Depth(bottleneck_convs, (3, 4, 6, 3)),
    101: Depth(bottleneck_convs, (3, 4, 23, 3)),
    152: Depth(bottleneck_convs, (3, 8, 36, 3)),
    200: Depth(bottleneck_convs, (3, 24, 36, 3)),
}
# In the original's networks of these names the convolutions are not grouped; here they are.
RESNEXT_32X4D = partial(expanded_convs, groups=32, base_width=4)
RESNEXT_32X8D = partial(expanded_convs, groups=32, base_width=8)
WIDE = partial(expanded_convs, base_width=128)
EXPANDED_DEPTHS = {
    "{family}xt50_32x4d": Depth(RESNEXT_32X4D, DEPTHS[50].blocks, EXPANSION),
    "{family}xt101_32x8d": Depth(RESNEXT_32X8D, DEPTHS[101].blocks, EXPANSION),
    "wide_{family}50_2": Depth(WIDE, DEPTHS[50].blocks, EXPANSION),
    "wide_{family}101_2": Depth(WIDE, DEPTHS[101].blocks, EXPANSION),
}
HARA = Convolutions(partial(stem3d, 7), conv3d)
HARA_DEPTHS = {
    number: depth if depth.convs is basic_convs else Depth(expanded_convs, depth.blocks, EXPANSION)
    for number, depth in DEPTHS.items()
}
TORCHVISION = {
    "tv_r3d": Convolutions(stem3d, conv3d, nn.Identity),
    "tv_r2plus1d": Convolutions(stem2plus1d, conv2plus1d, nn.Identity),
}


def _build_plain(family: Convolutions, depth: Depth, num_classes: int, gates: bool, placement: str) -> ResNet3d:
    """A network without SRTG; gates and placement have no effect."""
    return ResNet3d(family, depth, num_classes, None)


def _build_srtg(family: Convolutions, depth: Depth, num_classes: int, gates: bool, placement: str) -> ResNet3d:
    return ResNet3d(family, depth, num_classes, Recursion(gates, placement))


def register_resnet(name: str, family: Convolutions, depth: Depth) -> None:
    """Register `name`, and `srtg_<name>` with SRTG in every block; NetworkError if a name is taken."""
    register(name, partial(_build_plain, family, depth))
    register(f"srtg_{name}", partial(_build_srtg, family, depth))


for _family_name, _family in FAMILIES.items():
    for _number, _depth in DEPTHS.items():
        register_resnet(f"{_family_name}_{_number}", _family, _depth)
    for _name, _depth in EXPANDED_DEPTHS.items():
        register_resnet(_name.format(family=_family_name), _family, _depth)
for _number, _depth in HARA_DEPTHS.items():
    register_resnet(f"resnet3d_{_number}", HARA, _depth)
for _family_name, _family in TORCHVISION.items():
    register_resnet(f"{_family_name}_18", _family, DEPTHS[18])
register_resnet("tv_r2plus1d_34", TORCHVISION["tv_r2plus1d"], Depth(own_middle_convs, DEPTHS[34].blocks))
