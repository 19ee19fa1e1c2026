"""The running statistics of all batch norms of a network."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from network.sub_batch_norm import SubBatchNorm3d


def norms_of(network: nn.Module) -> dict[str, nn.BatchNorm3d]:
    """The batch norms that have running statistics, by name."""
    return {
        name: module
        for name, module in network.named_modules()
        if isinstance(module, nn.BatchNorm3d) and module.running_mean is not None
    }


def means_of(norms: Iterable[nn.BatchNorm3d]) -> list[Tensor]:
    """The running means, (C) each."""
    return [norm.running_mean for norm in norms if norm.running_mean is not None]


def variances_of(norms: Iterable[nn.BatchNorm3d]) -> list[Tensor]:
    """The running variances, (C) each."""
    return [norm.running_var for norm in norms if norm.running_var is not None]


def statistics_of(network: nn.Module) -> Tensor:
    """The means of all batch norms (all channels), then their variances: a new vector, by few operations.

    Those of sub-batches are aggregated, as SubBatchNorm3d does it; fixed ones are as they are.
    """
    norms = norms_of(network).values()
    if not norms:
        return torch.zeros(0, device=next(network.parameters()).device)
    of_splits = [
        norm for norm in norms if isinstance(norm, SubBatchNorm3d) and norm.split_mean is not None and not norm.is_fixed
    ]
    if not of_splits:
        return torch.cat([*means_of(norms), *variances_of(norms)])
    if len(of_splits) < len(norms):
        pairs = [_aggregated(norm) for norm in norms]
        return torch.cat([*(mean for mean, _ in pairs), *(variance for _, variance in pairs)])
    means = torch.cat([norm.split_mean for norm in of_splits if norm.split_mean is not None], dim=1)
    variances = torch.cat([norm.split_var for norm in of_splits if norm.split_var is not None], dim=1)
    mean = means.mean(0)
    return torch.cat([mean, variances.mean(0) + (means - mean).square().mean(0)])


def _aggregated(norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """The mean and the variance, (C) each, of one batch norm."""
    assert norm.running_mean is not None and norm.running_var is not None
    if not isinstance(norm, SubBatchNorm3d) or norm.is_fixed or norm.split_mean is None or norm.split_var is None:
        return norm.running_mean, norm.running_var
    mean = norm.split_mean.mean(0)
    return mean, norm.split_var.mean(0) + (norm.split_mean - mean).square().mean(0)
