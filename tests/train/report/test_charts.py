"""Scales and means of the drawings."""

import re

import pytest

from train.report.charts import HEIGHT, TOP, Line, binned, line_chart, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 100, [0, 20, 40, 60, 80, 100]), (0.3, 2.4, [0.5, 1, 1.5, 2]), (-1, 1, [-1, -0.5, 0, 0.5, 1])],
)
def test_ticks_are_round_numbers(low, high, expected):
    assert ticks(low, high) == expected


def test_means_of_the_steps_up_to_each_edge():
    """A step that belongs to the epoch it ends would otherwise count for the next one."""
    assert binned([(1, 2.0), (10, 4.0), (11, 7.0)], [0, 10, 20, 30]) == [3.0, 7.0, None]


def test_a_larger_value_is_drawn_higher_and_a_gap_interrupts_the_line():
    chart = line_chart("x", [Line("val", "validation", [1, 2, 3, 4], [1.0, 3.0, None, 2.0])])
    (path,) = re.findall(r'<path d="([^"]+)"', chart)
    heights = [float(y) for y in re.findall(r" ([\d.]+)", path)]
    assert path.count("M") == 2 and TOP <= heights[1] < heights[2] < heights[0] <= HEIGHT


def test_a_diverged_loss_does_not_flatten_the_rest():
    """1e6 in one epoch: on a linear scale all other epochs would lie on the axis."""
    chart = line_chart("loss", [Line("train", "training", [1, 2, 3, 4, 5], [5.0, 1.0, 1e6, 2.0, 1.0])])
    heights = [float(y) for y in re.findall(r" ([\d.]+)", re.findall(r'<path d="([^"]+)"', chart)[0])]
    assert heights[1] - heights[0] > 10


@pytest.mark.parametrize("values", [[], [None], [float(0)], [1.0, 1.0], [1e-9, 1e80], [-5.0]])
def test_any_values_can_be_drawn(values):
    line_chart("x", [Line("val", "validation", list(range(len(values))), values)], is_log=True)
