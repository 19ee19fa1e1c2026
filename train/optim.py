"""The optimisers, by name, with a learning rate for each group of parameters. A new one is one entry in OPTIMIZERS."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.options import option
from network.weights.tensors import first_names, why_unusable

Groups = list[dict[str, Any]]
KEPT = ("params", "lr", "lr_share")  # what a group has that is not of a flag
STATES = {torch.optim.SGD: ("momentum_buffer",), torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq")}
"""What each optimiser keeps for a parameter: tensors of its shape, and SCALARS."""
SCALARS = ("step",)


def _sgd(groups: Groups, options: "OptimizerOptions") -> torch.optim.Optimizer:
    """SGD with Nesterov momentum (plain SGD if the momentum is 0); weight decay is added to the gradient."""
    optimizer = torch.optim.SGD(
        groups,
        lr=0.0,
        momentum=options.momentum,
        weight_decay=options.weight_decay,
        nesterov=options.momentum > 0,
        fused=True,
    )
    for group in optimizer.param_groups if options.momentum else ():
        _create_momentum(optimizer, group["params"])
    return optimizer


def _create_momentum(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter]) -> None:
    """Create missing momentum buffers as zeros: the first update then uses the gradient, as SGD's own does.

    Fused SGD would leave a buffer that it creates uninitialised if the first update is skipped.
    """
    for parameter in parameters:
        state = optimizer.state[parameter]
        if state.get("momentum_buffer") is None:
            state["momentum_buffer"] = torch.zeros_like(parameter)


def _adamw(groups: Groups, options: "OptimizerOptions") -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101): decoupled weight decay, second beta 0.999."""
    betas = (options.momentum, 0.999)
    return torch.optim.AdamW(groups, lr=0.0, betas=betas, weight_decay=options.weight_decay, fused=True)


OPTIMIZERS: dict[str, Callable[[Groups, "OptimizerOptions"], torch.optim.Optimizer]] = {
    "sgd": _sgd,
    "adamw": _adamw,
}
"""Builders by name. A fused optimiser lets the device skip an update; for others OptimizerStep waits for the device."""


@dataclass(frozen=True)
class OptimizerOptions:
    """The flags of the optimiser."""

    optimizer: str = option(
        "sgd",
        "optimiser; adamw needs a smaller --lr-base, such as 0.001",
        "optimisation",
        choices=OPTIMIZERS,
        is_fixed=True,
    )
    momentum: float = option(
        0.9, "momentum of sgd; first beta of adamw", "optimisation", minimum=0, below=1, is_compared=True
    )
    weight_decay: float = option(
        1e-4, "weight decay; adamw usually needs more, such as 0.05", "optimisation", minimum=0, is_compared=True
    )
    clip_grad: float = option(
        0.0, "clip the norm of the gradient to X; 0: no clipping", "optimisation", minimum=0, is_compared=True
    )
    loaded_lr_factor: float = option(
        0.1, "with --fine-tune, loaded weights learn at this share of the learning rate", "optimisation", above=0
    )


def make_optimizer(
    network: nn.Module, options: OptimizerOptions, loaded: Collection[str] = ()
) -> torch.optim.Optimizer:
    """The optimiser of all trainable parameters; those named in `loaded` learn at `loaded_lr_factor` of the rate.

    Each group holds its share of the rate as `lr_share`; `set_lr` applies it.
    """
    parameters = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    groups = [
        {"params": [parameters[name] for name in parameters if name not in loaded], "lr_share": 1.0},
        {
            "params": [parameters[name] for name in parameters if name in loaded],
            "lr_share": options.loaded_lr_factor,
        },
    ]
    return OPTIMIZERS[options.optimizer]([group for group in groups if group["params"]], options)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_share"]


def share_of_loaded(state: Any) -> float | None:
    """The share of the learning rate that loaded parameters have in a saved state; None if it does not tell."""
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    if not isinstance(groups, list) or not groups or not isinstance(groups[-1], Mapping):
        return None
    share = _share(groups[-1])
    return share if isinstance(share, int | float) else None


