"""Weights of torchvision and of Hara's 3D-ResNets-PyTorch: the same outputs under this project's names, or a reason.

Both architectures are written here once more, functionally and under their own names, with no code of the package.
"""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import NetworkError
from network import VideoNetwork, create_network, load_checkpoint, load_weights, recognise
from tests.network.plain_formulation import clips, fill

CHANNELS = (64, 128, 256, 512)
Shapes = dict[str, tuple[int, ...]]


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, training=False, eps=1e-5)


def norm_shapes(name: str, channels: int) -> Shapes:
    shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def torchvision_shapes(kind: str) -> Shapes:
    """`kind` is r3d, r2plus1d or mc3; 18 layers, 5 classes."""
    if kind == "r2plus1d":
        shapes = {"stem.0.weight": (45, 3, 1, 7, 7), **norm_shapes("stem.1", 45)}
        shapes |= {"stem.3.weight": (64, 45, 3, 1, 1), **norm_shapes("stem.4", 64)}
    else:
        shapes = {"stem.0.weight": (64, 3, 3, 7, 7), **norm_shapes("stem.1", 64)}
    into = 64
    for stage, out in enumerate(CHANNELS, start=1):
        for block in range(2):
            name, middle = f"layer{stage}.{block}", into * out * 27 // (into * 9 + out * 3)
            for conv, channels in (("conv1", into), ("conv2", out)):
                if kind == "r2plus1d":
                    shapes[f"{name}.{conv}.0.0.weight"] = (middle, channels, 1, 3, 3)
                    shapes |= norm_shapes(f"{name}.{conv}.0.1", middle)
                    shapes[f"{name}.{conv}.0.3.weight"] = (out, middle, 3, 1, 1)
                else:
                    shapes[f"{name}.{conv}.0.weight"] = (out, channels, 1 if kind == "mc3" and stage > 1 else 3, 3, 3)
                shapes |= norm_shapes(f"{name}.{conv}.1", out)
            if into != out:
                shapes |= {
                    f"{name}.downsample.0.weight": (out, into, 1, 1, 1),
                    **norm_shapes(f"{name}.downsample.1", out),
                }
            into = out
    return shapes | {"fc.weight": (5, 512), "fc.bias": (5,)}


def torchvision_logits(w: dict[str, Tensor], x: Tensor) -> Tensor:
    is_3d = "stem.3.weight" not in w
    x = norm(w, "stem.1", F.conv3d(x, w["stem.0.weight"], None, (1, 2, 2), (1 if is_3d else 0, 3, 3))).relu()
    x = x if is_3d else norm(w, "stem.4", F.conv3d(x, w["stem.3.weight"], None, 1, (1, 0, 0))).relu()

    def conv(name: str, x: Tensor, stride: int) -> Tensor:
        if is_3d:
            return F.conv3d(x, w[f"{name}.0.weight"], None, stride, 1)
        x = F.conv3d(x, w[f"{name}.0.0.weight"], None, (1, stride, stride), (0, 1, 1))
        return F.conv3d(norm(w, f"{name}.0.1", x).relu(), w[f"{name}.0.3.weight"], None, (stride, 1, 1), (1, 0, 0))

    for stage in range(1, 5):
        for block in range(2):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            out = norm(w, f"{name}.conv1.1", conv(f"{name}.conv1", x, stride)).relu()
            out = norm(w, f"{name}.conv2.1", conv(f"{name}.conv2", out, 1))
            if stride == 2:
                x = norm(w, f"{name}.downsample.1", F.conv3d(x, w[f"{name}.downsample.0.weight"], None, stride))
            x = (out + x).relu()
    return F.linear(F.adaptive_avg_pool3d(x, 1).flatten(1), w["fc.weight"], w["fc.bias"])


def hara_shapes(blocks: tuple[int, ...], bottleneck: bool) -> Shapes:
    """Shortcut type B, 5 classes."""
    shapes = {"conv1.weight": (64, 3, 7, 7, 7), **norm_shapes("bn1", 64)}
    into = 64
    for stage, (count, width) in enumerate(zip(blocks, CHANNELS, strict=True), start=1):
        out = 4 * width if bottleneck else width
        for block in range(count):
            name = f"layer{stage}.{block}"
            convs = [(width, into, 3), (width, width, 3)]
            if bottleneck:
                convs = [(width, into, 1), (width, width, 3), (out, width, 1)]
            for number, (to, channels, size) in enumerate(convs, start=1):
                shapes[f"{name}.conv{number}.weight"] = (to, channels, size, size, size)
                shapes |= norm_shapes(f"{name}.bn{number}", to)
            if into != out or (stage > 1 and block == 0):
                shapes |= {
                    f"{name}.downsample.0.weight": (out, into, 1, 1, 1),
                    **norm_shapes(f"{name}.downsample.1", out),
                }
            into = out
    return shapes | {"fc.weight": (5, into), "fc.bias": (5,)}


