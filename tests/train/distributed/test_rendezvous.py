"""Without this, ranks that torchrun has started again wait for ranks that no longer run."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from common.ranks import Ranks
from train.distributed.rendezvous import launcher_store, rendezvous


@pytest.fixture
def server_store() -> dist.TCPStore:
    """The store of a launcher, which outlives the ranks."""
    return dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)


def test_ranks_agree_on_a_name_whatever_earlier_starts_have_left_in_the_store(server_store):
    """Four starts of different sizes with the same store; in each of them the first rank is the last to start."""
    for rank in (1, 2, 3):
        server_store.set(f"guest/{rank}", "dead")
    names = []
    with ThreadPoolExecutor(4) as pool:
        for world_size in (4, 2, 3, 1):
            clients = [dist.TCPStore("localhost", server_store.port, is_master=False) for _ in range(world_size)]
            results = [
                pool.submit(rendezvous, client, rank, world_size) for rank, client in reversed([*enumerate(clients)])
            ]
            (name,) = {result.result(120) for result in results}
            names.append(name)
    assert len(set(names)) == 4


def test_a_start_does_not_see_the_keys_of_an_earlier_one(server_store, monkeypatch):
    """Torch writes the address of each rank into the store, under the same keys at each start."""
    for name, value in {
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(server_store.port),
    }.items():
        monkeypatch.setenv(name, value)
    first, second = (launcher_store(Ranks(0, 0, 1), timedelta(seconds=120)) for _ in range(2))
    assert first is not None and second is not None
    first.set("address", "here")
    assert first.check(["address"]) and not second.check(["address"])


def test_without_a_shared_store_torch_opens_one(monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "False")
    assert launcher_store(Ranks(0, 0, 1), timedelta(seconds=1)) is None
