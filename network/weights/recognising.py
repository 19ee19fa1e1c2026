"""What a checkpoint holds and whose it is: this project's, the paper's, torchvision's, Hara's, or a plain state dict.

Parameter names of other projects are translated to the names used here. Their networks also compute something else than
the paper's, so each is a separate network in the registry (tv_*, resnet3d_*).
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from common.errors import NetworkError
from network.registry import create_network, network_names
from network.weights.facts import KEYS, saved_facts, shown
from network.weights.tensors import check_tensors, first_names, may_lack, rows, shape_text

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights")
"""Keys under which tools save the state dict in a checkpoint."""

DEEPEST = 5
"""Wrappers around each other that are opened."""

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.")
"""What DataParallel, DistributedDataParallel, torch.compile, and a LightningModule that has a network, put before every
name. No network here has a part of these names."""


@dataclass(frozen=True)
class PublishedWeights:
    """A state dict under this project's names, for RGB frames, and a description of its source."""

    state_dict: dict[str, Tensor]
    origin: str
    network: str = ""
    """The only network that computes what the weights were trained for; empty if the state dict does not tell."""
    is_paper: bool = False
    """Whether the weights are of the networks published with the paper."""


def network_facts(checkpoint: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """The arguments of `create_network` for a checkpoint: {"name", "gates", "placement", "num_classes"}.

    `name` is the network of a checkpoint of another project that does not name it. NetworkError if the network or the
    number of classes remains unknown, or if a checkpoint of this project is of another network than `name`.
    """
    facts = saved_facts(checkpoint)
    if facts:
        if name and name != facts["name"]:
            raise NetworkError(f"the checkpoint is of {facts['name']}, not of {name}: leave --network out")
        own = {key: facts[key] for key in KEYS}
        _check_classifier(own, check_tensors(checkpoint.get("weights")))
        return own
    weights = recognise(checkpoint)
    name = name or weights.network
    if not name:
        raise NetworkError("the checkpoint does not name its network: name it with --network")
    num_classes = rows(weights.state_dict, "fc.bias")
    if not num_classes:
        raise NetworkError("the checkpoint has no classifier (fc.bias), so its number of classes is unknown")
    found = {"name": name, "gates": False, "placement": "final", "num_classes": num_classes}
    _check_classifier(found, weights.state_dict)
    return found


def _check_classifier(facts: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> None:
    """NetworkError if the file's classifier is not that of the network: it alone decides how large the network is."""
    name, num_classes = facts["name"], facts["num_classes"]
    if name not in network_names():
        return  # `create_network` says so
    if num_classes != rows(state_dict, "fc.bias"):
        raise NetworkError(
            f"the checkpoint's network has {shown(num_classes)} classes, but the file has a classifier of "
            f"{rows(state_dict, 'fc.bias') or 'none'} (fc.bias)"
        )
    with torch.device("meta"):
        own = create_network(**facts).state_dict()
    for part in ("fc.weight", "fc.bias"):
        found = state_dict.get(part)
        if part in own and (found is None or found.shape != own[part].shape or found.is_meta):
            what = "has no" if found is None or found.is_meta else f"has {shape_text(found.shape)} as"
            raise NetworkError(f"the checkpoint {what} {part}; {name} has {shape_text(own[part].shape)}")


def recognise(checkpoint: Mapping[str, Any], bgr: bool | None = None) -> PublishedWeights:
    """Find the state dict in a checkpoint of another project and translate it to this project's names.

    Wrappers such as {"state_dict": ...} and prefixes such as `module.` are removed. The networks published with the
    paper were trained on BGR frames: the stem's input channels are reversed if `bgr` is true, or if it is None and the
    checkpoint looks like one of theirs. NetworkError if there is no state dict, or no network here for it.
    """
    wrapper, tensors, modules = _unwrap(checkpoint)
    state_dict = _without_prefixes(tensors)
    weights = _translate(state_dict, modules)
    if weights is None:
        # The paper's files keep the state dict under "state_dict" and were saved from DataParallel. Others have one of
        # both: torch.save({"state_dict": ...}) of any project, or a network in DistributedDataParallel.
        signs = (wrapper == "state_dict", any(name.startswith("module.") for name in tensors))
        is_others = any(name.startswith(PREFIXES[1:]) for name in tensors)
        weights = _untranslated(state_dict, all(signs) and not is_others, any(signs) and not is_others)
    weights = replace(weights, origin=weights.origin + _about(wrapper, tensors))
    is_bgr = weights.is_paper if bgr is None else bgr
    return _for_rgb(weights) if is_bgr else weights


def _unwrap(checkpoint: Mapping[str, Any], depth: int = 0) -> tuple[str, dict[str, Tensor], list[str]]:
    """The keys that lead to the state dict in a checkpoint (none if it is one), its tensors, its modules' paths.

    PyTorch saves the modules' paths with a state dict; other tools may drop them. NetworkError if there is no state
    dict, or more than one.
    """
    found = [(key, checkpoint[key]) for key in WRAPPERS if isinstance(checkpoint.get(key), Mapping)]
    wrapped = [(key, value) for key, value in found if _has_tensors(value)]
    if len(wrapped) > 1:
        keys = " and ".join(f"`{key}`" for key, _ in wrapped)
        raise NetworkError(f"the checkpoint has weights under {keys}: save those that you want alone")
    if wrapped:
        return _state_dict(*wrapped[0])
    if _has_tensors(checkpoint):
        return _state_dict("", checkpoint)
    if len(found) == 1 and depth < DEEPEST:  # a dict may hold itself
        keys, tensors, modules = _unwrap(found[0][1], depth + 1)
        return f"{found[0][0]}.{keys}", tensors, modules
    raise NetworkError(
        f"the checkpoint has no weights: its keys are {first_names(checkpoint)}; expected a state dict, or one under "
        f"the key {', '.join(WRAPPERS)}"
    )


def _has_tensors(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(part, Tensor) for part in value.values())


def _state_dict(key: str, found: Mapping[Any, Any]) -> tuple[str, dict[str, Tensor], list[str]]:
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    check_tensors(tensors)
    return key, tensors, [_strip(path) for path in getattr(found, "_metadata", ())]


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stripped = {_strip(name): tensor for name, tensor in tensors.items()}
    if len(stripped) < len(tensors):
        raise NetworkError(f"the checkpoint has a tensor twice, with and without the prefix {' or '.join(PREFIXES)}")
    return stripped


def _strip(name: str) -> str:
    """A tensor's name without the prefixes of wrappers."""
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _about(wrapper: str, tensors: Mapping[str, Tensor]) -> str:
    """What was removed from around a state dict and its names, for the user."""
    prefixes = sorted({name[: len(name) - len(_strip(name))] for name in tensors} - {""})
    removed = [f"under `{wrapper}`"] if wrapper else []
    removed += [f"without the prefix `{shown(prefix)}`" for prefix in prefixes[:3]]
    return f" ({', '.join(removed)})" if removed else ""


def _untranslated(state_dict: dict[str, Tensor], is_paper: bool, may_be_paper: bool) -> PublishedWeights:
    """Weights that have this project's names already."""
    # Only networks built as the paper's nest their convolutions one level deeper.
    has_papers_names = "layer1.0.conv2.0.0.weight" in state_dict
    if is_paper and has_papers_names:
        return PublishedWeights(state_dict, "the networks published with the paper", is_paper=True)
    origin = "a state dict"
    if may_be_paper and has_papers_names:
        origin += ", taken as trained on RGB (the paper's files, on BGR, have the key `state_dict` and `module.` names)"
    if _is_r2plus1d_18(state_dict):
        origin += " (torchvision's r2plus1d_18 has the same tensors: if it is that, --network must be tv_r2plus1d_18)"
    return PublishedWeights(state_dict, origin)


def _is_r2plus1d_18(state_dict: Mapping[str, Tensor]) -> bool:
    with torch.device("meta"):
        own = create_network("r2plus1d_18", 1).state_dict()
    return set(state_dict) == set(own)


def _for_rgb(weights: PublishedWeights) -> PublishedWeights:
    """Weights trained on BGR frames, with the stem's input channels reversed."""
    stem = weights.state_dict.get("stem.0.weight")
    if stem is None or stem.dim() != 5 or stem.shape[1] != 3:
        raise NetworkError("BGR weights need a stem.0.weight of 3 input channels to reverse; the checkpoint has none")
    return replace(
        weights,
        state_dict=weights.state_dict | {"stem.0.weight": stem.flip(1)},
        origin=f"{weights.origin}, for BGR frames (the stem's input channels were reversed)",
    )


def _translate(state_dict: dict[str, Tensor], modules: Collection[str]) -> PublishedWeights | None:
    """Recognise torchvision's and Hara's video ResNets by the names and shapes of their tensors; None for others.

    `modules` are the paths of the modules that the state dict was taken from, empty if unknown. Only they tell
    torchvision's r2plus1d_18 from the paper's: the tensors are the same, but only the paper's has a max-pool.
    NetworkError for one of their networks that has no counterpart here.
    """
    if "conv1.weight" in state_dict and "layer1.0.conv1.weight" in state_dict:
        return _hara(state_dict)
    if "conv1_s.weight" in state_dict:
        raise NetworkError("the checkpoint is of Hara's R(2+1)D networks: no network here has their stem and widths")
    first = state_dict.get("layer1.0.conv1.0.weight")
    if "stem.0.weight" in state_dict and first is not None and first.shape[2:] == (3, 3, 3):
        return _torchvision_3d(state_dict)
    if "layer1.0.conv1.0.3.weight" in state_dict and "layer1.0.relu" in modules:
        return _checked(state_dict, "tv_r2plus1d_18", "torchvision's r2plus1d_18")
    return None


def _torchvision_3d(state_dict: Mapping[str, Tensor]) -> PublishedWeights:
    second = state_dict.get("layer2.0.conv1.0.weight")
    if second is not None and second.shape[2:3] == (1,):
        raise NetworkError(
            "the checkpoint is torchvision's mc3_18, whose later stages have no temporal convolutions or strides: no "
            "network here is like that; take r3d_18 (--network tv_r3d_18) or r2plus1d_18 (--network tv_r2plus1d_18)"
        )
    renamed = {
        re.sub(r"^(layer\d+\.\d+\.conv[12])\.0\.", r"\1.0.0.", name): value for name, value in state_dict.items()
    }
    return _checked(renamed, "tv_r3d_18", "torchvision's r3d_18")


def _hara(state_dict: Mapping[str, Tensor]) -> PublishedWeights:
    """Translate weights of 3D-ResNets-PyTorch, whose blocks have `convN` and `bnN` and whose stem is 7x7x7."""
    origin = "Hara's 3D-ResNets-PyTorch"
    if tuple(state_dict["conv1.weight"].shape) != (64, 3, 7, 7, 7):
        shape = "x".join(map(str, state_dict["conv1.weight"].shape))
        raise NetworkError(
            f"the checkpoint has the names of {origin}, but its conv1.weight is {shape}, not 64x3x7x7x7: "
            "its stem (--conv1_t_size, --n_input_channels) is not that of the resnet3d networks"
        )
    if "layer2.0.downsample.0.weight" not in state_dict:
        raise NetworkError(
            f"the checkpoint is of {origin} with shortcut type A, which pads channels with zeros: no network here has "
            "it; take a file of shortcut type B, such as the r3d*_K_200ep.pth of that project"
        )
    is_bottleneck = "layer1.0.conv3.weight" in state_dict
    renamed = {_from_hara(name, is_bottleneck): value for name, value in state_dict.items()}
    blocks = [
        len({name.split(".")[1] for name in renamed if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    ]
    depth = 2 + (3 if is_bottleneck else 2) * sum(blocks)
    return _checked(renamed, f"resnet3d_{depth}", f"{origin}, resnet{depth} with shortcut type B")


def _from_hara(name: str, is_bottleneck: bool) -> str:
    """A tensor's name in 3D-ResNets-PyTorch under this project's names."""
    name = re.sub(r"^conv1\.", "stem.0.", name)
    name = re.sub(r"^bn1\.", "stem.1.", name)
    name = re.sub(r"^(layer\d+\.\d+)\.bn(\d)\.", r"\1.conv\2.1.", name)
    # A spatio-temporal convolution is nested one level deeper than a 1x1x1 one.
    spatiotemporal = "2" if is_bottleneck else "12"
    name = re.sub(rf"^(layer\d+\.\d+\.conv[{spatiotemporal}])\.weight$", r"\1.0.0.weight", name)
    return re.sub(r"^(layer\d+\.\d+\.conv\d)\.weight$", r"\1.0.weight", name)


def _checked(state_dict: dict[str, Tensor], network: str, origin: str) -> PublishedWeights:
    """The weights, if their tensors have the names and shapes of the network's; the classifier may be missing."""
    num_classes = rows(state_dict, "fc.bias") or 1
    try:
        with torch.device("meta"):
            own = create_network(network, num_classes).state_dict()
    except NetworkError:
        raise NetworkError(f"the checkpoint looks like {origin}, but there is no network {network} here") from None
    wrong = [name for name in own if name in state_dict and state_dict[name].shape != own[name].shape]
    wrong += [
        name for name in own if name not in state_dict and not name.startswith("fc.") and not may_lack(state_dict, name)
    ]
    wrong += [name for name in state_dict if name not in own]
    if wrong:
        raise NetworkError(
            f"the checkpoint looks like {origin}, but is of another architecture: {shown(wrong[0])} differs, and "
            f"{len(wrong) - 1} more tensors (pre-activation, ResNeXt and wide networks have the same names)"
        )
    return PublishedWeights(state_dict, origin, network)
