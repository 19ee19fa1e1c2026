"""The optimisers, by name, with a learning rate for each group of parameters. A new one is one entry in OPTIMIZERS.

What becomes of their state on resume is in optimizer_state.py.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import nn

from common.options import option
from train.parameter_groups import Groups, make_groups


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
    create_states(optimizer)
    return optimizer


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
    decay_norms: bool = option(
        True, "False: no weight decay of batch norm's weights and of all biases, those of the LSTMs too",
        "optimisation", is_compared=True,
    )  # fmt: skip
    loaded_lr_factor: float = option(
        0.1, "with --fine-tune, loaded weights but for the classifier's learn at this share of the learning rate",
        "optimisation", above=0, is_compared=True,
    )  # fmt: skip
    layer_decay: float = option(
        1.0, "each part of the network learns at X of the rate of the next: the classifier at the full rate, layer4 at "
        "X, ..., the stem at X^5; --loaded-lr-factor also applies", "optimisation", above=0, is_compared=True,
    )  # fmt: skip


def make_optimizer(
    network: nn.Module, options: OptimizerOptions, loaded: Collection[str] = ()
) -> torch.optim.Optimizer:
    """The optimiser of all parameters; those named in `loaded` learn at `loaded_lr_factor` of the rate.

    Each group holds its share of the rate as `lr_share`, which `set_lr` applies, and the `names` of its parameters.
    Frozen parameters are in the groups, but without a state, until `create_states` finds that they learn.
    """
    groups = make_groups(network, loaded, options.loaded_lr_factor, options.layer_decay, options.decay_norms)
    return OPTIMIZERS[options.optimizer](groups, options)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group its share of `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_share"]


def create_states(optimizer: torch.optim.Optimizer) -> None:
    """Create the missing states of the parameters that learn, as zeros: their next update is a first one.

    Fused SGD would leave a momentum buffer that it creates uninitialised if the first update is skipped. AdamW creates
    all states itself in the first update of the run; those of parameters that begin to learn later are created here, so
    that a checkpoint before their first update has the states of all that learn.
    """
    has_begun = any(optimizer.state.values())
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if not parameter.requires_grad:
                continue
            if isinstance(optimizer, torch.optim.SGD) and group["momentum"]:
                if optimizer.state[parameter].get("momentum_buffer") is None:
                    optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
            elif isinstance(optimizer, torch.optim.AdamW) and has_begun and not optimizer.state[parameter]:
                optimizer.state[parameter] |= {
                    "step": torch.zeros((), device=parameter.device),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
