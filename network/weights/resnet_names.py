"""3D ResNets of other projects: torchvision's, ig65m-pytorch's and Hara's, under this project's names."""

import re
from collections.abc import Collection, Mapping

from torch import Tensor

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS
from network.weights.published import VMZ_EPS, PublishedWeights, blocks_of, checked

HARA_DOUBT = (
    "files of 3D-ResNets-PyTorch expect hara2020 (r3d*_200ep.pth) or hara2018 (those from before April 2020, such as "
    "resnet-50-kinetics.pth), and have the same tensors. Taking hara2020; for the others give --normalisation hara2018"
)


def torchvision(state_dict: dict[str, Tensor], modules: Collection[str]) -> PublishedWeights | None:
    """Torchvision's r3d_18 and r2plus1d_18, and the R(2+1)D-34 of ig65m-pytorch; None for others.

    Only the modules' paths tell r2plus1d_18 from the paper's, which has the same tensors but a max-pool. NetworkError
    for a network that has no counterpart here.
    """
    first = state_dict.get("layer1.0.conv1.0.weight")
    if "stem.0.weight" in state_dict and first is not None and first.shape[2:] == (3, 3, 3):
        _refuse_pool("stem.3", modules)
        return _torchvision_3d(state_dict)
    if "layer1.0.conv1.0.3.weight" not in state_dict:
        return None
    _refuse_pool("stem.6", modules)
    second = state_dict.get("layer2.0.conv2.0.0.weight")
    if blocks_of(state_dict) == [3, 4, 6, 3] and second is not None and second.shape[:1] == (288,):
        origin = "the R(2+1)D-34 of IG65M (ig65m-pytorch)"
        return checked(state_dict, "tv_r2plus1d_34", origin, NORMALISATIONS["torchvision"], VMZ_EPS)
    if "layer1.0.relu" in modules:
        return checked(state_dict, "tv_r2plus1d_18", "torchvision's r2plus1d_18", NORMALISATIONS["torchvision"])
    return None


def _refuse_pool(path: str, modules: Collection[str]) -> None:
    """NetworkError if the stem has a further layer at `path`, which has no tensors."""
    if path in modules:
        raise NetworkError(
            f"the checkpoint is of a network with a max-pool in the stem ({path}), as VMZ's with use_pool1=True: the "
            "networks here of these tensors have none there"
        )


def _torchvision_3d(state_dict: Mapping[str, Tensor]) -> PublishedWeights:
    second = state_dict.get("layer2.0.conv1.0.weight")
    if second is not None and second.shape[2:3] == (1,):
        raise NetworkError(
            "the checkpoint is torchvision's mc3_18, whose later stages have no temporal convolutions or strides: no "
            "network here is like that; take r3d_18 (--network tv_r3d_18) or r2plus1d_18 (--network tv_r2plus1d_18)"
        )
    found = {re.sub(r"^(layer\d+\.\d+\.conv[12])\.0\.", r"\1.0.0.", name): value for name, value in state_dict.items()}
    return checked(found, "tv_r3d_18", "torchvision's r3d_18", NORMALISATIONS["torchvision"])


def hara(state_dict: Mapping[str, Tensor]) -> PublishedWeights | None:
    """A network of 3D-ResNets-PyTorch, whose blocks have `convN` and `bnN` and whose stem is 7x7x7; None for others."""
    if "conv1_s.weight" in state_dict:
        raise NetworkError("the checkpoint is of Hara's R(2+1)D networks: no network here has their stem and widths")
    if "conv1.weight" not in state_dict or "layer1.0.conv1.weight" not in state_dict:
        return None
    origin = "Hara's 3D-ResNets-PyTorch"
    stem = state_dict["conv1.weight"]
    if tuple(stem.shape) != (64, 3, 7, 7, 7):
        shape = "x".join(map(str, stem.shape))
        if stem.dim() == 4:
            raise NetworkError(
                f"the checkpoint is a 2D ResNet (its conv1.weight is {shape}): --inflate starts from one, "
                "--pretrained-3d does not"
            )
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
    found = {from_hara(name, is_bottleneck): value for name, value in state_dict.items()}
    depth = 2 + (3 if is_bottleneck else 2) * sum(blocks_of(found))
    origin = f"{origin}, resnet{depth} with shortcut type B"
    return checked(found, f"resnet3d_{depth}", origin, NORMALISATIONS["hara2020"], doubt=HARA_DOUBT)


def from_hara(name: str, is_bottleneck: bool) -> str:
    """A tensor's name in 3D-ResNets-PyTorch, or in torchvision's 2D ResNets, under this project's names."""
    name = re.sub(r"^conv1\.", "stem.0.", name)
    name = re.sub(r"^bn1\.", "stem.1.", name)
    name = re.sub(r"^(layer\d+\.\d+)\.bn(\d)\.", r"\1.conv\2.1.", name)
    # A spatio-temporal convolution is nested one level deeper than a 1x1x1 one.
    spatiotemporal = "2" if is_bottleneck else "12"
    name = re.sub(rf"^(layer\d+\.\d+\.conv[{spatiotemporal}])\.weight$", r"\1.0.0.weight", name)
    return re.sub(r"^(layer\d+\.\d+\.conv\d)\.weight$", r"\1.0.weight", name)
