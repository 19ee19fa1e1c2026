"""The moving average of a network's weights over the updates, which a run with --ema validates."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common.errors import DataError, NetworkError
from common.options import option
from network import VideoNetwork
from network.sub_batch_norm import set_num_splits
from network.weights.loading import load_weights
from network.weights.tensors import COUNTER, check_tensors, not_plain
from train.norm_statistics import norms_of, statistics_of

SLOW_START = 10
"""The average is warmed up: of update n, from 0, the decay is at most (1 + n) / (SLOW_START + n)."""


@dataclass(frozen=True)
class AveragingOptions:
    """The flags of the average."""

    ema: float = option(
        0.0, "validate, and use from the checkpoints, an exponential moving average of the weights with this decay, "
        "such as 0.9999; 0: none", "optimisation", minimum=0, below=1, is_compared=True,
    )  # fmt: skip


class WeightAverage:
    """A network whose parameters and batch-norm statistics follow those of another by an exponential moving average.

    After update n, from 0, each value moves by 1 - min(decay, (1 + n) / (10 + n)) of its distance to the network's.
    Statistics of sub-batches are aggregated first. Other buffers are copied. The host does not wait for the device.
    """

    def __init__(self, network: VideoNetwork, decay: float) -> None:
        self.network: VideoNetwork = copy.deepcopy(network).eval().requires_grad_(False)
        set_num_splits(self.network, 1)
        self.followed, self.decay = network, decay
        device = next(network.parameters()).device
        self.updates = torch.zeros((), dtype=torch.int64, device=device)
        self.rate = torch.zeros((), device=device)
        # One pass over the weights that the device can skip, at a rate that it knows: with a weight decay of 1, the
        # gradient -w moves the average a by -rate * (a - w).
        parameters = list(self.network.parameters())
        self.mover = torch.optim.SGD(parameters, lr=self.rate, weight_decay=1.0, maximize=True, fused=True)
        for average, parameter in zip(parameters, network.parameters(), strict=True):
            average.grad = parameter.detach()
        self._join_statistics()

    @torch.no_grad()
    def update(self, is_skipped: Tensor) -> None:
        """Follow an update of the network's weights, unless `is_skipped` () says that there was none."""
        self.rate.copy_(((SLOW_START - 1) / (SLOW_START + self.updates)).clamp(min=1 - self.decay))
        self.mover.found_inf = is_skipped.float()  # type: ignore[attr-defined]  # see OptimizerStep
        self.mover.step()
        self.statistics.copy_(
            torch.where(is_skipped, self.statistics, self.statistics.lerp(statistics_of(self.followed), self.rate))
        )
        self.updates += ~is_skipped

    def state_dict(self) -> dict[str, Any]:
        """The state that a checkpoint keeps."""
        self._copy_others()
        return {"updates": self.updates, "weights": self.network.state_dict()}

    def load_state_dict(self, state: Any, steps: int | None = None) -> None:
        """Load a `state_dict` that was saved after `steps`, together with the weights that the followed network has.

        DataError if it is not of this network, or has values that no run saves.
        """
        updates = state.get("updates") if isinstance(state, Mapping) else None
        if not isinstance(updates, Tensor) or not _is_count(updates):
            raise DataError("its field `ema` does not say how many updates it averages")
        if steps is not None and int(updates) > steps:
            raise DataError(f"its field `ema` averages {int(updates)} updates, and the run has made {steps} steps")
        try:
            weights = check_tensors(state.get("weights"))
            self._check_counters(weights)
            report = load_weights(self.network, weights, strict=True)
        except NetworkError as error:
            raise DataError(f"its field `ema` is not of this network ({error})") from error
        if report.converted:
            raise DataError(f"its field `ema` has {report.converted[0]} in another precision than a run saves")
        self.updates.copy_(updates)

    def _check_counters(self, weights: Mapping[str, Tensor]) -> None:
        """DataError unless batch norm's counts of steps are those of the followed network, as `state_dict` has them."""
        for name, tensor in self.followed.state_dict().items():
            if name.endswith(COUNTER) and name in weights and not torch.equal(weights[name].cpu(), tensor.cpu()):
                raise DataError(
                    f"its field `ema` is not of these weights: its {name} differs from theirs, as in the average of "
                    "another run"
                )

    def _join_statistics(self) -> None:
        """Let the running statistics be parts of one vector, so that an update does not take operations for each."""
        self.statistics = statistics_of(self.network)
        norms = norms_of(self.network).values()
        sizes = [norm.num_features for norm in norms]
        means, variances = self.statistics.chunk(2)
        for norm, mean, variance in zip(norms, means.split(sizes), variances.split(sizes), strict=True):
            norm.running_mean, norm.running_var = mean, variance

    @torch.no_grad()
    def _copy_others(self) -> None:
        """Copy the buffers of the state dict that are no statistics: batch norm's counts of steps."""
        own, followed = self.network.state_dict(), self.followed.state_dict()
        averaged = {name for name, _ in self.network.named_parameters()}
        for name, tensor in own.items():
            if name not in averaged and not name.endswith(("running_mean", "running_var")):
                tensor.copy_(followed[name])


def make_average(network: VideoNetwork, options: AveragingOptions) -> WeightAverage | None:
    """The average of a network's weights that the flags ask for; it starts as the network is."""
    return WeightAverage(network, options.ema) if options.ema else None


def _is_count(value: Tensor) -> bool:
    return not not_plain(value) and value.dtype == torch.int64 and not value.shape and int(value) >= 0
