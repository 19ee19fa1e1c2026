"""train_tiny.py that handles signals as the project's own scripts do, and stands where STAND in the environment says.

It writes a file and waits for the file `go` in rank 0 or 1 before the rank connects (`rank_0`), where the first rank
says what the videos are (`telling`), in the end of a run (`closing`), or when rank 0 or the launcher has nothing left
to do but to end (`rank_ended`, `launcher_ended`). STAND_2 may name another place. With DEFAULT_ACTION, signals keep
their default action.
"""

import os
import signal
import time
from pathlib import Path

import train.evaluating
import train.main
from common import interrupt
from common.distributed import launch, process_group
from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks
from train.main import main
from train.monitor.tensorboard import TensorBoardLog

STAND = os.environ["STAND"], os.environ.get("STAND_2")
close, launcher_store, tell_spans = TensorBoardLog.close, process_group.launcher_store, train.main.tell_spans


def stand(where):
    if where in STAND:
        Path(where).touch()
        while not Path("go").exists():
            time.sleep(0.02)


def close_slowly(board):
    stand("closing")
    close(board)


def tell_slowly(*args):
    stand("telling")
    tell_spans(*args)


def noting(*args):
    Path("connecting").touch()
    return launcher_store(*args)


if __name__ == "__main__":
    if "DEFAULT_ACTION" not in os.environ:
        for number in interrupt.STOPPING:
            signal.signal(number, interrupt._stop)
    stand(f"rank_{os.environ.get('RANK')}")
    if Path("fail").exists() and f"rank_{os.environ.get('RANK')}" in STAND:
        raise SystemExit(1)
    register_tiny_networks()
    TensorBoardLog.close = close_slowly
    train.main.tell_spans = train.evaluating.tell_spans = tell_slowly
    process_group.launcher_store = noting
    launch.SECONDS_TO_END = 600.0  # as good as never
    try:
        main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
    finally:
        stand({None: "launcher_ended", "0": "rank_ended"}.get(os.environ.get("RANK"), ""))
