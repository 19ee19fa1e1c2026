"""The table of scores on the console: if this fails, numbers are cut or stand beside the wrong metric."""

import io

import pytest
from rich.console import Console

from evaluate.results.console_table import score_table

SCORES = {
    "loss": (11.27144, 11.2, 11.3402),
    "top1": (73.404, 72.78, 74.01),
    "mean_class": (100.0, 100.0, 100.0),
    "other [x]": (float("nan"),) * 3,
}
BY_CLIPS = {clips: {"loss": 10.5, "top1": 60.0 + clips} for clips in (10, 1, 5, 2)}


def printed(width: int, *arguments: object) -> str:
    output = io.StringIO()
    Console(file=output, width=width).print(score_table(*arguments))
    return output.getvalue()


def cells(text: str, name: str) -> list[str]:
    (line,) = (line for line in text.splitlines() if line.strip().startswith(name))
    return line.split()


@pytest.mark.parametrize("width", [80, 120])
def test_nothing_is_cut(width):
    """A terminal of 80 columns would show 73…, a pipe has 120."""
    text = printed(width, SCORES, BY_CLIPS, "val: [b] videos")
    assert "…" not in text
    assert "val: [b] videos" in text
    assert cells(text, "top-1") == ["top-1", "(%)", "73.40", "72.78", "to", "74.01", "61.00", "62.00", "65.00", "70.00"]
    assert cells(text, "loss")[:5] == ["loss", "11.271", "11.200", "to", "11.340"]
    assert cells(text, "mean-class") == ["mean-class", "(%)", "100.00", "100.00", "to", "100.00", "-", "-", "-", "-"]
    assert cells(text, "other") == ["other", "[x]", *["-"] * 6]


def test_without_clips_there_are_value_and_interval_alone():
    """A single clip has no columns of fewer clips."""
    text = printed(80, {"top5": (91.0, 90.0, 92.0)})
    assert "clip" not in text
    assert cells(text, "top-5") == ["top-5", "(%)", "91.00", "90.00", "to", "92.00"]
