"""A 2D network's weights in a 3D one: what it knew of pictures must be there, and every tensor accounted for."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS
from network import VideoNetwork, create_network
from network.weights.inflating import load_inflated
from tests.network.weights.other_projects import CHANNELS, Shapes, norm_shapes, weights_of


def flat_shapes(blocks: tuple[int, ...], bottleneck: bool, width: int = 64, groups: int = 1) -> Shapes:
    """torchvision's ResNet; `width` is its width_per_group."""
    shapes, into = {"conv1.weight": (64, 3, 7, 7), **norm_shapes("bn1", 64)}, 64
    for stage, (count, planes) in enumerate(zip(blocks, CHANNELS, strict=True), start=1):
        out = 4 * planes if bottleneck else planes
        for block in range(count):
            name, middle = f"layer{stage}.{block}", planes * width // 64 * groups
            convs = [(planes, into, 3, 1), (planes, planes, 3, 1)]
            if bottleneck:
                convs = [(middle, into, 1, 1), (middle, middle, 3, groups), (out, middle, 1, 1)]
            for number, (to, channels, size, parts) in enumerate(convs, start=1):
                shapes[f"{name}.conv{number}.weight"] = (to, channels // parts, size, size)
                shapes |= norm_shapes(f"{name}.bn{number}", to)
            if into != out or (stage > 1 and block == 0):
                shapes |= {f"{name}.downsample.0.weight": (out, into, 1, 1), **norm_shapes(f"{name}.downsample.1", out)}
            into = out
    return shapes | {"fc.weight": (1000, into), "fc.bias": (1000,)}


def flat_features(w: dict[str, Tensor], x: Tensor) -> Tensor:
    """What torchvision's ResNet of basic blocks gives its classifier for frames (B, 3, h, w)."""

    def norm(name: str, x: Tensor) -> Tensor:
        parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts, training=False)

    x = F.max_pool2d(norm("bn1", F.conv2d(x, w["conv1.weight"], None, 2, 3)).relu(), 3, 2, 1)
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in w:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = norm(f"{name}.bn1", F.conv2d(x, w[f"{name}.conv1.weight"], None, stride, 1)).relu()
            out = norm(f"{name}.bn2", F.conv2d(out, w[f"{name}.conv2.weight"], None, 1, 1))
            if stride == 2:
                x = norm(f"{name}.downsample.1", F.conv2d(x, w[f"{name}.downsample.0.weight"], None, 2))
            x, block = (out + x).relu(), block + 1
    return x.mean((2, 3))


def without_borders_in_time(network: VideoNetwork) -> None:
    """Let convolutions see the first and last frame repeated beyond the clip, in place of zeros."""

    def repeat(module: nn.Conv3d, inputs: tuple[Tensor]) -> Tensor:
        frames = module.kernel_size[0] // 2
        return F.pad(inputs[0], (0, 0, 0, 0, frames, frames), mode="replicate") if frames else inputs[0]

    for module in network.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_pre_hook(repeat)
            module.padding = (0, *module.padding[1:])


def features(network: VideoNetwork, clips: Tensor) -> Tensor:
    found = []
    network.fc.register_forward_pre_hook(lambda _, inputs: found.append(inputs[0]))
    with torch.no_grad():
        network.eval()(clips)
    return found[0]


@pytest.mark.parametrize("name", ["resnet3d_10", "r3d_10"])
def test_a_still_clip_has_the_features_of_its_picture(name):
    """Beyond the clip a convolution sees zeros, which no picture has: without these the answers are the same."""
    weights = weights_of(flat_shapes((1, 1, 1, 1), bottleneck=False))
    network = create_network(name, 5)
    report, origin = load_inflated(network, weights)
    assert {row[0] for row in report.rows()} == {"loaded", "skipped"}
    assert [skipped.name for skipped in report.skipped] == ["fc.weight", "fc.bias"]
    assert network.normalisation == NORMALISATIONS["imagenet"] and "imagenet" in origin
    picture = torch.randn(2, 3, 37, 41)
    still = picture[:, :, None].repeat(1, 1, 5, 1, 1)
    expected = flat_features(weights, picture)
    bordered = features(network, still)
    assert not torch.allclose(bordered, expected, rtol=1e-2)
    without_borders_in_time(network)
    torch.testing.assert_close(features(network, still), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_frames_that_no_border_reaches_are_exact():
    """The stem of a real network, as it is: only the first and last frames see zeros."""
    weights = weights_of(flat_shapes((1, 1, 1, 1), bottleneck=False))
    network = create_network("r3d_10", 5).eval()
    load_inflated(network, weights)
    picture = torch.randn(1, 3, 24, 24)
    with torch.no_grad():
        found = network.stem[0](picture[:, :, None].repeat(1, 1, 5, 1, 1))
    expected = F.conv2d(picture, weights["conv1.weight"], None, 2, 3)
    torch.testing.assert_close(found[:, :, 1:-1], expected[:, :, None].expand(-1, -1, 3, -1, -1), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[:, :, 0], expected * 2 / 3, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet3d_18", flat_shapes((2, 2, 2, 2), False)), ("srtg_r3d_34", flat_shapes((3, 4, 6, 3), False)),
        ("resnet3d_50", flat_shapes((3, 4, 6, 3), True)), ("srtg_resnet3d_101", flat_shapes((3, 4, 23, 3), True)),
        ("wide_r3d50_2", flat_shapes((3, 4, 6, 3), True, 128)),
        ("r3dxt50_32x4d", flat_shapes((3, 4, 6, 3), True, 4, 32)),
        ("r3dxt101_32x8d", flat_shapes((3, 4, 23, 3), True, 8, 32)),
    ],
)  # fmt: skip
def test_published_2d_networks_fit(name, shapes):
    """Every tensor finds its place; SRTG and the classifier stay new."""
    with torch.device("meta"):
        network = create_network(name, 5)
        report, _ = load_inflated(network, weights_of(shapes, "meta"))
    assert not report.unexpected
    assert [skipped.name for skipped in report.skipped] == ["fc.weight", "fc.bias"]
    assert all(".sar." in missing for missing in report.missing)


@pytest.mark.parametrize(
    ("name", "shapes", "reason"),
    [
        ("r3d_50", flat_shapes((3, 4, 6, 3), True), "does not fit r3d_50.*resnet3d_N"),
        ("resnet3d_34", flat_shapes((2, 2, 2, 2), False), "does not fit resnet3d_34"),
        ("resnet3d_18", flat_shapes((3, 4, 6, 3), False), "does not fit resnet3d_18"),
        ("r2plus1d_18", flat_shapes((2, 2, 2, 2), False), "does not fit r2plus1d_18"),
        ("tv_r3d_18", flat_shapes((2, 2, 2, 2), False), "no max-pool"),
        ("r3d_10", {"stem.0.weight": (64, 3, 3, 7, 7)}, r"64x3x7x7.*stem\.0\.weight"),
    ],
)
def test_a_2d_network_that_does_not_fit_is_refused(name, shapes, reason):
    """Half of its weights in a network of another shape would be worth nothing."""
    with torch.device("meta"), pytest.raises(NetworkError, match=reason):
        load_inflated(create_network(name, 5), weights_of(shapes, "meta"))
