"""Errors that stop a run name the file or flag, the numbers and the remedy."""

import errno
import math
from pathlib import Path

import pytest
import torch

from data.clips.types import BadVideo, ClipShape
from train.failures import (
    bad_video_problem,
    describe_known_error,
    first_not_finite,
    memory_error,
    named_tensors,
    too_many_bad_videos,
)
from train.schedule.plan import StepSpec


def test_too_little_memory_names_the_batch_and_the_flags_and_does_not_promise_the_same_statistics():
    """Users choose --accumulate by this line; it keeps batch norm's statistics only for some shapes."""
    message = str(memory_error(StepSpec(ClipShape(4, 158, 158), 384, 8, 4.0), 4, 3, Path("run/x_last.pth")))
    for fact in ("96 clips", "4x158x158", "3 parts", "--accumulate 6", "6 does not divide", "--checkpoint-activations"):
        assert fact in message
    assert "--resume-epoch auto" in message and "run/x_last.pth" in message and "\n" not in message


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


def no_memory():
    torch.empty(2**60, dtype=torch.uint8)


def test_what_a_machine_lacks_is_one_line_that_says_what_to_lower():
    """Torch's own message for too little memory has a line of source code; others are a bare errno."""
    with pytest.raises(RuntimeError) as memory:
        no_memory()
    for error, facts in (
        (memory.value, ("memory", "--batch-size", "--workers", "--clip-size")),
        (RuntimeError(f"Caught RuntimeError in DataLoader worker process 0.\n{memory.value}"), ("--batch-size",)),
        (MemoryError(), ("memory", "--batch-size")),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), ("memory", "--batch-size")),
        (OSError(errno.EMFILE, "Too many open files"), ("ulimit -n", "--workers")),
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), ("ulimit -u", "--workers")),
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."), ("pid 7", "--workers")),
    ):
        line = describe_known_error(error)
        assert line and "\n" not in line and all(fact in line for fact in facts)
    for error in (RuntimeError("shapes differ"), ValueError(""), OSError(errno.EACCES, "Permission denied", "x")):
        assert describe_known_error(error) == ""  # a traceback tells more
