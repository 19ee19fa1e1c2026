"""Load weights into networks by name and shape, and report what became of every tensor."""

import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.errors import NetworkError
from common.normalisation import SRTG, Normalisation
from common.text import composed
from network.base import EPS, VideoNetwork
from network.registry import create_network, network_names
from network.weights.averages import weights_to_use, without_averages
from network.weights.facts import in_file, saved_facts, shown, training_facts
from network.weights.published import PublishedWeights
from network.weights.reading import read_checkpoint
from network.weights.recognising import network_facts, recognise
from network.weights.tensors import converted, first_names, may_lack, shape_text

LOG = logging.getLogger("srtg")  # not common.logs, which needs rich: torch.hub loads networks without it
CLASSIFIER = ("fc.weight", "fc.bias")
MOST_ROWS = 20  # of one state in a report


class LoadedNetwork(NamedTuple):
    """A network with all the weights of a checkpoint, and what the checkpoint says of it."""

    network: VideoNetwork
    classes: list[str] | None
    """Class names in the order of the logits; None if the checkpoint has no names."""
    facts: dict[str, Any]
    """The arguments of `create_network`."""
    origin: str
    """What the checkpoint was taken for, and what was changed in it."""
    training: dict[str, dict[str, Any]]
    """What the checkpoint says of its training, as `training_facts` has it."""


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
    converted: tuple[str, ...] = ()
    """Names of loaded tensors that have another precision in the checkpoint."""

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
        if self.converted:
            more = f" and {len(self.converted) - 1} more" if len(self.converted) > 1 else ""
            rows.append(("converted", self.converted[0] + more, "of another precision in the checkpoint"))
        rows += [
            (
                "skipped",
                shown(skipped.name),
                f"{shape_text(skipped.shape_in_checkpoint)} in the checkpoint, "
                f"{shape_text(skipped.shape_in_network)} in the network: {skipped.reason}",
            )
            for skipped in self.skipped
        ]
        rows += [("new", tensors, "not in the checkpoint") for tensors in _by_stage(self.missing)]
        rows += [("unused", tensors, "not in the network") for tensors in _by_stage(self.unexpected)]
        return list(_shortened(rows))


def load_network(
    path: Path | str, name: str = "", normalisation: Normalisation | None = None, weights: str = "auto"
) -> LoadedNetwork:
    """Build the network of a checkpoint file, with all its weights and in evaluation mode.

    `name` is the network's, for a checkpoint of another project that does not name it; `normalisation` as in
    `load_checkpoint`. `weights` is a key of WEIGHTS. DataError if the file cannot be read; NetworkError if the network
    is unknown or the weights are not exactly those of the network.
    """
    checkpoint = read_checkpoint(Path(path))
    if weights == "raw":
        checkpoint = without_averages(checkpoint)
    with in_file(path):
        facts = network_facts(checkpoint, name)
        classes = (saved_facts(checkpoint) or {}).get("classes")
        training = training_facts(checkpoint)
        network = create_network(**facts)
        _, origin = load_checkpoint(network, checkpoint, classes, strict=True, normalisation=normalisation)
    facts["normalisation"] = network.normalisation
    if not saved_facts(checkpoint) and facts["name"].startswith("srtg_"):
        origin += "; taken as without gates, placement final: the file does not say"
    return LoadedNetwork(network.eval(), classes, facts, origin, training)


