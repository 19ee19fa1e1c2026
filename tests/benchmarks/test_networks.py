import subprocess
import sys

import pytest
import torch

from benchmarks.network_cost import Setting, count_macs
from benchmarks.networks import groups

SETTING = Setting((16, 112, 112), 8, 400, "cpu", "fp32", "contiguous", False, "final", False)


def conv(in_channels, out_channels, kernel, frames, size):
    return in_channels * out_channels * kernel * frames * size**2


def formula(recursion: bool) -> int:
    """MACs of r3d_18 for 16x112x112: stem at 16x56x56, stages at 8x28x28, 4x14x14, 2x7x7 and 1x4x4."""
    total = conv(3, 64, 3 * 7 * 7, 16, 56) + 512 * 400
    channels = 64
    for stage, (out, frames, size) in enumerate([(64, 8, 28), (128, 4, 14), (256, 2, 7), (512, 1, 4)]):
        total += conv(channels, out, 27, frames, size) + 3 * conv(out, out, 27, frames, size)
        total += conv(channels, out, 1, frames, size) if stage else 0
        # Two blocks of two layers, each with four gates from the input and four from the state, at each frame.
        total += 2 * 2 * 8 * out**2 * frames if recursion else 0
        channels = out
    return total


@pytest.mark.parametrize("recursion", [False, True])
def test_multiply_accumulates_are_those_of_the_formula(recursion):
    """A factor of two, or an uncounted LSTM, would make every comparison of costs wrong."""
    assert count_macs("srtg_r3d_18" if recursion else "r3d_18", SETTING) == formula(recursion)


def test_each_network_is_timed_with_its_twin():
    """Timed at different times, the ratio would also measure the machine's other load."""
    assert [group for group in groups("srtg_r3d_18") if "torchvision" not in group[1]] == [["r3d_18", "srtg_r3d_18"]]
    assert next(groups("r3d_18")) == ["r3d_18"]


def run(*flags):
    command = [sys.executable, "-m", "benchmarks.networks", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.mark.slow
def test_table_and_figure(tmp_path):
    """The command of the README must work."""
    figure = tmp_path / "cost.png"
    done = run("--networks", "srtg_r3d_10", "--clip", "2x16x16", "--batch", "2", "--repeats", "1", "--classes", "5",
               "--device", "cpu", "--precision", "fp32", "--figure", figure)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "srtg_r3d_10" in done.stdout and "r3d_10" in done.stdout
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("flags", "named"), [(("--networks", "x*"), "x*"), (("--clip", "16x112"), "16x112")])
def test_mistakes_are_named(flags, named):
    """A mistyped flag must give its value, not a traceback."""
    done = run(*flags)
    assert done.returncode == 2
    assert named in done.stderr and "Traceback" not in done.stderr


@pytest.mark.gpu
def test_on_a_gpu(tmp_path):
    """On a GPU, events, autocast and the allocator's peak are used instead of the clock and the process's memory."""
    assert torch.cuda.is_available()
    done = run("--networks", "srtg_r3d_18", "--clip", "8x64x64", "--batch", "2", "--repeats", "2")
    assert done.returncode == 0, done.stderr
    assert "srtg_r3d_18" in done.stdout
