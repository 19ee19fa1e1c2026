"""Errors that stop a run name the file or flag, the numbers and the remedy."""

import re
from pathlib import Path

import pytest

from common.errors import DataError
from data.clips.types import BadVideo
from tests.plans import make_plan
from train.failures import admit_bad_videos, memory_error


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


def test_bad_videos_are_admitted_up_to_the_limit():
    replaced, lost = BadVideo(1, "a/frames.db is damaged", 2), BadVideo(1, "b/frames.db is damaged", None)
    so_far: list[BadVideo] = []
    admit_bad_videos([replaced, replaced], so_far, 2)
    assert so_far == [replaced, replaced]
    for found, limit, facts in (
        ([replaced], 2, r"a/frames\.db.*\b3 .*--bad-video-limit allows 2\b"),
        ([replaced], 0, r"a/frames\.db.*--on-bad-video skip"),
        ([lost], 9, r"b/frames\.db.*--dataset"),
    ):
        with pytest.raises(DataError, match=facts):
            admit_bad_videos(found, so_far, limit)
