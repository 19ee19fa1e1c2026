"""train_tiny.py that writes to the file `starts`, one a line, when it forks and when it uses network and validation."""

import os
from pathlib import Path

import train.main
import train.trainer
from tests.scripts import train_tiny
from tests.tiny_network import register_tiny_networks


def note(what: str) -> None:
    with Path("starts").open("a", encoding="utf-8") as file:
        file.write(what + "\n")


def noting(module: object, name: str, what: str) -> None:
    """Have a function of a module note its calls."""
    function = getattr(module, name)

    def call(*args: object, **kwargs: object) -> object:
        note(what)
        return function(*args, **kwargs)

    setattr(module, name, call)


if __name__ == "__main__":
    register_tiny_networks()
    os.register_at_fork(after_in_parent=lambda: note("fork"))
    noting(train.main, "prepare_network", "device")
    noting(train.trainer, "evaluate", "validation")
    train.main.main(__doc__, train_tiny.SPEC, train_tiny.DEFAULTS)
