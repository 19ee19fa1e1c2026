"""The channel-separated networks of PyTorchVideo, MMAction2 and VMZ, under their own names.

Each is written functionally from its project's architecture, without code of the package. 5 classes.
"""

import torch.nn.functional as F
from torch import Tensor

from tests.network.weights.other_projects import CHANNELS, Shapes

BLOCKS = {26: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}


class Names:
    """The names of a project's modules; `kind` is ir or ip. A block's prefix is `block`, its parts follow.

    The parts are a, b, c, which have a convolution and a norm; for ip, `mix` is the 1x1x1 one before b.
    """

    def __init__(self, kind: str = "ir") -> None:
        self.kind = kind

    stem = fc = shortcut = ("", "")
    parts: dict[str, tuple[str, str]]

    def block(self, stage: int, index: int) -> str:
        raise NotImplementedError


class PyTorchVideo(Names):
    """pytorchvideo.models.csn.create_csn."""

    stem, fc, shortcut = ("blocks.0.conv", "blocks.0.norm"), ("blocks.5.proj", ""), ("branch1_conv", "branch1_norm")
    parts = {each: (f"branch2.conv_{each}", f"branch2.norm_{each}") for each in "abc"}
    eps = 1e-5

    def block(self, stage: int, index: int) -> str:
        return f"blocks.{stage}.res_blocks.{index}"


class MMAction(Names):
    """mmaction.models.backbones.ResNet3dCSN and I3DHead."""

    stem, fc = ("backbone.conv1.conv", "backbone.conv1.bn"), ("cls_head.fc_cls", "")
    shortcut = ("downsample.conv", "downsample.bn")
    eps = 1e-3

    @property
    def parts(self) -> dict[str, tuple[str, str]]:
        parts = {each: (f"conv{number}.conv", f"conv{number}.bn") for number, each in ((1, "a"), (3, "c"))}
        if self.kind == "ip":
            return parts | {"mix": ("conv2.0.conv", "conv2.0.bn"), "b": ("conv2.1.conv", "conv2.1.bn")}
        return parts | {"b": ("conv2.0.conv", "conv2.0.bn")}

    def block(self, stage: int, index: int) -> str:
        return f"backbone.layer{stage}.{index}"


class VMZ(Names):
    """vmz.models.csn, of torchvision's VideoResNet."""

    stem, fc, shortcut = ("stem.0", "stem.1"), ("fc", ""), ("downsample.0", "downsample.1")
    eps = 1e-3

    @property
    def parts(self) -> dict[str, tuple[str, str]]:
        parts = {"a": ("conv1.0", "conv1.1"), "c": ("conv3.0", "conv3.1")}
        if self.kind == "ip":
            return parts | {"mix": ("conv2.0.0", "conv2.0.1"), "b": ("conv2.0.2", "conv2.1")}
        return parts | {"b": ("conv2.0", "conv2.1")}

    def block(self, stage: int, index: int) -> str:
        return f"layer{stage}.{index}"


def _layer(names: tuple[str, str], shape: tuple[int, ...]) -> Shapes:
    conv, norm = names
    statistics = {f"{norm}.{part}": shape[:1] for part in ("weight", "bias", "running_mean", "running_var")}
    return {f"{conv}.weight": shape} | statistics


def csn_shapes(names: Names, depth: int) -> Shapes:
    """All tensors but batch norm's counters, which these files may lack."""
    shapes, into = _layer(names.stem, (64, 3, 3, 7, 7)), 64
    for stage, (count, width) in enumerate(zip(BLOCKS[depth], CHANNELS, strict=True), start=1):
        for index in range(count):
            convs = {"a": (width, into, 1, 1, 1), "b": (width, 1, 3, 3, 3), "c": (4 * width, width, 1, 1, 1)}
            convs["mix"] = (width, width, 1, 1, 1)
            prefix = names.block(stage, index)
            for part, (conv, norm) in names.parts.items():
                shapes |= _layer((f"{prefix}.{conv}", f"{prefix}.{norm}"), convs[part])
            if index == 0:
                conv, norm = names.shortcut
                shapes |= _layer((f"{prefix}.{conv}", f"{prefix}.{norm}"), (4 * width, into, 1, 1, 1))
            into = 4 * width
    return shapes | {f"{names.fc[0]}.weight": (5, 2048), f"{names.fc[0]}.bias": (5,)}


def csn_logits(names: Names, depth: int, w: dict[str, Tensor], x: Tensor) -> Tensor:
    """What the project's network computes: stride in time and space in the depthwise convolution, pool over pixels."""

    def layer(x: Tensor, conv: str, norm: str, **arguments: object) -> Tensor:
        x = F.conv3d(x, w[f"{conv}.weight"], None, **arguments)
        statistics = (w[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *statistics, training=False, eps=names.eps)

    x = layer(x, *names.stem, stride=(1, 2, 2), padding=(1, 3, 3)).relu()
    x = F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))
    for stage, count in enumerate(BLOCKS[depth], start=1):
        for index in range(count):
            prefix, stride = names.block(stage, index), 2 if stage > 1 and index == 0 else 1
            own = {part: (f"{prefix}.{conv}", f"{prefix}.{norm}") for part, (conv, norm) in names.parts.items()}
            out = layer(x, *own["a"]).relu()
            if names.kind == "ip":
                out = layer(out, *own["mix"])
            out = layer(out, *own["b"], stride=stride, padding=1, groups=out.shape[1]).relu()
            out = layer(out, *own["c"])
            if index == 0:
                x = layer(x, *(f"{prefix}.{name}" for name in names.shortcut), stride=stride)
            x = (out + x).relu()
    return F.linear(x.mean((2, 3, 4)), w[f"{names.fc[0]}.weight"], w[f"{names.fc[0]}.bias"])
