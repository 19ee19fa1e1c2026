"""Weights from elsewhere: state dicts recognised, loaded by name and shape, and accounted for tensor by tensor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import NetworkError
from network.base import VideoNetwork
from network.registry import create_network, network_names
from network.weights.recognising import translate

WRAPPERS = ("state_dict", "model_state_dict", "model", "network", "net")
"""Keys under which tools keep the state dict in a checkpoint, in the order tried."""

PREFIXES = ("module.", "_orig_mod.")
"""What DataParallel, DistributedDataParallel and torch.compile put before every name."""

CLASSIFIER = ("fc.weight", "fc.bias")


@dataclass(frozen=True)
class PublishedWeights:
    """A state dict under this project's names, for RGB frames, and in words where it is from."""

    state_dict: dict[str, Tensor]
    origin: str
    network: str = ""
    """The one network, by name, that computes what they were trained for; empty where the form does not tell."""
    is_paper: bool = False
    """Whether they are of the networks published with the paper."""


@dataclass(frozen=True)
class SkippedTensor:
    """A tensor that checkpoint and network both have, but that could not be loaded."""

    name: str
    shape_in_checkpoint: tuple[int, ...]
    shape_in_network: tuple[int, ...]
    reason: str


@dataclass(frozen=True)
class LoadReport:
    """What became of every tensor of a checkpoint and of a network; names in the order of the state dicts."""

    loaded: tuple[str, ...]
    skipped: tuple[SkippedTensor, ...]
    missing: tuple[str, ...]
    """In the network alone: left as they were, so new."""
    unexpected: tuple[str, ...]
    """In the checkpoint alone: of no use."""
    classes_reordered: bool = False
    """Whether the classifier's rows were put into the order of the network's classes."""

    @property
    def complete(self) -> bool:
        """Whether every tensor on either side was loaded."""
        return not (self.skipped or self.missing or self.unexpected)

    def rows(self) -> list[tuple[str, str, str]]:
        """A table for people: (state, tensors, remark); the tensors of a stage that share a state share a row."""
        rows = [("loaded", tensors, "") for tensors in _by_stage(self.loaded)]
        if self.classes_reordered:
            remark = "rows put into the order of the network's classes"
            rows = [(state, names, remark if names.startswith("fc.") else "") for state, names, _ in rows]
        rows += [
            (
                "skipped",
                skipped.name,
                f"{_shape(skipped.shape_in_checkpoint)} in the checkpoint, {_shape(skipped.shape_in_network)} in the "
                f"network: {skipped.reason}",
            )
            for skipped in self.skipped
        ]
        rows += [("new", tensors, "not in the checkpoint") for tensors in _by_stage(self.missing)]
        rows += [("unused", tensors, "not in the network") for tensors in _by_stage(self.unexpected)]
        return rows


def recognise(checkpoint: Mapping[str, Any], bgr: bool | None = None) -> PublishedWeights:
    """Find the state dict in a checkpoint that this project did not write, and bring it to this project's terms.

    Wrappers such as {"state_dict": ...} and prefixes such as `module.` are taken off. The networks published with the
    paper were trained on frames in BGR order: where `bgr` is true, or None and the checkpoint has the form of theirs,
    the stem's input channels are reversed. NetworkError if there is no state dict.
    """
    wrapper, tensors, modules = _unwrap(checkpoint)
    names = [_strip(name) for name in tensors]
    if len(set(names)) < len(names):
        raise NetworkError(f"the checkpoint names a tensor twice, once with and once without {' or '.join(PREFIXES)}")
    state_dict = dict(zip(names, tensors.values(), strict=True))
    translation = translate(state_dict, modules)
    if translation and not bgr:
        return PublishedWeights(translation.state_dict, translation.origin, translation.network)
    state_dict = translation.state_dict if translation else state_dict
    # Theirs lie under "state_dict", were saved from DataParallel, and nest the convolutions one deeper than others do.
    published = (wrapper == "state_dict" or any(name.startswith("module.") for name in tensors)) and (
        "layer1.0.conv2.0.0.weight" in state_dict
    )
    origin = "the networks published with the paper" if published else "a state dict"
    if translation:
        origin = translation.origin
    elif not published and _is_r2plus1d_18(state_dict):
        origin += " (torchvision's r2plus1d_18 has the same tensors: if it is that, --network must be tv_r2plus1d_18)"
    if published if bgr is None else bgr:
        stem = state_dict.get("stem.0.weight")
        if stem is None or stem.dim() != 5 or stem.shape[1] != 3:
            raise NetworkError(
                "BGR weights need a stem.0.weight of 3 input channels to reverse; the checkpoint has none"
            )
        state_dict["stem.0.weight"] = stem.flip(1)
        origin += ", for BGR frames (the stem's input channels were reversed)"
    return PublishedWeights(state_dict, origin, translation.network if translation else "", published)


