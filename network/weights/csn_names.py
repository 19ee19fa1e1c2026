"""Channel-separated networks of other projects: PyTorchVideo's, MMAction2's and VMZ's, under this project's names."""

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS, Normalisation, of_levels
from network.base import EPS
from network.weights.published import VMZ_EPS, PublishedWeights, blocks_of, checked, renamed

DEPTHWISE = (64, 1, 3, 3, 3)
"""The shape of the first depthwise convolution of every CSN."""
BLOCK = r"^(layer\d\.\d+)\."

PYTORCHVIDEO = {
    r"^blocks\.0\.conv\.": "stem.0.",
    r"^blocks\.0\.norm\.": "stem.1.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch1_conv\.": r"layer\1.\2.downsample.0.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch1_norm\.": r"layer\1.\2.downsample.1.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch2\.conv_a\.": r"layer\1.\2.conv1.0.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch2\.norm_a\.": r"layer\1.\2.conv1.1.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch2\.conv_b\.": r"layer\1.\2.conv2.0.0.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch2\.norm_b\.": r"layer\1.\2.conv2.1.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch2\.conv_c\.": r"layer\1.\2.conv3.0.",
    r"^blocks\.(\d)\.res_blocks\.(\d+)\.branch2\.norm_c\.": r"layer\1.\2.conv3.1.",
    r"^blocks\.5\.proj\.": "fc.",
}
MMACTION = {
    r"^conv1\.conv\.": "stem.0.",
    r"^conv1\.bn\.": "stem.1.",
    BLOCK + r"(conv[13]|downsample)\.conv\.": r"\1.\2.0.",
    BLOCK + r"(conv[13]|downsample)\.bn\.": r"\1.\2.1.",
    r"^cls_head\.fc_cls\.": "fc.",
}
MMACTION_CONV2 = {
    "ir": {BLOCK + r"conv2\.0\.conv\.": r"\1.conv2.0.0.", BLOCK + r"conv2\.0\.bn\.": r"\1.conv2.1."},
    "ip": {
        BLOCK + r"conv2\.0\.conv\.": r"\1.conv2.0.0.",
        BLOCK + r"conv2\.0\.bn\.": r"\1.conv2.0.1.",
        BLOCK + r"conv2\.1\.conv\.": r"\1.conv2.0.2.",
        BLOCK + r"conv2\.1\.bn\.": r"\1.conv2.1.",
    },
}
MMACTION_SETTINGS = {
    "with_pool2": "False",
    "conv1_stride_t": "1",
    "conv1_stride_s": "2",
    "pool1_stride_t": "1",
    "pool1_stride_s": "2",
    "temporal_strides": "1, 2, 2, 2",
    "spatial_strides": "1, 2, 2, 2",
    "dilations": "1, 1, 1, 1",
    "style": "pytorch",
}
"""What MMAction2's configuration must say, where it says it, of a network that is computed as the ones here. None of it
changes a tensor's shape."""
VMZ_IR = {BLOCK + r"conv2\.0\.weight$": r"\1.conv2.0.0.weight"}


def pytorchvideo(state_dict: Mapping[str, Tensor], modules: Collection[str]) -> PublishedWeights | None:
    """A PyTorchVideo network; None for others. NetworkError for those that no network here computes."""
    if "blocks.0.conv.weight" not in state_dict or "blocks.1.res_blocks.0.branch2.conv_a.weight" not in state_dict:
        return None
    if _shape(state_dict, "blocks.1.res_blocks.0.branch2.conv_b.weight") != DEPTHWISE:
        raise NetworkError(
            "the checkpoint is PyTorchVideo's, but no CSN: its Slow, I3D, C2D and R(2+1)D networks have other stems, "
            "temporal convolutions or strides than any network here"
        )
    note = _pool_note("PyTorchVideo's CSN", "blocks.0.conv", "blocks.0.pool", modules)
    found = renamed(state_dict, PYTORCHVIDEO)
    weights = checked(found, _name("ir", found), "PyTorchVideo's CSN", NORMALISATIONS["pytorchvideo"])
    return replace(weights, origin=weights.origin + note)


