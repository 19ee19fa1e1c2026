"""The benchmarks that README names still run, at their smallest."""

import subprocess
import sys

import pytest

COMMANDS = {
    "loading": ("--videos", "2", "--repeats", "1"),
    "batches": ("--videos", "2", "--seconds", "1", "--workers", "2"),
    "index": ("--rows", "300"),
    "augment": ("--repeats", "1", "--draws", "3", "--step", "r3d_10", "--device", "cpu"),
    "callbacks": ("--steps", "40"),
    "sources": ("--videos", "2", "--repeats", "1"),
}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "flags"), COMMANDS.items(), ids=COMMANDS)
def test_it_prints_its_table(name, flags):
    """Figures that nobody can repeat are worth nothing."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *flags]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") >= 3, done.stdout
