"""Precise batch norm: statistics of several batches together, in a network of its own."""

import copy

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from common.ranks import Ranks
from network.resnet3d import Recursion
from network.sub_batch_norm import set_num_splits, use_sub_batch_norm
from tests.tiny_network import TinyNetwork
from train.averaging import WeightAverage
from train.precise_norm import PreciseNorm

ALONE = Ranks(0, 0, 1)


def network_of(splits=1):
    torch.manual_seed(0)
    network = TinyNetwork(3, Recursion(True, "final"))
    use_sub_batch_norm(network)
    set_num_splits(network, splits)
    network(torch.randn(8, 3, 4, 16, 16))
    return network


def batches_of(count=3):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(4, 3, 4, 32, 32, generator=generator) + number for number in range(count)]


def by_hand(network, batches):
    """Mean and variance of each channel over all batches, each of which is normalised with its own."""
    plain = TinyNetwork(3, Recursion(True, "final"))
    plain.load_state_dict(network.state_dict())
    seen: dict[str, list[torch.Tensor]] = {}
    for name, module in plain.named_modules():
        if isinstance(module, nn.BatchNorm3d):
            seen[name] = []
            module.register_forward_pre_hook(lambda _, inputs, name=name: seen[name].append(inputs[0].double()))
    with torch.no_grad():
        for clips in batches:
            plain(clips)
    return {name: torch.cat(inputs).transpose(0, 1).flatten(1) for name, inputs in seen.items()}


@pytest.mark.parametrize("splits", [1, 4])
def test_the_statistics_are_those_of_all_clips_together(splits):
    """The mean of the batches' variances alone lacks what differs between them."""
    network = network_of(splits)
    precise = PreciseNorm(network, network, "fp32")
    found = precise.estimate(iter(batches_of()), ALONE)
    expected = by_hand(network, batches_of())
    assert len(found) == 2 * len(expected)
    for name, channels in expected.items():
        assert torch.allclose(found[f"{name}.running_mean"].double(), channels.mean(1), atol=1e-5), name
        variance = channels.var(1, correction=0)
        assert torch.allclose(found[f"{name}.running_var"].double(), variance, rtol=1e-5), name
        assert torch.equal(precise.network.get_buffer(f"{name}.running_var"), found[f"{name}.running_var"])
    assert not any(module.training for module in precise.network.modules())


def test_a_second_estimate_forgets_the_first():
    """Each validation would depend on those before."""
    network = network_of()
    precise = PreciseNorm(network, network, "fp32")
    first = {name: value.clone() for name, value in precise.estimate(iter(batches_of()), ALONE).items()}
    precise.estimate(iter(batches_of(1)), ALONE)
    again = precise.estimate(iter(batches_of()), ALONE)
    assert all(torch.equal(again[name], value) for name, value in first.items())


def test_the_network_in_training_is_not_touched():
    """The run's own statistics resume as if there was no precise batch norm, and CUDA graphs know its addresses."""
    network = network_of(4)
    state = copy.deepcopy(dict(network.named_buffers()))
    tensors = [*network.parameters(), *network.buffers()]
    addresses = [tensor.data_ptr() for tensor in tensors]
    precise = PreciseNorm(network, network, "fp32")
    precise.estimate(iter(batches_of()), ALONE)
    assert [tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())] == addresses
    aggregated = (".running_mean", ".running_var")  # of the sub-batches, whenever the weights are saved
    for name, buffer in network.named_buffers():
        assert torch.equal(buffer, state[name]) or name.endswith(aggregated), name
    assert all(module.training for module in network.modules())
    assert all(own is other for own, other in zip(precise.network.parameters(), network.parameters(), strict=True))


def test_the_average_of_the_weights_gets_statistics_of_its_own():
    """Its own average of statistics is part of the state of the run."""
    network = network_of()
    average = WeightAverage(network, 0.5)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)
    average.update(torch.tensor(False))
    before = {name: value.clone() for name, value in average.state_dict()["weights"].items()}
    precise = PreciseNorm(average.network, network, "fp32")
    found = precise.estimate(iter(batches_of()), ALONE)
    expected = by_hand(average.network, batches_of())
    for name, channels in expected.items():
        assert torch.allclose(found[f"{name}.running_mean"].double(), channels.mean(1), atol=1e-5), name
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict()["weights"].items())


def test_frozen_norms_keep_their_statistics():
    """They are those of the weights that a run fine-tunes."""
    network = network_of()
    network.stem.eval()
    precise = PreciseNorm(network, network, "fp32")
    with torch.no_grad():
        network.stem[1].running_mean.fill_(3.0)
    found = precise.estimate(iter(batches_of()), ALONE)
    assert not any(name.startswith("stem") for name in found)
    assert torch.equal(precise.network.stem[1].running_mean, torch.full((4,), 3.0))


def synchronised(network, splits):
    use_sub_batch_norm(network, synchronise=True)
    set_num_splits(network, splits)
    return network


def one_of_ranks(rank, ranks, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=ranks)
    for splits in (1, 2):
        torch.manual_seed(0)
        network = synchronised(TinyNetwork(3, Recursion(True, "final")), splits)
        batches = [clips[rank::ranks] for clips in batches_of()]
        found = PreciseNorm(network, network, "fp32").estimate(iter(batches), Ranks(rank, rank, ranks))
        torch.save(found, f"{folder}/{splits}.{rank}.pt")
    dist.destroy_process_group()


def test_synchronised_ranks_estimate_what_one_process_does(tmp_path):
    """--precise-bn with --sync-bn: the states of a run on two GPUs would be validated with other statistics.

    A batch's variance is unbiased for the clips of all ranks; taken for those of one, the estimate would be too small.
    """
    mp.spawn(one_of_ranks, (2, tmp_path), nprocs=2)
    for splits in (1, 2):
        torch.manual_seed(0)
        network = synchronised(TinyNetwork(3, Recursion(True, "final")), splits)
        alone = PreciseNorm(network, network, "fp32").estimate(iter(batches_of()), ALONE)
        for rank in range(2):
            found = torch.load(tmp_path / f"{splits}.{rank}.pt")
            assert found.keys() == alone.keys()
            for name, value in alone.items():
                torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
