"""Whether the estimate comes true: a real run of a script, after its estimate."""

import json
import subprocess
import sys
import time

import pytest

from tests.processes import ENVIRONMENT, ROOT
from tests.small_dataset import write_small_dataset

FLAGS = (
    "--network", "srtg_r3d_10", "--clip-length", "8", "--clip-size", "44", "--batch-size", "16", "--lr-steps", "3",
    "--end-epoch", "4", "--device", "cpu", "--workers", "1",
)  # fmt: skip
TRIES = 3  # other programs may take the processor from one of the two


def seconds_and_result(*words) -> tuple[float, dict]:
    """The seconds that a command takes, and its last line."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=True
    )
    return time.monotonic() - started, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [(), ("--long-cycles", "--short-cycles")], ids=["fixed", "multigrid"])
def test_the_prediction_is_near_the_truth(tmp_path, cycles):
    """An estimate that is off by a factor books a machine for days too few or too many."""
    dataset = write_small_dataset(tmp_path / "data", train=160, val=32, frames=32, height=48, width=48)
    ratios = []
    for number in range(TRIES):
        words = ("train_custom.py", "--dataset", dataset, "--model-dir", tmp_path / str(number), *FLAGS, *cycles)
        _, estimate = seconds_and_result("-m", "train.estimate", *words, "--minutes", 1)
        true, _ = seconds_and_result(*words)
        ratios.append(estimate["total_seconds"] / true)
        if 0.5 < ratios[-1] < 2:
            return
    pytest.fail(f"predicted / true: {ratios}")
