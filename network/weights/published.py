"""Weights of other projects under this project's names, and what they need of a network."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from common.errors import NetworkError
from common.normalisation import SRTG, Normalisation
from network.base import EPS
from network.registry import create_network
from network.weights.facts import shown
from network.weights.tensors import may_lack, rows

VMZ_EPS = 1e-3
"""Of batch norm in Caffe2, and of all networks that were ported from VMZ."""


@dataclass(frozen=True)
class PublishedWeights:
    """A state dict under this project's names, for RGB frames, and a description of its source."""

    state_dict: dict[str, Tensor]
    origin: str
    network: str = ""
    """The only network that computes what the weights were trained for; empty if the state dict does not tell."""
    is_paper: bool = False
    """Whether the weights are of the networks published with the paper."""
    normalisation: Normalisation = SRTG
    eps: float = EPS
    """Of batch norm."""
    is_known: bool = False
    """Whether `normalisation` is that of the source; else it is this project's, for want of a better one."""
    doubt: str = ""
    """Why the file may need another normalisation or eps than these, and what to do; empty if it is clear."""


def checked(
    state_dict: dict[str, Tensor],
    network: str,
    origin: str,
    normalisation: Normalisation,
    eps: float = EPS,
    doubt: str = "",
) -> PublishedWeights:
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
    return PublishedWeights(
        state_dict, origin, network, normalisation=normalisation, eps=eps, is_known=True, doubt=doubt
    )


def blocks_of(state_dict: Mapping[str, Tensor]) -> list[int]:
    """The residual blocks of the four stages, by the tensors' names here."""
    return [
        len({name.split(".")[1] for name in state_dict if name.startswith(f"layer{stage}.")}) for stage in range(1, 5)
    ]


def renamed(state_dict: Mapping[str, Tensor], rules: Mapping[str, str]) -> dict[str, Tensor]:
    """The state dict with each name rewritten by the first of the rules, pattern to replacement, that applies to it."""
    return {_renamed(name, rules): tensor for name, tensor in state_dict.items()}


def _renamed(name: str, rules: Mapping[str, str]) -> str:
    for pattern, replacement in rules.items():
        new, count = re.subn(pattern, replacement, name)
        if count:
            return new
    return name
