"""Ranks whose passes are launched operation by operation average their gradients, always in the same order."""

import copy

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from common.distributed.process_group import wrap_in_ddp
from common.ranks import Ranks
from tests.train.test_step_graphs import Setting

RANKS = 3  # of two, no order of a sum makes a difference


def gradients(setting, rank):
    """Those of a batch in two parts, and the same by DistributedDataParallel."""
    network = wrap_in_ddp(copy.deepcopy(setting.network), setting.device)
    clips = torch.randn((4, 3, 4, 32, 32), generator=torch.Generator().manual_seed(rank))
    labels = torch.tensor([0, 1, 2, 3])
    for part in range(2):
        setting.passes(clips[part::2], labels[part::2], 4, part == 1, lambda: None)
    setting.passes.finish()
    computation = setting.passes.computation
    with network.no_sync():
        (computation.forward(network, clips[::2], labels[::2])[0] / 4).backward()
    (computation.forward(network, clips[1::2], labels[1::2])[0] / 4).backward()
    return [[each.grad for each in one.parameters()] for one in (setting.network, network.module)]


def train_rank(rank, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=RANKS)
    ranks = Ranks(rank, rank, RANKS)
    undisturbed, resumed = Setting(ranks=ranks), Setting(ranks=ranks)
    for number in range(6):
        undisturbed.step(number, 2, rank)
        if number in (2, 3):  # as a run that is started again does
            resumed.passes._wrap()
        resumed.step(number, 2, rank)
    assert resumed.losses == undisturbed.losses
    assert all(map(torch.equal, resumed.network.parameters(), undisturbed.network.parameters()))
    for own, other in zip(*gradients(undisturbed, rank), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)
    for each in ranks.gather([parameter.detach() for parameter in undisturbed.network.parameters()]):
        assert all(map(torch.equal, each, undisturbed.network.parameters()))
    dist.barrier()
    dist.destroy_process_group()


def test_three_ranks_that_begin_again_train_the_same_to_the_bit(tmp_path):
    """After its first pass, DistributedDataParallel adds up in another order: a resumed run differed from then on."""
    mp.spawn(train_rank, (str(tmp_path),), nprocs=RANKS)
