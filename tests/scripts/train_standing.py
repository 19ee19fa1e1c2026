"""train_tiny.py that handles signals as the project's own scripts do, and stands where STAND in the environment says.

It writes a file and waits for the file `go` in rank 0 or 1 before the rank connects (`rank_0`), or in the end of a run
(`closing`). With DEFAULT_ACTION, signals keep their default action.
"""

import os
import signal
import time
from pathlib import Path

from common import interrupt
from common.distributed import launch, process_group
from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks
from train.main import main
from train.monitor.tensorboard import TensorBoardLog

STAND = os.environ["STAND"]
close, launcher_store = TensorBoardLog.close, process_group.launcher_store


def stand(where):
    if where == STAND:
        Path(where).touch()
        while not Path("go").exists():
            time.sleep(0.02)


def close_slowly(board):
    stand("closing")
    close(board)


def noting(*args):
    Path("connecting").touch()
    return launcher_store(*args)


if __name__ == "__main__":
    if "DEFAULT_ACTION" not in os.environ:
        for number in interrupt.STOPPING:
            signal.signal(number, interrupt._stop)
    stand(f"rank_{os.environ.get('RANK')}")
    if Path("fail").exists() and f"rank_{os.environ.get('RANK')}" == STAND:
        raise SystemExit(1)
    register_tiny_networks()
    TensorBoardLog.close = close_slowly
    process_group.launcher_store = noting
    launch.SECONDS_TO_END = 600.0  # as good as never
    main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