def mmaction(state_dict: Mapping[str, Tensor], checkpoint: Mapping[str, Any]) -> PublishedWeights | None:
    """An MMAction2 network; None for others. NetworkError for those that no network here computes."""
    if "conv1.conv.conv_s.weight" in state_dict:
        raise NetworkError(
            "the checkpoint is MMAction2's R(2+1)D: its stem has 83 middle channels and a max-pool, and its shortcuts "
            "are (2+1)D; no network here is like that (the R(2+1)D-34 of ig65m-pytorch is: --network tv_r2plus1d_34)"
        )
    if "conv1.conv.weight" not in state_dict or "layer1.0.conv1.conv.weight" not in state_dict:
        return None
    depthwise = {"ir": "layer1.0.conv2.0.conv.weight", "ip": "layer1.0.conv2.1.conv.weight"}
    kind = next((kind for kind, name in depthwise.items() if _shape(state_dict, name) == DEPTHWISE), None)
    if kind is None:
        raise NetworkError(
            "the checkpoint is MMAction2's, but no CSN: its other 3D ResNets have other stems, strides or temporal "
            "convolutions than any network here"
        )
    config = _config(checkpoint)
    _check_settings(config)
    found = renamed(state_dict, MMACTION_CONV2[kind] | MMACTION)
    said = _of_config(config)
    weights = checked(
        found, _name(kind, found), "MMAction2's CSN", said or NORMALISATIONS["imagenet"], _eps(config),
        "" if said else (
            "MMAction2's CSN expect imagenet (of IG65M) or torchvision (vmz_*_from_scratch_*, vmz_*_sports1m_*), and "
            "have the same tensors. Taking imagenet; for one of the others give --normalisation torchvision"
        ),
    )  # fmt: skip
    note = "" if "with_pool2" in config else ", taken as with_pool2=False: the file does not tell"
    return replace(weights, origin=weights.origin + note)


def vmz(state_dict: dict[str, Tensor], modules: Collection[str]) -> PublishedWeights | None:
    """VMZ's CSN; None for others. NetworkError if the modules are known and the stem has no max-pool.

    Its ip_csn has the tensors of the one here, but a max-pool as a part of the stem: without modules it is not found.
    """
    is_ir = _shape(state_dict, "layer1.0.conv2.0.weight") == DEPTHWISE
    is_ip = _shape(state_dict, "layer1.0.conv2.0.2.weight") == DEPTHWISE
    if is_ip and ("max_pool" in modules or not {"stem.0", "stem.3"} & set(modules)):
        return None
    if "stem.0.weight" not in state_dict or not (is_ir or is_ip):
        return None
    note = _pool_note("VMZ's CSN", "stem.0", "stem.3", modules)
    found = renamed(state_dict, VMZ_IR) if is_ir else state_dict
    name = _name("ir" if is_ir else "ip", found)
    weights = checked(found, name, "VMZ's CSN", NORMALISATIONS["torchvision"], VMZ_EPS)
    return replace(weights, origin=weights.origin + note)


def doubt_of_ip_csn(state_dict: Mapping[str, Tensor], modules: Collection[str]) -> str:
    """Why a state dict with this project's names may be VMZ's; empty if it cannot be, or the modules tell."""
    if _shape(state_dict, "layer1.0.conv2.0.2.weight") != DEPTHWISE or "max_pool" in modules:
        return ""
    return (
        "VMZ's ip_csn has the same tensors as this project's, but a batch-norm eps of 0.001 and the normalisation "
        "torchvision. Taking this project's; a file of torch.save(network.state_dict()) also has the modules' names, "
        "which tell"
    )


