"""Connects ranks that torchrun has started again, which torch 2.13 does not do reliably.

torchrun's store of keys outlives a restart, so a rank may find the address of a rank that no longer runs, and fail.
TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 prevents that, but not with torchrun's default ("static") rendezvous.
"""

import os
import time
import uuid
from datetime import timedelta

import torch.distributed as dist

from common.ranks import Ranks


def launcher_store(ranks: Ranks, timeout: timedelta) -> dist.Store | None:
    """The launcher's store, with a prefix that only this start of the ranks uses.

    None if the launcher shares no store: then torch opens one in the first rank.
    """
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        return None
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(address, port, is_master=False, timeout=timeout)
    return dist.PrefixStore(rendezvous(store, ranks.rank, ranks.world_size), store)


def rendezvous(store: dist.Store, rank: int, world_size: int) -> str:
    """A name that the ranks of this start agree on, whatever earlier starts have left in the store.

    The first rank chooses the name. Each other rank publishes an id, waits for the name under that id, and confirms
    it. The environment has no such name: each machine has its own restart count.
    """
    own = uuid.uuid4().hex
    if rank:
        store.set(f"guest/{rank}", own)
        name = store.get(f"name/for/{own}").decode()  # waits until it is set
        store.set(f"{name}/has/{rank}", "")
        return name
    missing = set(range(1, world_size))
    while missing:
        for guest in [f"guest/{other}" for other in missing]:
            if store.check([guest]):  # may be the id of an earlier start; the rank that runs now will overwrite it
                store.set(f"name/for/{store.get(guest).decode()}", own)
        missing = {other for other in missing if not store.check([f"{own}/has/{other}"])}
        time.sleep(0.02)
    return own
