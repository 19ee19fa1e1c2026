"""Which share of the learning rate each parameter of a network has, and whether weight decay applies to it."""

from collections.abc import Collection, Sequence
from typing import Any

from torch import nn

Groups = list[dict[str, Any]]


def part_of(name: str) -> str:
    """The top-level part of a network that a parameter or module is in: `layer1` of `layer1.0.conv1.0.weight`."""
    return name.split(".")[0]


def parts_of(network: nn.Module) -> tuple[str, ...]:
    """The top-level parts that have parameters, in the order of the forward pass: stem, layer1, ..., layer4, fc."""
    return tuple(dict.fromkeys(part_of(name) for name, _ in network.named_parameters()))


def lr_share(
    part: str, parts: Sequence[str], is_loaded: bool, loaded_lr_factor: float = 1.0, layer_decay: float = 1.0
) -> float:
    """The share of the learning rate of a part's parameters: `layer_decay` for each part after it.

    `is_loaded`: fine-tuning loaded them; then it is also multiplied by `loaded_lr_factor`.
    """
    share = layer_decay ** (len(parts) - 1 - parts.index(part))
    return share * loaded_lr_factor if is_loaded else share


def make_groups(
    network: nn.Module,
    loaded: Collection[str],
    loaded_lr_factor: float = 1.0,
    layer_decay: float = 1.0,
    decay_norms: bool = True,
) -> Groups:
    """The parameters of a network in groups of one `lr_share` and one weight decay, with their `names`.

    Frozen parameters are among them: they have no gradient, so that an optimiser leaves them as they are. The highest
    share comes first. Unless `decay_norms`, parameters of one dimension have a group without weight decay: these are
    the weights and biases of batch norm, and the biases of the LSTMs and of the classifier.
    """
    parts = parts_of(network)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        share = lr_share(part_of(name), parts, name in loaded, loaded_lr_factor, layer_decay)
        decays = decay_norms or parameter.dim() > 1
        group = groups.setdefault((-share, not decays), {"params": [], "names": [], "lr_share": share})
        group["params"].append(parameter)
        group["names"].append(name)
        if not decays:
            group["weight_decay"] = 0.0
    return [groups[key] for key in sorted(groups)]
