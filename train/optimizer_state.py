"""The saved state of an optimiser: checked, and given to the parameters of the same names.

The groups of the run that is resumed may be others: rates, weight decay and what is frozen are those of its flags.
"""

from collections.abc import Collection, Mapping, Sequence
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import DataError
from network.weights.tensors import first_names, why_unusable
from train.optim import create_states

STATES = {torch.optim.SGD: ("momentum_buffer",), torch.optim.AdamW: ("step", "exp_avg", "exp_avg_sq")}
"""What each optimiser keeps for a parameter: tensors of its shape, and SCALARS."""
SCALARS = ("step",)


def share_of_loaded(state: Any) -> float | None:
    """The share of the rate that loaded parameters have in a state without names; None if it does not tell."""
    groups = _groups(state)
    if not groups or "names" in groups[-1]:
        return None
    share = _share(groups[-1])
    return share if isinstance(share, int | float) else None


def with_names(state: Any, names: Sequence[str], loaded: Collection[str]) -> Any:
    """A state with the names of its parameters. Older versions saved none: new parameters came before loaded ones.

    `names` are those of the network's parameters, `loaded` those that fine-tuning loaded. A state that is damaged is
    returned as it is.
    """
    groups = _groups(state)
    sizes = [group.get("params") for group in groups or ()]
    if groups is None or any("names" in group for group in groups) or not all(isinstance(each, list) for each in sizes):
        return state
    ordered = iter(sorted(names, key=lambda name: name in loaded))
    named = [{**group, "names": list(islice(ordered, len(group["params"])))} for group in groups]
    return {**state, "param_groups": named}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, state: Any, frozen: Collection[str] = (), steps: int | None = None
) -> None:
    """Load a state dict with names into an optimiser of `make_optimizer`. The flags of the resumed run apply.

    `frozen` are the parameters that did not learn when it was saved, after `steps` of the run. If they learn now, they
    begin without momentum; a state of parameters that are frozen now is dropped. DataError, and nothing is loaded, if
    the state is not of this optimiser with these parameters. A tensor gets the memory layout of its parameter: fused
    optimisers read both by position and check neither shape nor strides.
    """
    own = {
        name: parameter
        for group in optimizer.param_groups
        for name, parameter in zip(group["names"], group["params"], strict=True)
    }
    saved = _checked_state(optimizer, state, _checked_names(own, state), own, frozen)
    for name, kept in saved.items():
        _check_range(name, kept, steps)
    values = {number: saved[name] for number, name in enumerate(own) if name in saved and own[name].requires_grad}
    optimizer.load_state_dict({"state": values, "param_groups": optimizer.state_dict()["param_groups"]})
    for group, before in zip(optimizer.param_groups, _groups(state) or (), strict=False):
        # The next update sets it. A run that is resumed after its last one ends in the same state with it.
        if group["names"] == before["names"] and isinstance(before.get("lr"), float):
            group["lr"] = before["lr"]
    create_states(optimizer)


def _groups(state: Any) -> list[Mapping[str, Any]] | None:
    groups = state.get("param_groups") if isinstance(state, Mapping) else None
    is_list = isinstance(groups, list) and all(isinstance(group, Mapping) for group in groups)
    return groups if is_list else None


def _share(group: Mapping[str, Any]) -> Any:
    """A saved group's share of the learning rate; older versions called `lr_share` `lr_factor`."""
    return group.get("lr_share", group.get("lr_factor"))


def _checked_names(own: Collection[str], state: Any) -> list[str]:
    """The names of a saved state's parameters by their numbers, if they are the optimiser's own."""
    groups = _groups(state)
    if groups is None:
        raise DataError("the optimiser's state in the checkpoint has no groups of parameters")
    names: list[str] = []
    for group in groups:
        share, numbers, of_group = _share(group), group.get("params"), group.get("names")
        if not isinstance(share, int | float) or not 0 < share < float("inf"):
            raise DataError("a group of the optimiser's state in the checkpoint has no share of the learning rate")
        if (
            not isinstance(of_group, list)
            or not all(isinstance(name, str) for name in of_group)
            or numbers != list(range(len(names), len(names) + len(of_group)))
        ):
            raise DataError("the optimiser's state in the checkpoint is not numbered as its parameters are named")
        names += of_group
    if sorted(names) != sorted(own):
        raise DataError(
            f"the optimiser's state in the checkpoint is for other parameters ({len(names)}, here {len(own)})"
        )
    return names


def _checked_state(
    optimizer: torch.optim.Optimizer,
    state: Mapping[str, Any],
    names: Sequence[str],
    own: Mapping[str, nn.Parameter],
    frozen: Collection[str],
) -> dict[str, dict[str, Tensor]]:
    """The state of each parameter that has one, by name, if it has what the optimiser reads and no more."""
    saved = state.get("state")
    if not isinstance(saved, Mapping) or not all(type(key) is int and 0 <= key < len(names) for key in saved):
        raise DataError("the optimiser's state in the checkpoint is not numbered as the parameters are")
    expected = STATES.get(type(optimizer))
    checked = {}
    for number, values in saved.items():
        name = names[number]
        if not isinstance(values, Mapping):
            raise DataError(f"the optimiser's state of {name} in the checkpoint is no dict")
        kept = {key: value for key, value in values.items() if value is not None}  # plain SGD saves None
        if expected is not None and kept and set(kept) != set(expected):
            raise DataError(
                f"the checkpoint is of another optimiser: for each parameter it has {first_names(kept)}, and "
                f"{type(optimizer).__name__} needs {first_names(expected)}"
            )
        if kept:
            checked[name] = {
                key: _checked_tensor(f"{key} of {name}", value, own[name], key in SCALARS)
                for key, value in kept.items()
            }
    learned = [name for name in names if name not in frozen]
    filled = sum(name in checked for name in learned)
    # SGD with momentum has its buffers from the start; the others create their state in the first update.
    is_needed = filled > 0 or (type(optimizer) is torch.optim.SGD and _had_momentum(state))
    if expected is not None and is_needed and filled < len(learned):
        what = "momentum" if type(optimizer) is torch.optim.SGD else "optimiser's state"
        raise DataError(f"the checkpoint has the {what} of {filled} of {len(learned)} parameters")
    return checked


def _check_range(name: str, kept: Mapping[str, Tensor], steps: int | None) -> None:
    """DataError for a count of updates or a mean of squares that no optimiser has after so many steps."""
    count, squares = kept.get("step"), kept.get("exp_avg_sq")
    if count is not None and (float(count) < 0 or (steps is not None and float(count) > steps)):
        made = "" if steps is None else f", and the run has made {steps} steps"
        raise DataError(f"the optimiser's step of {name} in the checkpoint is {float(count):g}{made}")
    if squares is not None and squares.numel() and squares.min() < 0:
        raise DataError(f"the optimiser's exp_avg_sq of {name} in the checkpoint has negative values")


def _had_momentum(state: Mapping[str, Any]) -> bool:
    return any(group.get("momentum") for group in _groups(state) or ())


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
