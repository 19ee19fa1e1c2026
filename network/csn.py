"""Channel-separated networks (Tran et al. 2019, arXiv 1904.02811): depthwise 3x3x3 convolutions in bottlenecks.

Only 1x1x1 convolutions mix channels. The interaction-reduced network (`ir_csn`) has a depthwise convolution where a 3D
ResNet has a full one; the interaction-preserved network (`ip_csn`) has a 1x1x1 convolution before it. The expansion is
4. As in the authors' code (VMZ), the max-pool after the stem keeps all frames, and `ip_csn` has batch norm but no ReLU
between the two convolutions. A new depth is one row in DEPTHS.
"""

from torch import nn

from network.convs import conv1x1x1, conv3d, frame_pool, stem3d
from network.fused import ConvNormReLU
from network.resnet3d import EXPANSION, Convolutions, Depth, expanded_convs, register_resnet


def depthwise(in_channels: int, out_channels: int, middle_channels: int, stride: int, groups: int) -> nn.Sequential:
    """A 3x3x3 convolution of each channel separately; `groups` and `middle_channels` are ignored."""
    return conv3d(in_channels, out_channels, middle_channels, stride, groups=in_channels)


def preserving_depthwise(
    in_channels: int, out_channels: int, middle_channels: int, stride: int, groups: int
) -> nn.Sequential:
    """A 1x1x1 convolution, which mixes channels, then `depthwise`."""
    return ConvNormReLU(
        conv1x1x1(in_channels, out_channels),
        nn.BatchNorm3d(out_channels),
        *depthwise(out_channels, out_channels, middle_channels, stride, groups),
    )


FAMILIES = {
    "ir_csn": Convolutions(stem3d, depthwise, frame_pool),
    "ip_csn": Convolutions(stem3d, preserving_depthwise, frame_pool),
}
DEPTHS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}

for _family_name, _family in FAMILIES.items():
    for _number, _blocks in DEPTHS.items():
        register_resnet(f"{_family_name}_{_number}", _family, Depth(expanded_convs, _blocks, EXPANSION))
