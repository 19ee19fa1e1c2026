"""Flags that have no effect on a run are named."""

import pytest

from network import create_network
from train.checkpoint.start import StartingPoint
from train.options import TrainOptions, parse_options
from train.part_lines import unused_parts


def lines(*flags):
    options = parse_options("", TrainOptions(), None, ["--dataset", "d", *flags])
    return unused_parts(options, create_network("r3d_10", 3), StartingPoint())


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--evaluation-dir", "x"), "--evaluation-dir has no effect"),
        (("--bad-video-limit", "9"), "--bad-video-limit has no effect"),
    ],
)
def test_flags_without_effect_are_named(flags, named):
    """An evaluation was looked for in vain, and a run stopped at the first video that could not be read."""
    (line,) = lines(*flags)
    assert line.startswith(named)


def test_flags_with_an_effect_are_not():
    assert not lines("--bad-video-limit", "9", "--on-bad-video", "skip")
