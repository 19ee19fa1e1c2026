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

    Those of sub-batches are aggregated, as SubBatchNorm3d does it.
    """
    norms = norms_of(network).values()
    if not norms:
        return torch.zeros(0, device=next(network.parameters()).device)
    of_splits = [norm for norm in norms if isinstance(norm, SubBatchNorm3d) and norm.split_mean is not None]
    if not of_splits:
        return torch.cat([*means_of(norms), *variances_of(norms)])
    assert len(of_splits) == len(norms), "some batch norms have sub-batches and others none"
    means = torch.cat([norm.split_mean for norm in of_splits if norm.split_mean is not None], dim=1)
    variances = torch.cat([norm.split_var for norm in of_splits if norm.split_var is not None], dim=1)
    mean = means.mean(0)
    return torch.cat([mean, variances.mean(0) + (means - mean).square().mean(0)])
