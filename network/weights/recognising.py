"""What a checkpoint holds and whose it is: this project's, the paper's, another project's, or a plain state dict.

Parameter names of other projects are translated to the names used here (csn_names.py, resnet_names.py). Their networks
also compute something else than the paper's, so each is a separate network in the registry (tv_*, resnet3d_*, *_csn_*).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from common.errors import NetworkError
from common.normalisation import NORMALISATIONS
from network.registry import create_network, network_names
from network.weights.csn_names import doubt_of_ip_csn, mmaction, pytorchvideo, vmz
from network.weights.facts import KEYS, LATER, saved_facts, shown
from network.weights.published import PublishedWeights
from network.weights.resnet_names import hara, torchvision
from network.weights.tensors import check_tensors, first_names, rows, shape_text

WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "ema")
"""Keys under which tools save the state dict in a checkpoint."""

DEEPEST = 5
"""Wrappers around each other that are opened."""

PREFIXES = ("module.", "_orig_mod.", "model.", "network.", "net.", "backbone.", "encoder.")
"""What DataParallel, DistributedDataParallel, torch.compile, and modules that have a network as a part, put before each
name. No network here has a part of these names."""


PAPER_MODULE = "avgpool"
"""A part of the networks published with the paper that no network of this project has. It has no tensors."""
PAPER_DOUBT = (
    "the weights are taken for those of the networks published with the paper, which were trained on BGR frames, as "
    "they are under `state_dict` with `module.` names: the stem's input channels were reversed. If they are of a "
    "network of this project, save the state dict of the network itself, without `module.` names "
    "(network.module.state_dict())"
)
"""Said of weights in the paper's form without the modules' names, which would tell whose they are."""


def network_facts(checkpoint: Mapping[str, Any], name: str = "") -> dict[str, Any]:
    """The arguments of `create_network` for a checkpoint, which are all that `saved_facts` has but the classes.

    `name` is the network of a checkpoint of another project that does not name it. NetworkError if the network or the
    number of classes remains unknown, or if a checkpoint of this project is of another network than `name`.
    """
    facts = saved_facts(checkpoint)
    if facts:
        if name and name != facts["name"]:
            raise NetworkError(f"the checkpoint is of {facts['name']}, not of {name}: leave --network out")
        own = {key: facts[key] for key in (*KEYS, *LATER)}
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
    found |= {"normalisation": weights.normalisation, "eps": weights.eps}
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
    checkpoint looks like one of theirs; `doubt` says so where the modules' names, which PyTorch saves with a state
    dict, are not there to tell. NetworkError if there is no state dict, or no network here for it.
    """
    wrapper, tensors, modules = _unwrap(checkpoint)
    state_dict = _without_prefixes(tensors)
    weights = _translate(state_dict, modules, checkpoint)
    if weights is None:
        # The paper's files keep the state dict under "state_dict" and were saved from DataParallel. Others have one of
        # both: torch.save({"state_dict": ...}) of any project, or a network in DistributedDataParallel. A script that
        # saves a network of this project may do both: only the modules' names, if they are there, tell it.
        # The paper's have no further prefix, such as that of torch.compile within DistributedDataParallel.
        prefixes = _prefixes(tensors)
        signs = (wrapper == "state_dict", "module." in prefixes)
        is_others = bool(prefixes - {"", "module."}) or _are_this_projects(modules)
        weights = _untranslated(state_dict, all(signs) and not is_others, any(signs) and not is_others)
        is_doubtful = weights.is_paper and PAPER_MODULE not in modules and bgr is None
        weights = replace(weights, doubt=PAPER_DOUBT if is_doubtful else doubt_of_ip_csn(state_dict, modules))
    weights = replace(weights, origin=weights.origin + _about(wrapper, tensors))
    is_bgr = weights.is_paper if bgr is None else bgr
    return _for_rgb(weights) if is_bgr else weights


def plain_state_dict(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state dict in a checkpoint of another project, without wrappers and prefixes, under its own names."""
    return _without_prefixes(_unwrap(checkpoint)[1])


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
    others = [key for key, value in checkpoint.items() if isinstance(value, Mapping) and _has_tensors(value)]
    where = f"; the tensors under {first_names(others)} are not taken: save those that you want alone" if others else ""
    raise NetworkError(
        f"the checkpoint has no weights: its keys are {first_names(checkpoint)}{where}; expected a state dict, or one "
        f"under the key {', '.join(WRAPPERS)}"
    )


def _has_tensors(value: Mapping[Any, Any]) -> bool:
    return any(isinstance(part, Tensor) for part in value.values())


def _state_dict(key: str, found: Mapping[Any, Any]) -> tuple[str, dict[str, Tensor], list[str]]:
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    check_tensors(tensors)
    metadata = getattr(found, "_metadata", None)  # of torch: facts of each module, by its path
    paths = metadata if isinstance(metadata, Mapping) else ()
    return key, tensors, [_strip(path) for path in paths if isinstance(path, str)]


def _without_prefixes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stripped = {_strip(name): tensor for name, tensor in tensors.items()}
    if len(stripped) < len(tensors):
        raise NetworkError(f"the checkpoint has a tensor twice, with and without the prefix {' or '.join(PREFIXES)}")
    return stripped


def _strip(name: str) -> str:
    """A tensor's name without the prefixes of wrappers."""
    start = 0
    while name.startswith(PREFIXES, start):
        start = name.index(".", start) + 1
    return name[start:]


def _prefixes(tensors: Mapping[str, Tensor]) -> set[str]:
    """What tools have put before the tensors' names; "" for a name that has nothing before it."""
    return {name[: len(name) - len(_strip(name))] for name in tensors}


def _about(wrapper: str, tensors: Mapping[str, Tensor]) -> str:
    """What was removed from around a state dict and its names, for the user."""
    prefixes = sorted(_prefixes(tensors) - {""})
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


def _are_this_projects(modules: Collection[str]) -> bool:
    """Whether modules of these paths are of a network of this project."""
    return "max_pool" in modules and PAPER_MODULE not in modules


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
        normalisation=NORMALISATIONS["srtg-original"],
        is_known=True,
    )


def _translate(
    state_dict: dict[str, Tensor], modules: Collection[str], checkpoint: Mapping[str, Any]
) -> PublishedWeights | None:
    """Recognise the networks of other projects by the names and shapes of their tensors; None for others.

    `modules` are the paths of the modules that the state dict was taken from, empty if unknown. NetworkError for one of
    their networks that has no counterpart here.
    """
    return (
        hara(state_dict)
        or pytorchvideo(state_dict, modules)
        or mmaction(state_dict, checkpoint)
        or vmz(state_dict, modules)
        or torchvision(state_dict, modules)
    )
