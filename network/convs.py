"""The families' convolutions, stems and max-pools: 3D, and (2+1)D (a spatial, then a temporal convolution)."""

from torch import nn

from network.fused import ConvNormReLU, StemConv3d, StemPool


def conv3d(
    in_channels: int, out_channels: int, middle_channels: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A 3x3x3 convolution; `middle_channels` is ignored."""
    return nn.Sequential(nn.Conv3d(in_channels, out_channels, 3, stride, padding=1, groups=groups, bias=False))


def conv2plus1d(
    in_channels: int, out_channels: int, middle_channels: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    """A 1x3x3 convolution to `middle_channels`, then a 3x1x1 one (Tran et al. 2018, arXiv 1711.11248).

    Both have `groups`, so channels of different groups never mix.
    """
    space, time = ((1, 3, 3), (1, stride, stride), (0, 1, 1)), ((3, 1, 1), (stride, 1, 1), (1, 0, 0))
    return ConvNormReLU(
        nn.Conv3d(in_channels, middle_channels, *space, groups=groups, bias=False),
        nn.BatchNorm3d(middle_channels),
        nn.ReLU(inplace=True),
        nn.Conv3d(middle_channels, out_channels, *time, groups=groups, bias=False),
    )


def middle_channels(in_channels: int, out_channels: int) -> int:
    """The middle channels with which a (2+1)D convolution has as many weights as a 3x3x3 one (arXiv 1711.11248)."""
    return in_channels * out_channels * 27 // (in_channels * 9 + out_channels * 3)


def conv1x1x1(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv3d:
    """A convolution that mixes only channels."""
    return nn.Conv3d(in_channels, out_channels, 1, stride, bias=False)


def stem3d(frames: int = 3) -> nn.Sequential:
    """Clips (B, 3, T, H, W) to (B, 64, T, H/2, W/2) by a convolution of `frames` x 7 x 7; `frames` is odd."""
    return ConvNormReLU(
        StemConv3d(64, frames),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
    )


def stem2plus1d() -> nn.Sequential:
    """Clips (B, 3, T, H, W) to (B, 64, T, H/2, W/2) by a 1x7x7 and a 3x1x1 convolution."""
    return ConvNormReLU(
        StemConv3d(45, 1),
        nn.BatchNorm3d(45),
        nn.ReLU(inplace=True),
        nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
        nn.BatchNorm3d(64),
        nn.ReLU(inplace=True),
    )


def halving_pool() -> StemPool:
    """The max-pool after the stem that halves T, H and W."""
    return StemPool(3)


def frame_pool() -> StemPool:
    """The max-pool after the stem that halves H and W and keeps all frames."""
    return StemPool(1)
