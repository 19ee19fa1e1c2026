"""The optimiser: SGD with momentum 0.9, weight decay 1e-4, Nesterov, with a rate per parameter group."""

from collections.abc import Collection

import torch
from torch import nn

MOMENTUM = 0.9
WEIGHT_DECAY = 1e-4


def make_optimizer(network: nn.Module, loaded: Collection[str] = (), loaded_lr_factor: float = 1.0) -> torch.optim.SGD:
    """SGD over all parameters; those named in `loaded` learn at `loaded_lr_factor` times the rate of the others.

    Each group carries its factor as `lr_factor`; `set_lr` applies it.
    """
    names = [name for name, parameter in network.named_parameters() if parameter.requires_grad]
    parameters = dict(network.named_parameters())
    groups = [
        {"params": [parameters[name] for name in names if name not in loaded], "lr_factor": 1.0},
        {"params": [parameters[name] for name in names if name in loaded], "lr_factor": loaded_lr_factor},
    ]
    # Fused: one pass over the weights, and `found_inf` lets the device skip an update without the host waiting.
    optimizer = torch.optim.SGD(
        [group for group in groups if group["params"]],
        lr=0.0,
        momentum=MOMENTUM,
        weight_decay=WEIGHT_DECAY,
        nesterov=True,
        fused=True,
    )
    for parameter in parameters.values():
        # If the first update is skipped, the fused kernel leaves a momentum of its own making uninitialised. From zeros
        # the first real update is the same as SGD's own, which starts from the gradient.
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give each group `lr` times its own factor."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_factor"]