def has_network_facts(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this project wrote the checkpoint, so that it names its network and, if they had names, its classes."""
    return (
        isinstance(checkpoint.get("network"), Mapping) and "name" in checkpoint["network"] and "weights" in checkpoint
    )


def load_checkpoint(
    network: VideoNetwork, checkpoint: Mapping[str, Any], classes: Sequence[str] | None = None, strict: bool = False
) -> tuple[LoadReport, str]:
    """Load a checkpoint of this project or of another, and say in words where it is from.

    `classes` are the network's; the rest is as in `load_weights`. NetworkError also if the weights were trained for a
    network that computes something else from the same tensors: it names the network that fits.
    """
    if has_network_facts(checkpoint):
        source = checkpoint["network"]["name"]
        _check_pool(network, source)
        report = load_weights(network, checkpoint["weights"], checkpoint.get("classes"), classes, strict)
        return report, f"{source} of this project"
    published = recognise(checkpoint)
    if published.network and network.name and network.name.removeprefix("srtg_") != published.network:
        raise NetworkError(
            f"the checkpoint is {published.origin}, which {network.name} does not compute: take --network "
            f"{published.network}, or srtg_{published.network} to add SRTG to it"
        )
    if published.is_paper:
        _check_pool(network, "r3d_18")
    return load_weights(network, published.state_dict, strict=strict), published.origin


def load_weights(
    network: nn.Module,
    state_dict: Mapping[str, Tensor],
    checkpoint_classes: Sequence[str] | None = None,
    network_classes: Sequence[str] | None = None,
    strict: bool = False,
) -> LoadReport:
    """Load into `network` what has the same name and shape, and say what became of every tensor.

    Where both class lists are given and hold the same names in another order, the classifier's rows are reordered;
    where they hold different names, the classifier is skipped, even if the shapes agree. NetworkError if nothing
    matches or, if `strict`, unless everything does; the network is then as it was.
    """
    own = network.state_dict()
    order = None
    if checkpoint_classes is not None and network_classes is not None:
        _check_class_count(state_dict, checkpoint_classes)
        order = _class_order(checkpoint_classes, network_classes)
    matching: dict[str, Tensor] = {}
    skipped: list[SkippedTensor] = []
    for name in [name for name in state_dict if name in own]:
        tensor, reason = state_dict[name], ""
        if tensor.shape != own[name].shape:
            reason = "of another shape"
        elif name in CLASSIFIER and order == []:
            reason = "for other classes"
        if reason:
            skipped.append(SkippedTensor(name, tuple(tensor.shape), tuple(own[name].shape), reason))
        else:
            matching[name] = tensor[order] if name in CLASSIFIER and order else tensor
    report = LoadReport(
        loaded=tuple(matching),
        skipped=tuple(skipped),
        missing=tuple(name for name in own if name not in state_dict),
        unexpected=tuple(name for name in state_dict if name not in own),
        classes_reordered=CLASSIFIER[0] in matching and order is not None and order != sorted(order),
    )
    if not matching:
        raise NetworkError(f"no tensor of the checkpoint fits the network: {_first(state_dict)} against {_first(own)}")
    if strict and not report.complete:
        differences = [f"{state} {tensors}" for state, tensors, _ in report.rows() if state != "loaded"]
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise NetworkError(f"the checkpoint is not of this network: {'; '.join(differences[:4])}{more}")
    network.load_state_dict(matching, strict=False)
    return report


def _check_pool(network: VideoNetwork, source: str) -> None:
    """NetworkError if weights of network `source` meet another max-pool here, which no tensor's shape would show.

    Networks that are built otherwise than ours, and so have no such module, are not looked at.
    """
    ours = getattr(network, "max_pool", None)
    if not network.name or ours is None or source not in network_names() or source == network.name:
        return
    with torch.device("meta"):
        theirs = getattr(create_network(source, 1), "max_pool", ours)
    if str(theirs) != str(ours):
        raise NetworkError(
            f"the checkpoint's networks, such as {source}, have another max-pool after the stem than {network.name}: "
            "its weights would compute something else there"
        )


def _is_r2plus1d_18(state_dict: Mapping[str, Tensor]) -> bool:
    with torch.device("meta"):
        own = create_network("r2plus1d_18", 1).state_dict()
    return set(state_dict) == set(own)


def _unwrap(checkpoint: Mapping[str, Any]) -> tuple[str, dict[str, Tensor], list[str]]:
    """The key of the state dict in a checkpoint, empty if it is one itself, its tensors, and its modules' paths.

    PyTorch notes the paths beside a state dict; tools may lose them. NetworkError if there is no state dict.
    """
    for key in (*WRAPPERS, ""):
        found = checkpoint.get(key) if key else checkpoint
        if isinstance(found, Mapping) and any(isinstance(value, Tensor) for value in found.values()):
            tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
            return key, tensors, [_strip(path) for path in getattr(found, "_metadata", ())]
    raise NetworkError(
        f"the checkpoint has no weights: its keys are {_first(checkpoint)}; expected a state dict, by itself or under "
        f"{', '.join(WRAPPERS)}"
    )


def _strip(name: str) -> str:
    """A tensor's name without the prefixes of wrappers."""
    while name.startswith(PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _check_class_count(state_dict: Mapping[str, Tensor], classes: Sequence[str]) -> None:
    for name in CLASSIFIER:
        if name in state_dict and len(state_dict[name]) != len(classes):
            raise NetworkError(
                f"the checkpoint names {len(classes)} classes, but its {name} is for {len(state_dict[name])}"
            )


def _class_order(checkpoint_classes: Sequence[str], network_classes: Sequence[str]) -> list[int]:
    """For each class of the network its row in the checkpoint's classifier; empty if the classes are others."""
    if sorted(checkpoint_classes) != sorted(network_classes):
        return []
    rows = {name: row for row, name in enumerate(checkpoint_classes)}
    return [rows[name] for name in network_classes]


def _by_stage(names: Sequence[str]) -> Iterator[str]:
    """Names in words, those of one stage (stem, layer1, ..., fc) together."""
    for _, group in groupby(names, key=lambda name: name.split(".")[0]):
        tensors = list(group)
        yield tensors[0] if len(tensors) == 1 else f"{tensors[0]} ... {tensors[-1]} ({len(tensors)} tensors)"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def _first(mapping: Mapping[str, Any], count: int = 3) -> str:
    """The first keys of a mapping in words."""
    names = ", ".join(str(name) for name in list(mapping)[:count]) or "none"
    return names + (f", ... ({len(mapping)} in all)" if len(mapping) > count else "")
