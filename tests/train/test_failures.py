"""Errors that stop a run name the file or flag, the numbers and the remedy."""

import math
import re
from pathlib import Path

import pytest
import torch

from data.clips.types import BadVideo
from tests.plans import make_plan
from train.failures import (
    bad_video_problem,
    first_not_finite,
    memory_error,
    named_tensors,
    too_many_bad_videos,
)


def memory_message(step: int, accumulate: int, **options: int) -> str:
    """The message at a step of the first epoch; --multigrid per-epoch has all four shapes there."""
    shape = {"clip_length": 16, "clip_size": 224, "batch_size": 48, "lr_steps": (), "end_epoch": 8} | options
    plan = make_plan(num_videos=10_000, world_size=4, long_cycles=True, per_epoch=True, **shape)
    spec = plan.step_spec(1, step * plan.steps_in_epoch(1) // 4)
    return str(memory_error(plan, spec, accumulate, Path("run/x_last.pth")))


def test_too_little_memory_names_the_batch_and_parts_that_keep_the_statistics():
    """Users choose --accumulate by this line; it keeps batch norm's statistics only for some shapes."""
    message = memory_message(0, 1)
    for fact in ("96 clips", "4x158x158", "1 parts", "--accumulate 2 ", "--checkpoint-activations", "--batch-size"):
        assert fact in message
    assert re.findall(r"\d+x\d+x\d+", message)[1:] == ["16x224x224"], "where the statistics change"
    assert "--resume-epoch auto" in message and "run/x_last.pth" in message and "\n" not in message
    assert "--accumulate 4 " in memory_message(0, 3), "6 divides the batch of 12 clips, but not the 8 sub-batches"
    assert "--accumulate 3 " in memory_message(3, 2), "no number of parts keeps the statistics of the base shape"


def test_parts_that_cannot_be_had_are_not_proposed():
    """A part of one clip may be too small for batch norm; the parts must divide the batch of each GPU."""
    assert "--accumulate" not in memory_message(0, 6)
    assert "--accumulate" not in memory_message(0, 1, batch_size=8)
    assert "--accumulate 3 " in memory_message(0, 1, batch_size=36)


def test_a_bad_video_is_a_problem_unless_it_was_replaced():
    replaced, lost = BadVideo(1, "a/frames.db is damaged", 2), BadVideo(1, "b/frames.db is damaged", None)
    assert bad_video_problem([replaced, replaced], 2) == bad_video_problem([], 0) == ""
    for found, limit, facts in (
        ([lost], 0, ("a/frames.db", "--on-bad-video skip")),
        ([replaced, lost], 9, ("b/frames.db", "--dataset")),
    ):
        assert all(fact.replace("a/", "b/") in bad_video_problem(found, limit) for fact in facts)
    message = too_many_bad_videos(replaced, 3, 2)
    assert all(fact in message for fact in ("a/frames.db", "3 bad videos", "--bad-video-limit allows 2"))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(value):
    """A state with one such weight or statistic is lost, and must not replace a good one."""
    state = {
        "a": torch.randn(3, 4),
        "b": [torch.ones(5, dtype=torch.int64), {"c": torch.zeros(7)}],
        "d": torch.empty(0),
    }
    assert first_not_finite(named_tensors(state, "s")) == first_not_finite({}) == ""
    state["b"][1]["c"][6] = value
    assert first_not_finite(named_tensors(state, "s")) == "s.b.1.c"