def load_checkpoint(
    network: VideoNetwork,
    checkpoint: Mapping[str, Any],
    classes: Sequence[str] | None = None,
    strict: bool = False,
    normalisation: Normalisation | None = None,
) -> tuple[LoadReport, str]:
    """Load a checkpoint of this project or of another; the report, and a description of the checkpoint's source.

    The network gets the normalisation and the eps of batch norm that the weights were trained with. `normalisation` is
    for weights of another project: a warning if theirs is known to be another one, or if without it the file does not
    tell. The weights are those of `weights_to_use`. `classes` are the network's; the rest is as in `load_weights`.
    NetworkError also if the weights were trained for a network that computes something else from the same tensors: the
    message names the network that fits; and if `normalisation` is not that of a file of this project, which says its
    own. With `strict` the network must be the checkpoint's also in name, gates and placement.
    """
    facts = saved_facts(checkpoint)
    if facts:
        if strict:
            _check_same(network, facts)
        _check_pool(network, facts["name"])
        if normalisation not in (None, facts["normalisation"]):
            raise NetworkError(
                f"the checkpoint was trained with the normalisation {facts['normalisation'].show()}: leave "
                "--normalisation out"
            )
        weights, note = weights_to_use(checkpoint)
        report = load_weights(network, weights, facts["classes"], classes, strict)
        network.normalisation = facts["normalisation"]
        network.set_eps(facts["eps"])
        return report, f"{facts['name']} of this project{_about(network, facts['normalisation'] != SRTG)}{note}"
    found = recognise(checkpoint)
    if found.network and network.name and network.name.removeprefix("srtg_") != found.network:
        raise NetworkError(
            f"the checkpoint is {found.origin}, which {network.name} does not compute: take --network "
            f"{found.network}, or srtg_{found.network} to add SRTG to it"
        )
    if found.is_paper:
        _check_pool(network, "r3d_18")
    return load_published(network, found, normalisation, strict)


def load_published(
    network: VideoNetwork, found: PublishedWeights, normalisation: Normalisation | None, strict: bool = False
) -> tuple[LoadReport, str]:
    """`load_checkpoint` for weights of another project that are known to fit the network."""
    report = load_weights(network, found.state_dict, strict=strict)
    network.set_eps(found.eps)
    network.normalisation = _normalisation(found, normalisation)
    unknown = "" if found.is_known or normalisation else ", as the file does not tell another"
    return report, f"{found.origin}{_about(network, True)}{unknown}"


def _normalisation(found: PublishedWeights, given: Normalisation | None) -> Normalisation:
    """What the network of another project's weights will get, and a warning if that may be wrong."""
    is_other_than_paper = found.is_paper and given != found.normalisation
    if found.doubt and (given is None or not found.is_known or is_other_than_paper):
        LOG.warning("%s", found.doubt)
    if given is None:
        return found.normalisation
    if found.is_known and (not found.doubt or found.is_paper) and given != found.normalisation:
        LOG.warning(
            "--normalisation %s: the weights of %s were trained with %s", given.show(), found.origin,
            found.normalisation.show(),
        )  # fmt: skip
    return given


def _about(network: VideoNetwork, names_normalisation: bool) -> str:
    """The network's normalisation, and an unusual eps of its batch norm, for the user."""
    parts = [f"normalisation {network.normalisation.show()}"] if names_normalisation else []
    parts += [f"batch-norm eps {network.eps:g}"] if network.eps != EPS else []
    return "".join(f"; {part}" for part in parts)


def load_weights(
    network: nn.Module,
    state_dict: Mapping[str, Tensor],
    checkpoint_classes: Sequence[str] | None = None,
    network_classes: Sequence[str] | None = None,
    strict: bool = False,
) -> LoadReport:
    """Load every tensor that has the same name and shape in `state_dict` and in `network`.

    If both class lists are given and hold the same names in another order, the classifier's rows are reordered; if
    they hold different names, the classifier is skipped, even if the shapes agree. The two Unicode forms of a name are
    the same. Another precision is converted.
    NetworkError if no tensor fits or, with `strict`, if any does not, and for values as in `tensors.converted`; the
    network is then unchanged.
    """
    own = network.state_dict()
    row_order: list[int] | None = None
    has_other_classes = False
    if checkpoint_classes is not None and network_classes is not None:
        _check_class_count(state_dict, checkpoint_classes)
        row_order = _row_order(checkpoint_classes, network_classes)
        has_other_classes = row_order is None
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
            values = converted(name, tensor, own[name])
            matching[name] = values[row_order] if name in CLASSIFIER and row_order else values
    report = LoadReport(
        loaded=tuple(matching),
        skipped=tuple(skipped),
        missing=tuple(name for name in own if name not in state_dict and not may_lack(state_dict, name)),
        unexpected=tuple(name for name in state_dict if name not in own),
        classes_reordered=CLASSIFIER[0] in matching and row_order is not None and row_order != sorted(row_order),
        converted=tuple(name for name in matching if state_dict[name].dtype != own[name].dtype),
    )
    _check_report(report, state_dict, own, strict)
    network.load_state_dict(matching, strict=False)
    return report