def _share(group: Mapping[str, Any]) -> Any:
    """A saved group's share of the learning rate; older versions called `lr_share` `lr_factor`."""
    return group.get("lr_share", group.get("lr_factor"))


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict. The flags of the resumed run apply, but for each group's share of the rate, which is kept.

    DataError, and nothing is loaded, if the state is not of this optimiser with these parameters. A tensor gets the
    memory layout of its parameter: fused optimisers read both by position and check neither shape nor strides.
    """
    state = {"state": _checked_state(optimizer, state), "param_groups": _checked_groups(optimizer, state)}
    flags = [{name: group[name] for name in group if name not in KEPT} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, flags, strict=True):
        group.update(values)
        if group.get("nesterov"):
            _create_momentum(optimizer, group["params"])


def _checked_groups(optimizer: torch.optim.Optimizer, state: Any) -> Groups:
    """The groups of a saved state, if they have the optimiser's parameters in its order."""
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    own = optimizer.state_dict()["param_groups"]
    if not isinstance(groups, list) or not all(isinstance(group, Mapping) for group in groups):
        raise DataError("the optimiser's state in the checkpoint has no groups of parameters")
    sizes, own_sizes = [[group.get("params") for group in some] for some in (groups, own)]
    if sizes != own_sizes:
        counts, own_counts = [
            [len(params) if isinstance(params, list) else "no" for params in some] for some in (sizes, own_sizes)
        ]
        raise DataError(
            f"the optimiser's state in the checkpoint is for other parameters (groups of {counts}, here {own_counts})"
        )
    checked = []
    for group in groups:
        share = _share(group)
        if not isinstance(share, int | float) or not 0 < share < float("inf"):
            raise DataError("a group of the optimiser's state in the checkpoint has no share of the learning rate")
        checked.append({name: value for name, value in group.items() if name != "lr_factor"} | {"lr_share": share})
    return checked


def _checked_state(optimizer: torch.optim.Optimizer, state: Any) -> dict[int, dict[str, Tensor]]:
    """The state of each parameter, by the parameter's number, if it has what the optimiser reads and no more."""
    saved = state.get("state") if isinstance(state, Mapping) else None
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if not isinstance(saved, Mapping) or not all(type(key) is int and 0 <= key < len(parameters) for key in saved):
        raise DataError("the optimiser's state in the checkpoint is not numbered as the parameters are")
    names = STATES.get(type(optimizer))
    checked = {}
    for number, values in saved.items():
        if not isinstance(values, Mapping):
            raise DataError(f"the optimiser's state of parameter {number} in the checkpoint is no dict")
        kept = {name: value for name, value in values.items() if value is not None}  # plain SGD saves None
        if names is not None and kept and set(kept) != set(names):
            raise DataError(
                f"the checkpoint is of another optimiser: for each parameter it has {first_names(kept)}, and "
                f"{type(optimizer).__name__} needs {first_names(names)}"
            )
        checked[number] = {
            name: _checked_tensor(f"{name} of parameter {number}", value, parameters[number], name in SCALARS)
            for name, value in kept.items()
        }
    filled = sum(map(bool, checked.values()))
    # SGD with momentum has its buffers from the start; the others create their state in the first update.
    if type(optimizer) is torch.optim.SGD and filled < len(parameters) and _had_momentum(state):
        raise DataError(f"the checkpoint has the momentum of {filled} of {len(parameters)} parameters")
    if names is not None and 0 < filled < len(parameters):
        raise DataError(f"the checkpoint has the optimiser's state of {filled} of {len(parameters)} parameters")
    return checked


def _had_momentum(state: Mapping[str, Any]) -> bool:
    groups = state.get("param_groups")
    return isinstance(groups, list) and any(isinstance(group, Mapping) and group.get("momentum") for group in groups)


def _checked_tensor(what: str, value: Any, parameter: nn.Parameter, is_scalar: bool) -> Tensor:
    """The tensor, laid out as its parameter if it has its shape."""
    shape = torch.Size() if is_scalar else parameter.shape
    if reason := why_unusable(value, shape):
        raise DataError(f"the optimiser's {what} in the checkpoint {reason}")
    if value.dtype != parameter.dtype:
        raise DataError(f"the optimiser's {what} in the checkpoint is of {value.dtype}, not of {parameter.dtype}")
    if is_scalar:
        return value
    return torch.empty_like(parameter, device="cpu", requires_grad=False).copy_(value)
