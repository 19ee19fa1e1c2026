"""docs/python.md: its code runs as it stands, one block after the other, as in a notebook."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ENVIRONMENT, ROOT
from tests.small_dataset import write_small_dataset

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CHECKPOINT = "results/custom/srtg_r3d_18_gates_False/srtg_r3d_18_best.pth"  # as the page names it


@pytest.fixture
def workplace(tmp_path, server) -> Path:
    """A folder with MINE, and the checkpoint of a run that was trained on it."""
    write_small_dataset(tmp_path / "MINE", train=8, val=4, frames=10)
    flags = "--network srtg_r3d_18 --clip-length 4 --clip-size 16 --batch-size 8 --end-epoch 1 --lr-steps 1"
    run = server.start(
        ROOT / "train_custom.py",
        *("--dataset", "MINE", *flags.split(), "--lr-base", 0.001, "--workers", 0, "--device", "cpu"),
        folder=tmp_path,
    )
    assert run.wait() == 0, run.output()
    assert (tmp_path / CHECKPOINT).is_file()
    return tmp_path


def test_the_code_of_the_page_runs_as_it_stands(workplace):
    """Who pastes it into a notebook gets what it says: no error, no message at the end."""
    code = BLOCK.findall((ROOT / "docs" / "python.md").read_text(encoding="utf-8"))
    assert len(code) == 7 and CHECKPOINT in "".join(code)
    done = subprocess.run(
        [sys.executable, "-"], cwd=workplace, env=dict(ENVIRONMENT, PATH=""), input="\n".join(code),
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "uint8 (8, 3, 16, 112, 112)" in done.stdout
    shares = [float(share) for share in re.findall(r"^ *(\d+\.\d\d) %  \w", done.stdout, re.MULTILINE)]
    assert len(shares) == 4 and sum(shares) == pytest.approx(100, abs=0.1)