def hara_logits(w: dict[str, Tensor], x: Tensor) -> Tensor:
    x = norm(w, "bn1", F.conv3d(x, w["conv1.weight"], None, (1, 2, 2), 3)).relu()
    x = F.max_pool3d(x, 3, 2, 1)
    bottleneck = "layer1.0.conv3.weight" in w
    for stage in range(1, 5):
        block = 0
        while f"layer{stage}.{block}.conv1.weight" in w:
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            if bottleneck:
                out = norm(w, f"{name}.bn1", F.conv3d(x, w[f"{name}.conv1.weight"])).relu()
                out = norm(w, f"{name}.bn2", F.conv3d(out, w[f"{name}.conv2.weight"], None, stride, 1)).relu()
                out = norm(w, f"{name}.bn3", F.conv3d(out, w[f"{name}.conv3.weight"]))
            else:
                out = norm(w, f"{name}.bn1", F.conv3d(x, w[f"{name}.conv1.weight"], None, stride, 1)).relu()
                out = norm(w, f"{name}.bn2", F.conv3d(out, w[f"{name}.conv2.weight"], None, 1, 1))
            if f"{name}.downsample.0.weight" in w:
                x = norm(w, f"{name}.downsample.1", F.conv3d(x, w[f"{name}.downsample.0.weight"], None, stride))
            x = (out + x).relu()
            block += 1
    return F.linear(x.mean((2, 3, 4)), w["fc.weight"], w["fc.bias"])


def weights_of(shapes: Shapes, device: str = "cpu") -> OrderedDict:
    """A state dict of these names and shapes; on meta without values."""
    if device == "meta":
        return OrderedDict((name, torch.empty(shape, device="meta")) for name, shape in shapes.items())
    empty = {n: torch.tensor(3) if n.endswith("tracked") else torch.empty(shape) for n, shape in shapes.items()}
    return OrderedDict((n, v if n.endswith("tracked") else v.float()) for n, v in fill(empty).items())


def loaded(name: str, checkpoint: dict) -> VideoNetwork:
    network = create_network(name, 5).eval()
    report, _ = load_checkpoint(network, checkpoint)
    assert report.complete, report.rows()
    return network


