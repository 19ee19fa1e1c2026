"""Precise batch norm: before a validation, batch-norm statistics are estimated anew from training batches.

Running statistics are an average over the last steps, in which the weights changed; with multigrid also over other
shapes. Wu & Johnson 2021 ("Rethinking 'Batch' in BatchNorm", arXiv 2105.07576) let the weights to be validated see N
batches, and take the statistics of all of them together.
"""

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.options import option
from common.precision import autocast
from common.ranks import Ranks
from network import VideoNetwork
from network.sub_batch_norm import SubBatchNorm3d, aggregate_statistics, set_num_splits
from train.norm_statistics import means_of, norms_of, variances_of
from train.schedule.plan import Plan


@dataclass(frozen=True)
class PreciseNormOptions:
    """The flags of precise batch norm."""

    precise_bn: int = option(
        0, "before each validation, estimate the statistics of batch norm from N training batches at the full shape, "
        "or from all that the videos fill if these are fewer (PySlowFast takes 200); 0: use the running ones",
        "optimisation", minimum=0, is_compared=True,
    )  # fmt: skip


def batches_for_statistics(wanted: int, plan: Plan) -> int:
    """The batches that statistics are estimated from: at most one pass over the videos, which says what there is."""
    return min(wanted, max(1, plan.num_videos // plan.full_spec.batch_size))


class PreciseNorm:
    """A network with the parameters of another, the same objects, and with statistics of its own, which are estimated.

    Nothing of the other one changes: neither statistics, nor mode, nor what CUDA graphs know of it. `trained` is the
    network in training: norms that do not learn there, as they are frozen, keep the statistics that they have.
    """

    def __init__(self, network: VideoNetwork, trained: VideoNetwork, precision: str) -> None:
        self.source, self.trained, self.precision = network, trained, precision
        shared = {id(parameter): parameter for parameter in network.parameters()}
        self.network: VideoNetwork = copy.deepcopy(network, shared).eval()
        set_num_splits(self.network, 1)

    @torch.no_grad()
    def estimate(self, batches: Iterable[Tensor], ranks: Ranks) -> dict[str, Tensor]:
        """Set the statistics to those of normalised clips (B, 3, T, h, w), equally many in each batch of all ranks.

        Returns them by their names in the state dict. In each batch, norms normalise with its statistics, as in
        training; all other layers compute as in evaluation. Mean and variance of a channel are those of all clips
        together: the mean of the batches' means; the mean of their variances and of their squared means, less the
        square of that mean. All ranks must call it, with as many batches.
        """
        named = self._learning()
        norms = list(named.values())
        if not norms:
            return {}
        device = norms[0].weight.device
        sums = torch.zeros(2, sum(norm.num_features for norm in norms), dtype=torch.float64, device=device)
        shares = torch.empty(0, device=device)  # of a channel's unbiased variance: the biased one
        count = 0
        with _taking_batches(norms):
            for clips in batches:
                for statistic in (*means_of(norms), *variances_of(norms)):
                    statistic.zero_()
                sizes = self._run(clips, norms, is_first=count == 0)
                shares = shares if sizes is None else sizes
                mean = torch.cat(means_of(norms)).double()
                variance = torch.cat(variances_of(norms)) * shares
                sums += torch.stack([mean, variance + mean.square()])
                count += 1
        mean, square = ranks.sum(sums) / (count * ranks.world_size)
        variance = (square - mean.square()).clamp(min=0)
        channels = [norm.num_features for norm in norms]
        values = (*mean.split(channels), *variance.split(channels))
        for statistic, value in zip((*means_of(norms), *variances_of(norms)), values, strict=True):
            statistic.copy_(value)
        return {
            f"{name}.{part}": getattr(norm, part)
            for name, norm in named.items()
            for part in ("running_mean", "running_var")
        }

    def _learning(self) -> dict[str, nn.BatchNorm3d]:
        """The norms to estimate, by name; those that are frozen get the statistics of the network they are from."""
        aggregate_statistics(self.source)
        own, sources, trained = norms_of(self.network), norms_of(self.source), norms_of(self.trained)
        frozen = [name for name in own if not trained[name].training]
        for norm, source in ((own[name], sources[name]) for name in frozen):
            for statistic, value in zip(_both(norm), _both(source), strict=True):
                statistic.copy_(value)
        return {name: norm for name, norm in own.items() if name not in frozen}

    def _run(self, clips: Tensor, norms: list[nn.BatchNorm3d], is_first: bool) -> Tensor | None:
        """A forward pass. The first returns, for each channel, (n - 1) / n of the n values of a batch.

        Only there are hooks, with which norms do not use their fused form.
        """
        sizes: dict[nn.Module, int] = {}

        def note(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sizes[norm] = inputs[0].numel() // inputs[0].shape[1]

        hooks = [norm.register_forward_pre_hook(note) for norm in norms] if is_first else []
        try:
            with autocast(clips.device, self.precision):
                self.network(clips)
        finally:
            for hook in hooks:
                hook.remove()
        if not is_first:
            return None
        shares = [1 - 1 / (sizes[norm] * _ranks_of(norm)) for norm in norms]
        repeats = torch.tensor([norm.num_features for norm in norms])
        return torch.tensor(shares, dtype=torch.float64).repeat_interleave(repeats).to(clips.device)


def _both(norm: nn.BatchNorm3d) -> list[Tensor]:
    return [*means_of([norm]), *variances_of([norm])]


def _ranks_of(norm: nn.BatchNorm3d) -> int:
    """The ranks whose clips a norm normalises together."""
    is_synchronised = isinstance(norm, SubBatchNorm3d) and norm.synchronise and dist.is_initialized()
    return dist.get_world_size() if is_synchronised else 1


@contextmanager
def _taking_batches(norms: list[nn.BatchNorm3d]) -> Iterator[None]:
    """Within it, the running statistics become those of the last batch: mean, and unbiased variance."""
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.eval()


def make_precise_norm(
    network: VideoNetwork, trained: VideoNetwork, options: PreciseNormOptions, precision: str
) -> PreciseNorm | None:
    """The estimate for a network to be validated that the flags ask for; `trained` is the one in training."""
    return PreciseNorm(network, trained, precision) if options.precise_bn else None
