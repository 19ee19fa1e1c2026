"""Sections for test_gpu.py: each measures something and then ends in a way of its own."""

import os
import signal
import subprocess
import sys
import time

from benchmarks.gpu.job import Job, NotAsked


def measure(job: Job) -> None:
    job.add("something", "1x1", "fp32", ms=1.5)


def fail(job: Job) -> None:
    measure(job)
    job.attempt("the impossible", lambda: 1 / 0)
    job.attempt("the possible", lambda: job.add("something else", "1x1", "fp32", ms=2.5))


def raise_at_once(job: Job) -> None:
    raise MemoryError("no room")


def hang(job: Job) -> None:
    """With a process of its own, as of a loader, which must not be left either."""
    measure(job)
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    job.add("process", "", "", pid=child.pid)
    while True:
        time.sleep(60)


def crash(job: Job) -> None:
    measure(job)
    os.kill(os.getpid(), signal.SIGSEGV)


def measure_nothing(job: Job) -> None:
    pass


def need_a_flag(job: Job) -> None:
    raise NotAsked("give --videos")


def take_too_long(job: Job) -> None:
    measure(job)
    job.attempt("the rest", lambda: None, seconds=1e6)