def assert_same(logits: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


HARA = {
    "resnet3d_10": ((1, 1, 1, 1), False), "resnet3d_18": ((2, 2, 2, 2), False), "resnet3d_34": ((3, 4, 6, 3), False),
    "resnet3d_50": ((3, 4, 6, 3), True), "resnet3d_101": ((3, 4, 23, 3), True), "resnet3d_152": ((3, 8, 36, 3), True),
    "resnet3d_200": ((3, 24, 36, 3), True),
}  # fmt: skip


@pytest.mark.parametrize("kind", ["r3d", "r2plus1d"])
def test_torchvision_weights_give_torchvision_outputs(kind):
    """Every tensor is used, and the answers are those the file was trained for."""
    weights = weights_of(torchvision_shapes(kind))
    x = clips(2, 3, 5, 26, 19).float()
    network = loaded(f"tv_{kind}_18", weights)
    with torch.no_grad():
        assert_same(network(x), torchvision_logits(weights, x))


@pytest.mark.parametrize("name", ["resnet3d_18", "resnet3d_50"])
def test_hara_weights_give_hara_outputs(name):
    weights = weights_of(hara_shapes(*HARA[name]))
    checkpoint = {
        "epoch": 200,
        "arch": "resnet",
        "state_dict": {f"module.{key}": value for key, value in weights.items()},
    }
    x = clips(2, 3, 5, 26, 19).float()
    with torch.no_grad():
        assert_same(loaded(name, checkpoint)(x), hara_logits(weights, x))


@pytest.mark.parametrize("name", HARA)
def test_each_depth_of_hara_is_recognised(name):
    weights = weights_of(hara_shapes(*HARA[name]), "meta")
    published = recognise({"state_dict": weights})
    assert published.network == name
    with torch.device("meta"):
        assert load_weights(create_network(name, 5), published.state_dict).complete


def test_files_from_before_batches_were_counted_load_whole():
    """PyTorch 0.3 had no counters; evaluation of such a file must not be refused for them."""
    weights = weights_of(hara_shapes(*HARA["resnet3d_10"]))
    loaded("resnet3d_10", {name: value for name, value in weights.items() if not name.endswith("tracked")})


def test_srtg_can_be_added_to_foreign_weights():
    network = create_network("srtg_resnet3d_10", 7)
    report, origin = load_checkpoint(network, weights_of(hara_shapes(*HARA["resnet3d_10"])))
    assert "Hara" in origin
    assert all(".sar.lstm." in name for name in report.missing)
    assert [skipped.name for skipped in report.skipped] == ["fc.weight", "fc.bias"]
    assert not report.unexpected


@pytest.mark.parametrize(
    ("shapes", "name", "fits"),
    [
        (torchvision_shapes("r3d"), "srtg_r3d_18", "tv_r3d_18"),
        (torchvision_shapes("r3d"), "tv_r2plus1d_18", "tv_r3d_18"),
        (hara_shapes(*HARA["resnet3d_18"]), "r3d_18", "resnet3d_18"),
        (hara_shapes(*HARA["resnet3d_50"]), "resnet3d_101", "resnet3d_50"),
    ],
)
def test_a_network_that_computes_something_else_is_refused(shapes, name, fits):
    """The tensors would go in, in part or whole, and the answers would be wrong in silence."""
    with torch.device("meta"):
        network = create_network(name, 5)
    with pytest.raises(NetworkError, match=rf"{name} does not compute: take --network {fits}, or srtg_{fits}"):
        load_checkpoint(network, weights_of(shapes, "meta"))


def test_torchvision_r2plus1d_is_told_by_its_modules():
    """Its tensors are those of the paper's r2plus1d_18 to the last name; its max-pool is not."""
    weights = weights_of(torchvision_shapes("r2plus1d"), "meta")
    with torch.device("meta"):
        ours, theirs = create_network("r2plus1d_18", 5), create_network("tv_r2plus1d_18", 5)
        assert {n: v.shape for n, v in weights.items()} == {n: v.shape for n, v in ours.state_dict().items()}
        assert "if it is that, --network must be tv_r2plus1d_18" in load_checkpoint(ours, weights)[1]
        weights._metadata = OrderedDict({"": {"version": 1}, "stem": {}, "layer1.0.relu": {}})
        with pytest.raises(NetworkError, match="take --network tv_r2plus1d_18"):
            load_checkpoint(ours, weights)
        assert load_checkpoint(theirs, weights)[1] == "torchvision's r2plus1d_18"


def test_weights_of_another_pool_are_refused():
    """From this project's networks and from the paper's into torchvision's and back, the shapes agree throughout."""
    with torch.device("meta"):
        paper, torchvision = create_network("r2plus1d_18", 5), create_network("tv_r2plus1d_18", 5)
        weights = paper.state_dict()
        for checkpoint in (
            {"state_dict": weights},
            {"network": {"name": "srtg_r2plus1d_18"}, "weights": weights, "classes": list("abcde")},
        ):
            with pytest.raises(NetworkError, match="another max-pool after the stem than tv_r2plus1d_18"):
                load_checkpoint(torchvision, checkpoint)
            load_checkpoint(paper, checkpoint)
        with pytest.raises(NetworkError, match="tv_r2plus1d_18, have another max-pool"):
            load_checkpoint(paper, {"network": {"name": "tv_r2plus1d_18"}, "weights": weights})


def changed(name: str, **changes: tuple[int, ...] | None) -> OrderedDict:
    shapes = hara_shapes(*HARA[name]) | {key.replace("__", "."): shape for key, shape in changes.items()}
    return weights_of({key: shape for key, shape in shapes.items() if shape is not None}, "meta")


SHORTCUT_A = {name: shape for name, shape in hara_shapes(*HARA["resnet3d_18"]).items() if "downsample" not in name}


@pytest.mark.parametrize(
    ("weights", "reason"),
    [
        (weights_of(torchvision_shapes("mc3"), "meta"), "mc3_18, whose later stages neither convolve nor halve time"),
        (weights_of(SHORTCUT_A, "meta"), "shortcut type A, which pads channels"),
        (changed("resnet3d_18", conv1__weight=(64, 3, 3, 7, 7)), "64x3x3x7x7, not 64x3x7x7x7"),
        (changed("resnet3d_18", conv1__weight=(64, 1, 7, 7, 7)), "64x1x7x7x7, not 64x3x7x7x7"),
        (changed("resnet3d_18", layer2__0__bn1__weight=(64,)), r"architecture: layer2\.0\.conv1\.1\.weight differs"),
        (changed("resnet3d_50", layer1__0__conv2__weight=(128, 4, 3, 3, 3)), "pre-activation, ResNeXt and wide"),
        (weights_of(hara_shapes((2, 2, 2, 3), False), "meta"), "there is no network of that depth"),
        ({"conv1_s.weight": torch.ones(1), "fc.bias": torch.ones(1)}, r"Hara's R\(2\+1\)D"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_refused_with_a_reason(weights, reason):
    with pytest.raises(NetworkError, match=reason):
        recognise(weights)
