"""A single process goes through the same calls as the ranks of a run."""

import torch

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
