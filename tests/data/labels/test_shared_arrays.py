"""Arrays that child processes share: if this fails, each worker has a copy, or memory is not freed."""

import multiprocessing
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from common.errors import DataError
from data.labels.shared_arrays import SharedArrays

SIZE = 1_000_000
linux = pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="reads /proc")


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


@linux
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


def test_arrays_pickled_for_a_file_are_the_same_when_read():
    copy = pickle.loads(pickle.dumps(make()))
    assert sorted(copy) == ["a", "b"] and len(copy) == 2
    assert copy["a"].dtype == np.int64 and np.array_equal(copy["a"], np.arange(SIZE))
    assert copy["b"].tolist() == [7, 8, 9]


def test_arrays_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        make()["b"][0] = 1


def test_no_arrays_and_an_empty_array():
    assert len(SharedArrays({})) == 0
    assert SharedArrays({"a": np.empty(0, np.int32)})["a"].tolist() == []


def descriptors() -> list[str]:
    return sorted(path.name for path in Path("/proc/self/fd").iterdir())


@linux
def test_the_file_is_closed_with_the_last_array():
    before = descriptors()
    arrays = make()
    kept = arrays["b"]
    del arrays
    assert kept.tolist() == [7, 8, 9]
    del kept
    assert descriptors() == before


def test_too_little_memory_is_one_clear_error():
    """As under `ulimit -f`; it would be a traceback at the start of a run."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(DataError, match=r"8\.0 MB.*ulimit -f"):
            make()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
