"""`python -m evaluate.report`: see `train.report.command`."""

from common.cli import run_command
from train.report.command import main

if __name__ == "__main__":
    run_command(main)
