"""Arrays handed to child processes: what fails here costs each worker a copy, or leaves litter in memory."""

import multiprocessing
import pickle
from pathlib import Path

import numpy as np
import pytest

from data.labels.shared_arrays import SharedArrays

SIZE = 1_000_000


def make() -> SharedArrays:
    return SharedArrays({"a": np.arange(SIZE, dtype=np.int64), "b": np.array([7, 8, 9], dtype=np.uint8)})


def mapped_and_private() -> tuple[int, int]:
    """Kilobytes of this process's mappings of shared arrays, and those of them that no other process has."""
    mapped = private = 0
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        name, _, value = line.partition(":")
        if "-" in name:
            inside = "memfd:arrays" in line
        elif inside and name in ("Private_Clean", "Private_Dirty"):
            private += int(value.split()[0])
        elif inside and name == "Size":
            mapped += int(value.split()[0])
    return mapped, private


def report(arrays: SharedArrays, connection) -> None:
    total = int(arrays["a"].sum())
    connection.send((total, arrays["b"].tolist(), *mapped_and_private()))


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_process_sees_the_same_memory(method):
    arrays = make()
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=report, args=(arrays, theirs))
    child.start()
    assert ours.poll(60)
    total, short, mapped, private = ours.recv()
    child.join()
    assert (total, short) == (SIZE * (SIZE - 1) // 2, [7, 8, 9])
    assert mapped >= SIZE * 8 / 1024 and private < 100


def test_pickled_for_a_file_they_go_as_bytes_and_come_back_the_same():
    copy = pickle.loads(pickle.dumps(make()))
    assert sorted(copy) == ["a", "b"] and len(copy) == 2
    assert copy["a"].dtype == np.int64 and np.array_equal(copy["a"], np.arange(SIZE))
    assert copy["b"].tolist() == [7, 8, 9]


def test_nobody_can_write_to_them():
    with pytest.raises(ValueError, match="read-only"):
        make()["b"][0] = 1


def test_none_and_empty_ones():
    assert len(SharedArrays({})) == 0
    assert SharedArrays({"a": np.empty(0, np.int32)})["a"].tolist() == []


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


def test_nothing_is_left_of_them():
    before = descriptors()
    arrays = make()
    kept = arrays["b"]
    del arrays
    assert kept.tolist() == [7, 8, 9], "an array outlives the others"
    del kept
    assert descriptors() == before
