"""`python -m train.multigrid`: another name of `python -m train.schedule`."""

from functools import partial

from common.cli import run_command
from train.schedule.__main__ import main

if __name__ == "__main__":
    run_command(partial(main, prog="python -m train.multigrid"))
