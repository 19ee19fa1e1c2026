"""train_tiny.py whose ranks, when Python exits, write the names of their threads to `threads_RANK`, one a line."""

import atexit
import os
from pathlib import Path

from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks
from train.main import main


def write_thread_names() -> None:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    Path(f"threads_{os.environ['RANK']}").write_text("".join(names))


if __name__ == "__main__":
    register_tiny_networks()
    if "RANK" in os.environ:
        atexit.register(write_thread_names)
    main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
