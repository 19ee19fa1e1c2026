"""What a machine lacks, as a command says it: a traceback tells no user what to lower."""

import errno

import pytest
import torch

from common.errors import DataError, TrainingError
from common.known_errors import describe_known_error, machine_errors


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


@pytest.mark.parametrize(
    ("cause", "fact"),
    [
        ("Connection closed by peer [127.0.0.1]:5", "lost the connection to another rank"),
        ("Timed out waiting 600000ms for recv operation to complete", "another rank does not answer"),
    ],
)
def test_a_rank_that_stands_still_is_told_from_one_that_has_ended(cause, fact):
    """Of a stopped rank it said that it "failed or was killed", and the user looked for a log that has no reason."""
    line = describe_known_error(RuntimeError(f"[../third_party/gloo/gloo/transport/tcp/pair.cc:534] {cause}. More"))
    assert line.startswith(fact) and cause in line


@pytest.mark.parametrize(
    ("error", "facts"),
    [
        (MemoryError(), ("memory", "lower --x")),
        (MemoryError("bad_alloc: Failed to allocate memory for requested buffer"), ("memory", "lower --x")),
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
            ("the GPU's memory is full: lower --x",),
        ),
        (RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with"), ("GPU", "--device cpu")),
        (RuntimeError("[ONNXRuntimeError] : 1 : FAIL : CUDNN failure 8: EXECUTION_FAILED"), ("GPU", "--device cpu")),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_failure_of_the_machine_in_an_evaluation_is_one_line(error, facts):
    """Of exported files, these ended evaluate.run, predict, features and explain with a traceback."""
    with pytest.raises(TrainingError) as raised, machine_errors("lower --x"):
        raise error
    assert "\n" not in str(raised.value) and all(fact in str(raised.value) for fact in facts)


@pytest.mark.parametrize("error", [DataError("x"), ValueError("shapes differ"), KeyError("CPU")])
def test_other_errors_stay_as_they_are(error):
    with pytest.raises(type(error)) as raised, machine_errors("lower --x"):
        raise error
    assert raised.value is error
