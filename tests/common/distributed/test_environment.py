"""The variables by which torchrun tells a process which rank it is."""

import pytest

from common.distributed.process_group import unused_world
from tests.runs import TINY, TINY_FLAGS

WHOLE = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
STORE = {"MASTER_ADDR": "localhost", "MASTER_PORT": "1"}


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"LOCAL_WORLD_SIZE": "1"}, ["WORLD_SIZE"]),
        (WHOLE | {"WORLD_SIZE": "abc"}, ["WORLD_SIZE", "'abc'"]),
        (WHOLE | {"WORLD_SIZE": "9" * 5000}, ["WORLD_SIZE", "'999"]),
        (WHOLE | {"LOCAL_WORLD_SIZE": "0"}, ["LOCAL_WORLD_SIZE", "'0'"]),
        ({name: value for name, value in WHOLE.items() if name != "RANK"}, ["RANK", "missing"]),
        (WHOLE | STORE | {"RANK": "1"}, ["RANK=1", "WORLD_SIZE=1"]),
        (WHOLE, ["MASTER_ADDR"]),
        (WHOLE | STORE | {"MASTER_PORT": "x"}, ["MASTER_PORT", "'x'"]),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_variables_that_no_launcher_sets_so_are_one_line(server, small_dataset, tmp_path, environment, words):
    """Left over in a shell, they turn a run into a rank that waits for others, or into a traceback."""
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, folder=tmp_path, environment=environment)
    assert process.wait() == 2
    assert process.stderr.startswith("error: ") and process.stderr.count("\n") == 1
    assert len(process.stderr) < 600 and all(word in process.stderr for word in words)


@pytest.mark.parametrize(
    ("environment", "is_told"),
    [
        ({"RANK": "1", "WORLD_SIZE": "4"}, True),
        ({"WORLD_SIZE": "1"}, False),
        ({"WORLD_SIZE": "x"}, False),
        (WHOLE, False),
    ],
)
def test_ranks_that_no_torchrun_started_are_told_that_they_work_alone(monkeypatch, environment, is_told):
    """Operators of clusters set these variables. Each machine trained a network of its own, without a word."""
    for name in (*WHOLE, "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    text = unused_world()
    assert bool(text) == is_told
    assert not is_told or all(word in text for word in ("WORLD_SIZE=4", "alone", "torchrun"))


def test_a_number_of_restarts_that_is_none_is_one_line(server, small_dataset, tmp_path):
    environment = {"TORCHELASTIC_RESTART_COUNT": "x"}
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, folder=tmp_path, environment=environment)
    assert process.wait() == 2
    assert "TORCHELASTIC_RESTART_COUNT" in process.stderr and process.stderr.count("\n") == 1
