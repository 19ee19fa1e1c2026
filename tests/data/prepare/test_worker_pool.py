"""A worker that dies, hangs or raises costs one job and no more."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from common.errors import DataError
from data.prepare.worker_pool import run_jobs

ROOT = Path(__file__).parents[3]


def act(job: tuple[str, int], beat: Callable[[], None]) -> int:
    action, number = job
    if action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif action == "leave":
        os._exit(7)
    elif action == "hang":
        ctypes.PyDLL(None).sleep(600)  # in C, holding the GIL, as a decoder may
    elif action == "beat":
        end = time.monotonic() + 3.5
        while time.monotonic() < end:
            beat()
            time.sleep(0.05)
    elif action == "bad data":
        raise DataError("the data is bad")
    elif action == "bug":
        raise KeyError("what")
    return number * 10


def blocks_ctrl_c(_: int, beat: Callable[[], None]) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def wait_for_parents_end(folder: Path, beat: Callable[[], None]) -> None:
    try:
        while True:
            (folder / "alive").touch()
            beat()
            time.sleep(0.05)
    finally:
        (folder / "cleaned up").touch()


def test_every_job_has_one_outcome_whatever_its_worker_does() -> None:
    actions = ["fine", "kill", "fine", "crash", "bad data", "leave", "bug", "fine", "kill", "fine"]
    lost: list[tuple[str, int]] = []
    outcomes = list(run_jobs(act, [(action, number) for number, action in enumerate(actions)], 2, lost.append))
    by_number = {outcome.job[1]: outcome for outcome in outcomes}
    assert sorted(by_number) == list(range(10)) and len(outcomes) == 10
    assert [by_number[n].result for n in (0, 2, 7, 9)] == [0, 20, 70, 90]
    assert [by_number[n].reason for n in (1, 3, 4, 5, 6)] == [
        "worker died (signal 9, SIGKILL)",
        "worker died (signal 11, SIGSEGV)",
        "the data is bad",
        "worker died (exit 7)",
        "KeyError: 'what'",
    ]
    assert sorted(number for _, number in lost) == [1, 3, 5, 8]


def test_a_worker_that_hangs_is_stopped_and_one_that_is_slow_is_not() -> None:
    jobs = [("hang", 0), ("beat", 1), ("fine", 2)]
    outcomes = {outcome.job[0]: outcome for outcome in run_jobs(act, jobs, 2, stall_seconds=2.5)}
    assert "2.5 s" in outcomes["hang"].reason
    assert (outcomes["beat"].result, outcomes["fine"].result) == (10, 20)


def test_jobs_are_taken_when_a_worker_is_idle() -> None:
    """A list of a million videos must not be copied, and a failed run must not have started what follows."""
    taken: list[int] = []

    def jobs() -> Iterator[tuple[str, int]]:
        for number in range(100):
            taken.append(number)
            yield "fine", number

    outcomes = run_jobs(act, jobs(), 2)
    for finished in range(1, 6):
        next(outcomes)
        assert len(taken) <= finished + 1
    outcomes.close()


def test_workers_do_not_see_ctrl_c() -> None:
    """Each would print a traceback over the one line that says that the run was interrupted."""
    code = (
        "from tests.data.prepare.test_worker_pool import *\n"
        "print([outcome.result for outcome in run_jobs(blocks_ctrl_c, [1, 2], 2)])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "[True, True]\n", run.stderr


def test_leaving_early_ends_the_workers() -> None:
    lost: list[tuple[str, int]] = []
    outcomes = run_jobs(act, [("fine", 0), ("hang", 1), ("hang", 2)], 2, lost.append)
    next(outcomes)
    outcomes.close()
    assert sorted(lost) in ([("hang", 1)], [("hang", 1), ("hang", 2)])


def test_a_worker_whose_parent_was_killed_ends_by_itself(tmp_path: Path) -> None:
    parent = os.fork()
    if parent == 0:
        try:
            list(run_jobs(wait_for_parents_end, [tmp_path], 1))
        finally:
            os._exit(1)
    deadline = time.monotonic() + 60
    while not (tmp_path / "alive").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    while not (tmp_path / "cleaned up").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "cleaned up").exists()


def test_too_few_open_files_are_one_line() -> None:
    code = (
        "import resource\n"
        "from tests.data.prepare.test_worker_pool import *\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))\n"
        "try:\n    list(run_jobs(act, [('fine', n) for n in range(50)], 40))\n"
        "except DataError as error:\n    print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "ulimit -n" in run.stdout and run.stdout.count("\n") == 1
    assert "Traceback" not in run.stderr


def test_workers_that_cannot_even_start_end_the_run() -> None:
    with pytest.raises((RuntimeError, AttributeError, TypeError)):
        list(run_jobs(lambda job, beat: None, [1, 2, 3], 2))  # not picklable


def parts_until_killed(job: int, beat: Callable[[], None]) -> Generator[int, None, int]:
    """Three parts; the job 1 kills its process after the first."""
    for part in range(3):
        yield 10 * job + part
        if job == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    return -job - 1


def test_a_job_in_parts_gives_them_in_order_and_its_death_ends_no_other() -> None:
    """A long video is predicted while it is decoded, and a broken one ends itself alone."""
    found: dict[int, list[int | str]] = {0: [], 1: [], 2: []}
    for outcome in run_jobs(parts_until_killed, [0, 1, 2], 2):
        found[outcome.job].append(outcome.reason if outcome.result is None else outcome.result)
        assert outcome.is_part == (outcome.result is not None and outcome.result >= 0)
    assert (found[0], found[2]) == ([0, 1, 2, -1], [20, 21, 22, -3])
    assert found[1][0] == 10 and "SIGKILL" in str(found[1][-1])
