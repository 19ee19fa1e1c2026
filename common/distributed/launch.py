"""Starts a run's ranks on this machine, as `--gpus N` asks for."""

import logging
import os
import signal
import sys
import uuid
from collections.abc import Sequence

from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from common.distributed.stop_signal import is_ignored_hangup


def launch(ranks: int, argv: Sequence[str]) -> int:
    """Run the command line `argv` as `ranks` processes of this machine; return the exit status of the run.

    Uses torch's elastic launcher: when a rank dies, it stops the others and the reason appears on the console.
    """
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        run_id=uuid.uuid4().hex,
        max_restarts=0,
        monitor_interval=1.0,
    )
    if is_ignored_hangup(signal.SIGHUP):  # by `nohup`; the launcher would obey it all the same
        config.signals_to_handle = "SIGTERM,SIGINT,SIGQUIT"
    # The launcher passes SIGTERM on to the ranks and waits until they have saved. It ignores SIGUSR1, so translate it.
    signal.signal(signal.SIGUSR1, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
    logging.disable(logging.ERROR)  # the launcher's own long messages; `_exit_status` prints one line instead
    try:
        elastic_launch(config, sys.executable)("-u", *argv)
    except ChildFailedError as error:
        return _exit_status(error)
    except SignalException as stop:
        return 128 + int(stop.sigval)
    return 0


def _exit_status(error: ChildFailedError) -> int:
    """The status of the rank that failed first. If a signal killed it, print which; otherwise it has printed why."""
    # Time stamps are whole seconds. Within one, a killed rank (negative exit code) failed first and the others lost
    # their connection to it; but SIGTERM is how the launcher stops the others.
    rank, failure = min(
        error.failures.items(),
        key=lambda item: (item[1].timestamp, item[1].exitcode == -signal.SIGTERM, item[1].exitcode),
    )
    if failure.exitcode > 0:
        return failure.exitcode
    name = signal.Signals(-failure.exitcode).name
    print(f"error: rank {rank} was killed by {name}; the other ranks were stopped", file=sys.stderr)
    return 1
