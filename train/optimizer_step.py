"""The weight update: loss scaling, gradient clipping, and no update from a loss or gradient that is not finite."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import DataError
from common.ranks import Ranks
from train.optim import create_states, set_lr
from train.optimizer_state import load_optimizer_state


class OptimizerStep:
    """Updates the weights unless the loss or a gradient is not finite.

    With a fused optimiser the device decides and the host does not wait. With others the host decides, and waits for
    the device at each step.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        ranks: Ranks,
        precision: str,
        clip_grad: float,
    ) -> None:
        self.parameters = list(parameters)
        self.optimizer = optimizer
        self.ranks = ranks
        self.clip_grad = clip_grad
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.grad_norm = torch.zeros((), device=device)  # of the last update, before clipping
        self.is_skipped = torch.zeros((), dtype=torch.bool, device=device)  # whether the last update was
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)  # by the scaler, since `take_skipped`
        self.first_bad_step = torch.full((), -1, dtype=torch.int64, device=device)

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of a loss ()."""
        self.scaler.scale(loss).backward()

    def update(self, loss: Tensor, lr: float, global_step: int) -> None:
        """Update the weights and clear the gradients.

        After a step whose `loss` () on any rank, or whose gradient, is not finite, no update is made any more;
        `bad_step` gives that step. A gradient that overflows under the fp16 scaler skips only its own update.
        """
        is_bad = self.ranks.maximum((~torch.isfinite(loss)).float()) > 0
        set_lr(self.optimizer, lr)
        self.scaler.unscale_(self.optimizer)
        self.grad_norm = self._clip_gradients()
        overflows = ~torch.isfinite(self.grad_norm)  # the same on all ranks: their gradients are averaged already
        if self.scaler.is_enabled():
            self.skipped += overflows
        else:
            is_bad = is_bad | overflows
        bad_step = torch.where(is_bad, global_step, -1)
        self.first_bad_step = torch.where(self.first_bad_step < 0, bad_step, self.first_bad_step)
        self.is_skipped = overflows | (self.first_bad_step >= 0)
        self._step_unless(self.is_skipped)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def begin_learning(self) -> None:
        """To be called when parameters begin to learn: their momentum starts at zero."""
        create_states(self.optimizer)

    def bad_step(self) -> int | None:
        """The first step whose loss or gradient was not finite, if there was one; waits for the device."""
        step = int(self.first_bad_step)
        return step if step >= 0 else None

    def take_skipped(self) -> int:
        """Updates skipped by the fp16 scaler since the last call; waits for the device."""
        skipped = int(self.skipped)
        self.skipped.zero_()
        return skipped

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's and the scaler's state."""
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load a `state_dict`. A checkpoint also says what did not learn then (`frozen`), and the steps so far.

        A run in another precision starts with a new scaler. DataError, and nothing is loaded, if it is not of these
        parameters or has values that no run saves.
        """
        scaler = state["scaler"]
        if scaler and self.scaler.is_enabled():
            _check_scaler(scaler, self.scaler.state_dict())
        steps = state.get("progress", {}).get("global_step")
        load_optimizer_state(self.optimizer, state["optimizer"], state.get("frozen", ()), steps)
        if scaler and self.scaler.is_enabled():
            self.scaler.load_state_dict(scaler)

    def _step_unless(self, is_skipped: Tensor) -> None:
        """Update the weights unless `is_skipped` (). GradScaler.step would only check for overflows."""
        if self.optimizer.defaults.get("fused"):
            self.optimizer.found_inf = is_skipped.float()  # type: ignore[attr-defined]
            self.optimizer.step()
        elif not is_skipped:
            self.optimizer.step()

    def _clip_gradients(self) -> Tensor:
        with_gradient = [parameter for parameter in self.parameters if parameter.grad is not None]
        if self.clip_grad:
            return nn.utils.clip_grad_norm_(with_gradient, self.clip_grad)
        return nn.utils.get_total_norm([parameter.grad for parameter in with_gradient if parameter.grad is not None])


def _check_scaler(saved: Any, own: dict[str, Any]) -> None:
    """DataError if a scaler's saved state lacks a number or has one that the scaler cannot have had."""
    for name in own:
        value = saved.get(name) if isinstance(saved, Mapping) else None
        least = 0 if name == "_growth_tracker" else 1e-300
        if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value < math.inf:
            raise DataError(f"the scaler's {name.strip('_')} in the checkpoint is missing or impossible")
