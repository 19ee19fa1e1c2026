"""`python -m evaluate.run` that knows the networks `tiny` and `srtg_tiny`."""

from common.cli import run_command
from evaluate.run import main
from tests.tiny_network import register_tiny_networks

if __name__ == "__main__":
    register_tiny_networks()
    run_command(main)
