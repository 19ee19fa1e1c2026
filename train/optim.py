"""The optimisers, by name, with a learning rate for each group of parameters. A new one is one entry in OPTIMIZERS."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from common.options import option

Groups = list[dict[str, Any]]
KEPT = ("params", "lr", "lr_share")  # what a group has that is not of a flag


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


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict. The flags of the resumed run apply, but for each group's share of the rate, which is kept.

    Older versions called `lr_share` `lr_factor`.
    """
    flags = [{name: group[name] for name in group if name not in KEPT} for group in optimizer.param_groups]
    optimizer.load_state_dict(state)
    for group, values in zip(optimizer.param_groups, flags, strict=True):
        group.setdefault("lr_share", group.pop("lr_factor", None))
        group.update(values)
        if group.get("nesterov"):
            _create_momentum(optimizer, group["params"])
