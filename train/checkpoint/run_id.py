"""What tells a run that torchrun has restarted from another run in the same folder."""

import os
import socket

from common.processes import parent_start
from common.ranks import Ranks

RUN_ID, AGENT = "TORCHELASTIC_RUN_ID", "agent "


def run_id_of(ranks: Ranks) -> str:
    """The id of torchrun (--rdzv-id); without one, the first rank's torchrun process; "none" without torchrun.

    torchrun also restarts a run that was refused. All runs without an id would then be one.
    """
    given = os.environ.get(RUN_ID, "none")
    if given != "none":
        return given
    return str(ranks.gather(_agent())[0]) if "TORCHELASTIC_RESTART_COUNT" in os.environ else "none"


def _agent() -> str:
    """The process that started this one: host, number and start."""
    return f"{AGENT}{socket.gethostname()} {os.getppid()} {parent_start()}"