def _shape(state_dict: Mapping[str, Tensor], name: str) -> tuple[int, ...]:
    return tuple(state_dict[name].shape) if name in state_dict else ()


def _name(kind: str, state_dict: Mapping[str, Tensor]) -> str:
    return f"{kind}_csn_{2 + 3 * sum(blocks_of(state_dict))}"


def _pool_note(origin: str, stem: str, pool: str, modules: Collection[str]) -> str:
    """What the user is told of the max-pool after the stem if the modules are unknown.

    `stem` and `pool` are the paths of the first convolution and of the pool. NetworkError if there is no pool.
    """
    if pool in modules:
        return ""
    if stem in modules:
        raise NetworkError(
            f"the checkpoint is {origin} without a max-pool after the stem (it has a module {stem}, but no {pool}): no "
            "network here is like that, as all CSN here have one"
        )
    return ", taken as with a max-pool after the stem: the file does not tell"


def _config(checkpoint: Mapping[str, Any]) -> str:
    """The configuration that MMAction2 saves as text; empty if there is none."""
    meta = checkpoint.get("meta")
    texts = [meta.get(key) for key in ("cfg", "config")] if isinstance(meta, Mapping) else []
    return next((each for each in texts if isinstance(each, str)), "")


def _settings(config: str, name: str) -> set[str]:
    """The values of a setting in a configuration: words, or numbers separated by ", "."""
    value = r"(\([^)]*\)|\[[^]]*\]|[^,)\s]+)"
    return {
        ", ".join(re.findall(r"[\w.-]+", found)) for found in re.findall(rf"\b{name}['\"]?\s*[=:]\s*{value}", config)
    }


def _check_settings(config: str) -> None:
    """NetworkError if MMAction2's configuration is of a network, or of frames, that no network here computes with."""
    for name, expected in MMACTION_SETTINGS.items():
        found = _settings(config, name)
        if name == "with_pool2" and "ResNet3dCSN" in config:
            found = found or {"True"}  # its default
        if found - {expected}:
            raise NetworkError(
                f"the checkpoint is MMAction2's CSN, but its configuration has {name}={min(found - {expected})[:40]}: "
                f"the CSN here compute {name}={expected}, from the same tensors"
            )
    for name in ("to_bgr", "to_rgb"):  # frames are decoded as RGB: either swaps red and blue
        if "True" in _settings(config, name):
            raise NetworkError(
                f"the checkpoint is MMAction2's CSN for BGR frames: its configuration has {name}=True, which swaps red "
                "and blue of frames that were decoded as RGB. Networks here get RGB: reverse the input channels of "
                "conv1.conv.weight and save the state dict alone"
            )


def _eps(config: str) -> float:
    """Of batch norm; NetworkError for more than one, or for what is no number."""
    norms = re.findall(r"\bnorm_cfg\s*=\s*dict\(([^()]*)\)", config)
    found = {next(iter(_settings(norm, "eps")), str(EPS)) for norm in norms}
    try:
        values = {float(each) for each in found} or {VMZ_EPS}
    except ValueError:
        values = set()
    if len(values) != 1 or not 0 < min(values) < 1:
        raise NetworkError(
            f"the checkpoint is MMAction2's CSN, but its configuration has the eps {', '.join(sorted(found))[:80]} of "
            "batch norm: networks here have one, between 0 and 1"
        )
    return values.pop()


def _of_config(config: str) -> Normalisation | None:
    """The normalisation in MMAction2's configuration; None if there is none, or more than one."""
    numbers = r"=\s*\[\s*([\d.]+),\s*([\d.]+),\s*([\d.]+)\s*,?\s*\]"
    means, stds = (set(re.findall(rf"\b{name}{numbers}", config)) for name in ("mean", "std"))
    if len(means) != 1 or len(stds) != 1:
        return None
    try:
        found = of_levels(means.pop(), stds.pop())
    except ValueError:
        return None
    return found if min(found.std) > 0 else None
