"""`python -m data.augment`: another name of `python -m data.preview`."""

from common.cli import run_command
from data.preview import main

if __name__ == "__main__":
    run_command(main)
