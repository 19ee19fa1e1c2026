"""The benchmarks that README names still run, at their smallest."""

import json
import subprocess
import sys

import pytest

COMMANDS = {
    "loading": ("--videos", "2", "--repeats", "1"),
    "batches": ("--videos", "2", "--seconds", "1", "--workers", "2"),
    "index": ("--rows", "300"),
    "augment": ("--repeats", "1", "--draws", "3", "--step", "r3d_10", "--device", "cpu"),
    "callbacks": ("--steps", "40"),
    "recipe_step": ("--network", "r3d_10", "--clip", "2x32x32", "--batch", "2", "--steps", "1"),
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


TINY = [
    "--network",
    "r3d_10",
    "--clip-length",
    "2",
    "--clip-size",
    "24",
    "--batch-size",
    "4",
    "--lr-base",
    "0.01",
    "--workers",
    "0",
    "--augment",
    "none",
]


@pytest.mark.slow
def test_the_parts_of_a_recipe_are_compared_and_runs_are_not_repeated(small_dataset, tmp_path):
    """Hours of runs would be lost by a second call; or results of other flags would be taken for those of this one."""

    def run(*flags):
        command = [sys.executable, "-m", "benchmarks.recipe", str(small_dataset), "--output", str(tmp_path / "out")]
        command += ["--seeds", "2", "--epochs", "2", "--parts", *flags]
        return subprocess.run(command, capture_output=True, text=True, timeout=900)

    done = run("cosine", "--", *TINY)
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results) == ["paper", "cosine"]
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*_last.pth")}
    assert len(times) == 4
    again = run("cosine", "--", *TINY)
    assert again.stdout == done.stdout
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*_last.pth")}
    other = run("cosine", "--", *TINY, "--lr-base", "0.02")
    assert other.returncode == 2 and "other flags" in other.stderr
