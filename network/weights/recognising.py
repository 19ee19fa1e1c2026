"""State dicts of other projects: whose they are, and their tensors under this project's names.

What their networks compute differs from the paper's in more than names, so each has a network of its own here.
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from common.errors import NetworkError
from network.registry import create_network


class Translation(NamedTuple):
    """A state dict under this project's names, the network that computes what its own did, and whose it is."""

    state_dict: dict[str, Tensor]
    network: str
    origin: str


def translate(state_dict: Mapping[str, Tensor], modules: Collection[str] = ()) -> Translation | None:
    """Recognise torchvision's and Hara's video ResNets by the names and shapes of their tensors; None for others.

    `modules` are the paths of the modules the state dict was taken from, where it tells: torchvision's r2plus1d_18 has
    the very tensors of the paper's, which has a max-pool where torchvision's has none. NetworkError for a network of
    theirs that has no counterpart here.
    """
    if "conv1.weight" in state_dict and "layer1.0.conv1.weight" in state_dict:
        return _hara(state_dict)
    if "conv1_s.weight" in state_dict:
        raise NetworkError("the checkpoint is of Hara's R(2+1)D networks, whose stem and widths no network here has")
    first = state_dict.get("layer1.0.conv1.0.weight")
    if "stem.0.weight" in state_dict and first is not None and first.shape[2:] == (3, 3, 3):
        return _torchvision_3d(state_dict)
    if "layer1.0.conv1.0.3.weight" in state_dict and "layer1.0.relu" in modules:
        return _checked(dict(state_dict), "tv_r2plus1d_18", "torchvision's r2plus1d_18")
    return None


def _torchvision_3d(state_dict: Mapping[str, Tensor]) -> Translation:
    second = state_dict.get("layer2.0.conv1.0.weight")
    if second is not None and second.shape[2] == 1:
        raise NetworkError(
            "the checkpoint is torchvision's mc3_18, whose later stages neither convolve nor halve time: no network "
            "here does that; take r3d_18 (--network tv_r3d_18) or r2plus1d_18 (--network tv_r2plus1d_18)"
        )
    renamed = {
        re.sub(r"^(layer\d+\.\d+\.conv[12])\.0\.", r"\1.0.0.", name): value for name, value in state_dict.items()
    }
    return _checked(renamed, "tv_r3d_18", "torchvision's r3d_18")


def _hara(state_dict: Mapping[str, Tensor]) -> Translation:
    """Of 3D-ResNets-PyTorch: `convN` and `bnN` side by side in a block, a stem of 7x7x7."""
    origin = "Hara's 3D-ResNets-PyTorch"
    if tuple(state_dict["conv1.weight"].shape) != (64, 3, 7, 7, 7):
        shape = "x".join(map(str, state_dict["conv1.weight"].shape))
        raise NetworkError(
            f"the checkpoint has the names of {origin}, but its conv1.weight is {shape}, not 64x3x7x7x7: "
            "it is of another stem (--conv1_t_size, --n_input_channels) than the resnet3d networks have"
        )
    if "layer2.0.downsample.0.weight" not in state_dict:
        raise NetworkError(
            f"the checkpoint is of {origin} with shortcut type A, which pads channels with zeros: no network here does "
            "that; take a file of shortcut type B, such as the r3d*_K_200ep.pth of that project"
        )
    is_bottleneck = "layer1.0.conv3.weight" in state_dict
    renamed = {}
    for name, value in state_dict.items():
        name = re.sub(r"^conv1\.", "stem.0.", name)
        name = re.sub(r"^bn1\.", "stem.1.", name)
        name = re.sub(r"^(layer\d+\.\d+)\.bn(\d)\.", r"\1.conv\2.1.", name)
        spatiotemporal = ".0.0.weight" if not is_bottleneck else ".0.weight"
        name = re.sub(r"^(layer\d+\.\d+\.conv[13])\.weight$", rf"\1{spatiotemporal}", name)
        name = re.sub(r"^(layer\d+\.\d+\.conv2)\.weight$", r"\1.0.0.weight", name)
        renamed[name] = value
        # PyTorch 0.3, of which some files are, did not count batches yet. Nothing here depends on the count.
        counter = name.replace("running_mean", "num_batches_tracked")
        if counter != name and name.startswith(("stem.", "layer")):
            renamed.setdefault(counter, torch.tensor(0))
    blocks = [
        len({name.split(".")[1] for name in renamed if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    ]
    depth = 2 + (3 if is_bottleneck else 2) * sum(blocks)
    return _checked(renamed, f"resnet3d_{depth}", f"{origin}, resnet{depth} with shortcut type B")


def _checked(state_dict: dict[str, Tensor], network: str, origin: str) -> Translation:
    """The translation, if every tensor is one of the network's, of its shape, and none is wanting."""
    num_classes = len(state_dict["fc.bias"]) if "fc.bias" in state_dict else 1
    try:
        with torch.device("meta"):
            own = create_network(network, num_classes).state_dict()
    except NetworkError:
        raise NetworkError(f"the checkpoint looks like {origin}, but there is no network of that depth here") from None
    wrong = [name for name in own if name in state_dict and state_dict[name].shape != own[name].shape]
    wrong += [name for name in own if name not in state_dict and not name.startswith("fc.")]
    wrong += [name for name in state_dict if name not in own]
    if wrong:
        raise NetworkError(
            f"the checkpoint looks like {origin}, but is of another architecture: {wrong[0]} differs, and "
            f"{len(wrong) - 1} more tensors (pre-activation, ResNeXt and wide networks have the same names)"
        )
    return Translation(state_dict, network, origin)
