"""`python -m train.plot_scores`: see `train.monitor.curves`."""

from common.cli import run_command
from train.monitor.curves import main

if __name__ == "__main__":
    run_command(main)
