"""Load weights into networks by name and shape, and report what became of every tensor."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.errors import NetworkError
from network.base import VideoNetwork
from network.registry import create_network, network_names
from network.weights.facts import saved_facts as saved_facts
from network.weights.reading import read_checkpoint
from network.weights.recognising import first_names, has_network_facts, network_facts, recognise

CLASSIFIER = ("fc.weight", "fc.bias")


class LoadedNetwork(NamedTuple):
    """A network with all the weights of a checkpoint, and what the checkpoint says of it."""

    network: VideoNetwork
    classes: list[str] | None
    """Class names in the order of the logits; None if the checkpoint has no names."""
    facts: dict[str, Any]
    """{"name", "gates", "placement", "num_classes"}: the arguments of `create_network`."""


@dataclass(frozen=True)
class SkippedTensor:
    """A tensor of the checkpoint and of the network that could not be loaded."""

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
    """Only in the network: left as they were."""
    unexpected: tuple[str, ...]
    """Only in the checkpoint: ignored."""
    classes_reordered: bool = False
    """Whether the classifier's rows were reordered to match the network's classes."""

    @property
    def complete(self) -> bool:
        """Whether every tensor of the checkpoint and of the network was loaded."""
        return not (self.skipped or self.missing or self.unexpected)

    def rows(self) -> list[tuple[str, str, str]]:
        """A table of (state, tensors, remark) to print; tensors of one stage and one state share a row."""
        rows = [("loaded", tensors, "") for tensors in _by_stage(self.loaded)]
        if self.classes_reordered:
            remark = "rows reordered to match the network's classes"
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


def load_network(path: Path, name: str = "") -> LoadedNetwork:
    """Build the network of a checkpoint file, with all its weights and in evaluation mode.

    `name` is the network's, for a checkpoint of another project that does not name it. DataError if the file cannot be
    read; NetworkError if the network is unknown or the weights are not exactly those of the network.
    """
    checkpoint = read_checkpoint(path)
    classes = checkpoint.get("classes") if has_network_facts(checkpoint) else None
    try:
        facts = network_facts(checkpoint, name)
        network = create_network(facts["name"], facts["num_classes"], facts["gates"], facts["placement"])
        load_checkpoint(network, checkpoint, classes, strict=True)
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error
    return LoadedNetwork(network.eval(), classes, facts)


def load_checkpoint(
    network: VideoNetwork, checkpoint: Mapping[str, Any], classes: Sequence[str] | None = None, strict: bool = False
) -> tuple[LoadReport, str]:
    """Load a checkpoint of this project or of another; the report, and a description of the checkpoint's source.

    `classes` are the network's; the rest is as in `load_weights`. NetworkError also if the weights were trained for a
    network that computes something else from the same tensors: the message names the network that fits.
    """
    if has_network_facts(checkpoint):
        source = checkpoint["network"]["name"]
        _check_pool(network, source)
        report = load_weights(network, checkpoint["weights"], checkpoint.get("classes"), classes, strict)
        return report, f"{source} of this project"
    weights = recognise(checkpoint)
    if weights.network and network.name and network.name.removeprefix("srtg_") != weights.network:
        raise NetworkError(
            f"the checkpoint is {weights.origin}, which {network.name} does not compute: take --network "
            f"{weights.network}, or srtg_{weights.network} to add SRTG to it"
        )
    if weights.is_paper:
        _check_pool(network, "r3d_18")
    return load_weights(network, weights.state_dict, strict=strict), weights.origin


def load_weights(
    network: nn.Module,
    state_dict: Mapping[str, Tensor],
    checkpoint_classes: Sequence[str] | None = None,
    network_classes: Sequence[str] | None = None,
    strict: bool = False,
) -> LoadReport:
    """Load every tensor that has the same name and shape in `state_dict` and in `network`.

    If both class lists are given and hold the same names in another order, the classifier's rows are reordered; if
    they hold different names, the classifier is skipped, even if the shapes agree. NetworkError if no tensor fits or,
    with `strict`, if any does not; the network is then unchanged.
    """
    own = network.state_dict()
    row_order: list[int] | None = None
    has_other_classes = False
    if checkpoint_classes is not None and network_classes is not None:
        _check_class_count(state_dict, checkpoint_classes)
        has_other_classes = sorted(checkpoint_classes) != sorted(network_classes)
        if not has_other_classes:
            row_order = [checkpoint_classes.index(name) for name in network_classes]
    matching: dict[str, Tensor] = {}
    skipped: list[SkippedTensor] = []
    for name in [name for name in state_dict if name in own]:
        tensor, reason = state_dict[name], ""
        if tensor.shape != own[name].shape:
            reason = "different shape"
        elif name in CLASSIFIER and has_other_classes:
            reason = "different classes"
        if reason:
            skipped.append(SkippedTensor(name, tuple(tensor.shape), tuple(own[name].shape), reason))
        else:
            matching[name] = tensor[row_order] if name in CLASSIFIER and row_order else tensor
    report = LoadReport(
        loaded=tuple(matching),
        skipped=tuple(skipped),
        missing=tuple(name for name in own if name not in state_dict),
        unexpected=tuple(name for name in state_dict if name not in own),
        classes_reordered=CLASSIFIER[0] in matching and row_order is not None and row_order != sorted(row_order),
    )
    _check_report(report, state_dict, own, strict)
    network.load_state_dict(matching, strict=False)
    return report


def _check_report(
    report: LoadReport, state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor], strict: bool
) -> None:
    """NetworkError if nothing fits or, with `strict`, if anything does not."""
    if not report.loaded:
        raise NetworkError(
            f"no tensor of the checkpoint fits the network: {first_names(state_dict)} against {first_names(own)}"
        )
    if strict and not report.complete:
        differences = [f"{state} {tensors}" for state, tensors, _ in report.rows() if state != "loaded"]
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise NetworkError(f"the checkpoint is not of this network: {'; '.join(differences[:4])}{more}")


def _check_pool(network: VideoNetwork, source: str) -> None:
    """NetworkError if weights of the network `source` would meet another max-pool, which no tensor's shape shows.

    Networks without a name or without a `max_pool` were not built by this project's tables and are not checked.
    """
    own_pool = getattr(network, "max_pool", None)
    if not network.name or own_pool is None or source not in network_names() or source == network.name:
        return
    with torch.device("meta"):
        source_pool = getattr(create_network(source, 1), "max_pool", own_pool)
    if str(source_pool) != str(own_pool):
        raise NetworkError(
            f"the checkpoint's networks, such as {source}, have another max-pool after the stem than {network.name}: "
            "with its weights this network would compute something else"
        )


def _check_class_count(state_dict: Mapping[str, Tensor], classes: Sequence[str]) -> None:
    for name in CLASSIFIER:
        if name in state_dict and len(state_dict[name]) != len(classes):
            raise NetworkError(
                f"the checkpoint names {len(classes)} classes, but its {name} is for {len(state_dict[name])}"
            )


def _by_stage(names: Sequence[str]) -> Iterator[str]:
    """The first and last name of each stage (stem, layer1, ..., fc), for tables."""
    for _, group in groupby(names, key=lambda name: name.split(".")[0]):
        tensors = list(group)
        yield tensors[0] if len(tensors) == 1 else f"{tensors[0]} ... {tensors[-1]} ({len(tensors)} tensors)"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"
