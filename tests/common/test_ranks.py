"""A single process goes through the same calls as the ranks of a run."""

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from common.ranks import Ranks


def test_a_world_of_size_one_waits_for_nobody():
    """Without a process group, each call of torch.distributed would fail."""
    ranks = Ranks(0, 0, 1)
    assert ranks.is_first
    assert ranks.sum(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
    assert ranks.maximum(torch.tensor(3.0)) == 3
    assert ranks.gather({"a": 1}) == [{"a": 1}]
    assert ranks.decide(True) is True
    assert ranks.decide(False) is False
    assert [tensor.item() for tensor in ranks.broadcast([torch.tensor(5.0)])] == [5]


def buffers(start):
    """The kinds that a network has: counts, statistics, an empty one, and one that is not contiguous."""
    statistics = [torch.arange(n, dtype=torch.float32) + start for n in (3, 0, 7)]
    strided = (torch.arange(6.0) + start).view(2, 3).t()
    return [torch.tensor(start), *statistics, strided, torch.tensor(start + 1), (torch.arange(4.0) + start).double()]


def rank_that_receives(rank, folder):
    dist.init_process_group("gloo", f"file://{folder}/store", rank=rank, world_size=2)
    transfers, broadcast = [], dist.broadcast
    dist.broadcast = lambda *args: (transfers.append(1), broadcast(*args))
    given = buffers(10 * rank)
    returned = Ranks(rank, rank, 2).broadcast(tensor for tensor in given)
    assert all(one is other for one, other in zip(returned, given, strict=True))
    torch.save((given, len(transfers)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_all_tensors_of_a_type_are_sent_at_once(tmp_path):
    """A network has a hundred buffers: as many transfers before each validation took longer than their bytes."""
    mp.spawn(rank_that_receives, (tmp_path,), nprocs=2)
    for rank in (0, 1):
        received, transfers = torch.load(tmp_path / f"{rank}.pt")
        assert transfers == 3  # int64, float32, float64
        for tensor, expected in zip(received, buffers(0), strict=True):
            assert tensor.dtype == expected.dtype and torch.equal(tensor, expected)
            assert tensor.stride() == expected.stride()
