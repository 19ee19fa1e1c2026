"""`python -m data.augment`: another name of `python -m data.preview`, and the only import of it from below."""

from functools import partial

from common.cli import run_command
from data.preview import main

if __name__ == "__main__":
    run_command(partial(main, prog="python -m data.augment"))
