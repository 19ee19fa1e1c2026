"""What train_tiny.py is; each rank notes in `threads_RANK`, a name a line, its threads when Python leaves."""

import atexit
import os
from pathlib import Path

from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks
from train.main import main


def note() -> None:
    names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
    Path(f"threads_{os.environ['RANK']}").write_text("".join(names))


if __name__ == "__main__":
    register_tiny_networks()
    if "RANK" in os.environ:
        atexit.register(note)
    main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
