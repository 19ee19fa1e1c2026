"""Errors that stop a run name the file or flag, the numbers and the remedy."""

from pathlib import Path

import pytest

from common.errors import DataError
from data.clips.types import BadVideo, ClipShape
from train.failures import admit_bad_videos, memory_error
from train.schedule.plan import StepSpec


def test_too_little_memory_names_the_batch_and_the_flags_and_does_not_promise_the_same_statistics():
    """Users choose --accumulate by this line; it keeps batch norm's statistics only for some shapes."""
    message = str(memory_error(StepSpec(ClipShape(4, 158, 158), 384, 8, 4.0), 4, 3, Path("run/x_last.pth")))
    for fact in ("96 clips", "4x158x158", "3 parts", "--accumulate 6", "6 does not divide", "--checkpoint-activations"):
        assert fact in message
    assert "--resume-epoch auto" in message and "run/x_last.pth" in message and "\n" not in message


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
