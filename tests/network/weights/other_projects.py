"""The video ResNets of torchvision and of Hara's 3D-ResNets-PyTorch, under their own names.

Written functionally from their state dicts, without code of the package, so that the two can disagree. 5 classes.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.network.plain_formulation import fill

CHANNELS = (64, 128, 256, 512)
Shapes = dict[str, tuple[int, ...]]


def norm(w: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    parts = (w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
    return F.batch_norm(x, *parts, training=False, eps=1e-5)


def norm_shapes(name: str, channels: int) -> Shapes:
    shapes = {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}
    return shapes | {f"{name}.num_batches_tracked": ()}


def torchvision_shapes(kind: str) -> Shapes:
    """`kind` is r3d, r2plus1d or mc3; 18 layers."""
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
    """Networks with shortcut type B."""
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
    """A state dict of these names and shapes; on the meta device without values."""
    if device == "meta":
        return OrderedDict((name, torch.empty(shape, device="meta")) for name, shape in shapes.items())
    empty = {n: torch.tensor(3) if n.endswith("tracked") else torch.empty(shape) for n, shape in shapes.items()}
    return OrderedDict((n, v if n.endswith("tracked") else v.float()) for n, v in fill(empty).items())


HARA = {
    "resnet3d_10": ((1, 1, 1, 1), False), "resnet3d_18": ((2, 2, 2, 2), False), "resnet3d_34": ((3, 4, 6, 3), False),
    "resnet3d_50": ((3, 4, 6, 3), True), "resnet3d_101": ((3, 4, 23, 3), True), "resnet3d_152": ((3, 8, 36, 3), True),
    "resnet3d_200": ((3, 24, 36, 3), True),
}  # fmt: skip
"""By the name of the network here: the blocks of each stage, and whether they are bottlenecks."""
