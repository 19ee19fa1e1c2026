"""ResNeXt, wide and channel-separated networks, and those of Hara and torchvision: widths, groups and outputs."""

import pytest
import torch
from torch import nn

from network import create_network
from network.convs import conv2plus1d, conv3d
from network.resnet3d import FAMILIES, RESNEXT_32X4D, Recursion, ResidualBlock
from tests.network import plain_formulation as plain

BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
CHANNELS = (64, 128, 256, 512)
STEM_3D, STEM_2PLUS1D = 64 * 3 * 147 + 128, 45 * 3 * 49 + 90 + 64 * 45 * 3 + 128

# name: depth, width of the first stage's bottlenecks, weights of a spatio-temporal convolution of width w (with the
# batch norm inside it), weights of the stem.
EXPANDED = {
    "r3dxt50_32x4d": (50, 128, lambda w: 27 * w * w // 32, STEM_3D),
    "r3dxt101_32x8d": (101, 256, lambda w: 27 * w * w // 32, STEM_3D),
    "r2plus1dxt50_32x4d": (50, 128, lambda w: 27 * w * w // 32 + 2 * (9 * w // 4), STEM_2PLUS1D),
    "r2plus1dxt101_32x8d": (101, 256, lambda w: 27 * w * w // 32 + 2 * (9 * w // 4), STEM_2PLUS1D),
    "wide_r3d50_2": (50, 128, lambda w: 27 * w * w, STEM_3D),
    "wide_r3d101_2": (101, 128, lambda w: 27 * w * w, STEM_3D),
    "wide_r2plus1d50_2": (50, 128, lambda w: 27 * w * w + 2 * (9 * w // 4), STEM_2PLUS1D),
    "wide_r2plus1d101_2": (101, 128, lambda w: 27 * w * w + 2 * (9 * w // 4), STEM_2PLUS1D),
    "resnet3d_50": (50, 64, lambda w: 27 * w * w, 64 * 3 * 343 + 128),
    "resnet3d_101": (101, 64, lambda w: 27 * w * w, 64 * 3 * 343 + 128),
    "resnet3d_152": (152, 64, lambda w: 27 * w * w, 64 * 3 * 343 + 128),
} | {
    f"{kind}_csn_{depth}": (depth, 64, conv, STEM_3D)
    for kind, conv in {"ir": lambda w: 27 * w, "ip": lambda w: w * w + 2 * w + 27 * w}.items()
    for depth in BLOCKS
}  # fmt: skip


def meta(name: str, num_classes: int = 400, **arguments: object) -> nn.Module:
    with torch.device("meta"):
        return create_network(name, num_classes, **arguments)


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", EXPANDED)
def test_parameter_counts(name):
    """A convolution that lost its groups has many times the weights, and is another network."""
    depth, first_width, conv, expected = EXPANDED[name]
    channels = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        width, out = first_width * 2**stage, 4 * CHANNELS[stage]
        for block in range(blocks):
            expected += channels * width + 2 * width + conv(width) + 2 * width + width * out + 2 * out
            expected += channels * out + 2 * out if block == 0 else 0
            channels = out
    assert count(meta(name)) == expected + 2048 * 400 + 400


def test_srtg_takes_the_width_of_its_place():
    """SRTG has 16 w^2 + 16 w weights at width w: at a wrong place it would outweigh the network."""
    recursion = {"final": 2048, "mid": 512, "top": 512, "end": 2048, "res": 2048, "start": 2048}
    plain_count = count(meta("ir_csn_26"))
    for placement, width in recursion.items():
        network = meta("srtg_ir_csn_26", placement=placement)
        assert network.layer4[1].sar.lstm.hidden_size == width
        widths = [block.sar.lstm.hidden_size for name, block in network.named_modules() if hasattr(block, "sar")]
        assert count(network) - plain_count == sum(16 * width * width + 16 * width for width in widths)
    assert meta("srtg_r3dxt50_32x4d", placement="mid").layer4[0].sar.lstm.hidden_size == 1024


@pytest.mark.parametrize("conv", [conv3d, conv2plus1d])
def test_groups_do_not_mix(conv):
    """In the original's ResNeXt networks, all channels mix in each convolution."""
    torch.manual_seed(0)
    layers = conv(8, 8, 16, 1, groups=4).double()
    x = torch.randn(1, 8, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    layers(x)[:, 2:4].square().sum().backward()
    seen = x.grad.abs().sum((0, 2, 3, 4)) > 0
    if conv is conv2plus1d:  # its batch norm does not mix channels either
        assert layers[0].groups == layers[3].groups == 4
    assert seen.tolist() == [False] * 2 + [True] * 2 + [False] * 4


@pytest.mark.parametrize(
    ("name", "groups"),
    [
        ("r3dxt50_32x4d", {32}), ("srtg_r2plus1dxt101_32x8d", {32}), ("wide_r3d50_2", {1}),
        ("ir_csn_26", {64, 128, 256, 512}), ("ip_csn_26", {64, 128, 256, 512}),
    ],
)  # fmt: skip
def test_spatiotemporal_convolutions_are_grouped(name, groups):
    named = meta(name).named_modules()
    convs = [module for path, module in named if isinstance(module, nn.Conv3d) and not path.startswith("stem")]
    assert {conv.groups for conv in convs if 3 in conv.kernel_size} == groups


@pytest.mark.parametrize(
    ("name", "pool"),
    [
        ("r3dxt50_32x4d", "halving"), ("r2plus1dxt50_32x4d", "halving"), ("wide_r3d50_2", "halving"),
        ("ir_csn_26", "frames"), ("ip_csn_26", "frames"), ("srtg_ip_csn_26", "frames"),
        ("resnet3d_10", "halving"), ("resnet3d_50", "halving"), ("srtg_tv_r3d_18", "none"), ("tv_r2plus1d_18", "none"),
    ],
)  # fmt: skip
def test_outputs_are_those_of_the_plain_formulation(name, pool):
    """One network of each family in evaluation mode; in float32, because these networks are large."""
    placement = "mid" if name.startswith("srtg_ip") else "final"
    network = create_network(name, 7, placement=placement) if "srtg" in name else create_network(name, 7)
    weights = {key: tensor.to(torch.float32) for key, tensor in plain.fill(network.state_dict()).items()}
    network.eval().load_state_dict(weights)
    clips = plain.clips(1, 3, 5, 20, 17).float()
    with torch.no_grad():
        logits = network(clips)
        expected = plain.logits(weights, clips, placement=placement, pool=pool)
        # With another pool, to show that the comparison notices the pool.
        other = plain.logits(weights, clips, placement=placement, pool="halving" if pool == "none" else "none")
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    assert not torch.allclose(logits, other, rtol=1e-2)


@pytest.mark.parametrize("placement", ["start", "top", "mid", "end", "res", "final"])
def test_placements_in_an_expanded_bottleneck(placement):
    """The widths of its places differ; SRTG is applied at the place that its placement names."""
    block = ResidualBlock(6, 256, 2, RESNEXT_32X4D(6, 256, 2, FAMILIES["r2plus1d"]), Recursion(True, placement))
    weights = plain.fill(block.double().eval().state_dict())
    block.load_state_dict(weights)
    x = plain.clips(2, 6, 5, 6, 6).relu()
    named = {f"block.{name}": tensor for name, tensor in weights.items()}
    with torch.no_grad():
        torch.testing.assert_close(block(x), plain.residual_block(named, "block", x, 2, True, placement))
