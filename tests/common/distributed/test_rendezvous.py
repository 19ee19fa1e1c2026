"""How ranks find each other: they wait for nothing that cannot come, such as ranks that no longer run."""

import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import torch.distributed as dist

from common.distributed.rendezvous import connecting, launcher_store, rendezvous
from common.errors import DataError, TrainingError
from common.ranks import Ranks


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


def test_a_rank_that_does_not_come_is_named_after_a_time(server_store):
    """The first rank waited for it for ever, though the others gave up after ten minutes."""
    with pytest.raises(dist.DistStoreError, match="rank 1 did not come within 0 s"):
        rendezvous(server_store, 0, 2, timeout=0.05)


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


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", ""])
def test_a_name_that_stays_unknown_is_one_line(monkeypatch, host):
    """A mistyped MASTER_ADDR held the machines of a job for twenty minutes."""

    def unknown(name: str, port: None) -> None:
        name.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setenv("MASTER_ADDR", host)
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr("common.distributed.rendezvous.NAME_TIMEOUT", -1.0)
    monkeypatch.setattr("socket.getaddrinfo", unknown)
    with pytest.raises(DataError, match=f"MASTER_ADDR is '{host}'"), connecting(Ranks(1, 0, 2)):
        pytest.fail("the name is unknown")


def test_what_a_rank_waits_for_is_said(monkeypatch, capsys):
    """A rank that waited for a machine that was not started said nothing, and then "lost the connection"."""
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    monkeypatch.setenv("MASTER_PORT", "29500")
    monkeypatch.setattr("threading.Timer.start", lambda timer: timer.function())  # as if the time had passed
    error = r"rank 1 of 2 .*localhost.*29500 \(timed out\)"
    with pytest.raises(TrainingError, match=error), connecting(Ranks(1, 0, 2)):
        raise dist.DistNetworkError("timed out. Exception raised from ...\nframe #0")
    said = capsys.readouterr().out
    assert said == "rank 1 of 2 waits for the others to connect at MASTER_ADDR localhost, MASTER_PORT 29500\n"