def _check_report(
    report: LoadReport, state_dict: Mapping[str, Tensor], own: Mapping[str, Tensor], strict: bool
) -> None:
    """NetworkError if nothing fits or, with `strict`, if anything does not."""
    if not report.loaded:
        prefix = _unknown_prefix(state_dict, own)
        remedy = f": save its weights without the prefix `{shown(prefix)}`" if prefix else ""
        raise NetworkError(
            f"no tensor of the checkpoint fits the network: {first_names(state_dict)} against {first_names(own)}"
            f"{remedy}"
        )
    if strict and not report.complete:
        differences = [f"{state} {tensors}" for state, tensors, _ in report.rows() if state != "loaded"]
        more = f"; and {len(differences) - 4} more" if len(differences) > 4 else ""
        raise NetworkError(f"the checkpoint is not of this network: {'; '.join(differences[:4])}{more}")


def _unknown_prefix(state_dict: Mapping[str, Tensor], own: Collection[str]) -> str:
    """What stands before the network's names in those of the checkpoint; empty if they are other names."""
    name = next(iter(own))
    ending = f".{name}"
    return next((found.removesuffix(name) for found in state_dict if found.endswith(ending)), "")


def _check_same(network: VideoNetwork, facts: Mapping[str, Any]) -> None:
    """NetworkError if the network is another than the checkpoint's although the tensors may have the same shapes.

    Networks that `create_network` did not build have no name and are not checked.
    """
    own: dict[str, object] = {"name": network.name, "num_classes": network.num_classes}
    if network.name.startswith("srtg_"):  # the others have nothing that gates or placement could change
        own |= {"gates": network.gates, "placement": network.placement}
    differences = [f"{key} {facts[key]}, not {value}" for key, value in own.items() if facts[key] != value]
    if network.name and differences:
        raise NetworkError(f"the checkpoint is of another network: {'; '.join(differences)}")


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


def _row_order(checkpoint_classes: Sequence[str], network_classes: Sequence[str]) -> list[int] | None:
    """The row of each class of the network in the checkpoint's classifier; None if the classes are others.

    Names that went over a Mac may be in the other Unicode form.
    """
    old, new = list(checkpoint_classes), list(network_classes)
    if sorted(old) != sorted(new):
        old, new = list(map(composed, old)), list(map(composed, new))
        if sorted(old) != sorted(new) or len(set(old)) < len(old):
            return None
    return [old.index(name) for name in new]


def _check_class_count(state_dict: Mapping[str, Tensor], classes: Sequence[str]) -> None:
    for name in CLASSIFIER:
        if name in state_dict and state_dict[name].shape[:1] != (len(classes),):
            shape = shape_text(state_dict[name].shape)
            raise NetworkError(f"the checkpoint names {len(classes)} classes, but its {name} is of shape {shape}")


def _by_stage(names: Sequence[str]) -> Iterator[str]:
    """The first and last name of each stage (stem, layer1, ..., fc), for tables."""
    for _, group in groupby(names, key=lambda name: name.split(".")[0]):
        tensors = list(group)
        first, last = shown(tensors[0]), shown(tensors[-1])
        yield first if len(tensors) == 1 else f"{first} ... {last} ({len(tensors)} tensors)"


def _shortened(rows: Sequence[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """The first rows of each state. A file with thousands of other tensors would take minutes to print."""
    for state, group in groupby(rows, key=lambda row: row[0]):
        same = list(group)
        yield from same[:MOST_ROWS]
        if len(same) > MOST_ROWS:
            yield state, f"and {len(same) - MOST_ROWS} more rows", ""
