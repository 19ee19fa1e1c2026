"""Worker processes that may die: each job is done, fails, or is lost with its worker, and the others go on.

Not pebble's ProcessPool: its workers share one pipe and one lock, so a worker that the kernel kills at a bad moment
breaks the whole pool or makes it wait for ever.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from common.errors import DataError
from common.files import reason

Job = TypeVar("Job")
Result = TypeVar("Result")
Beat = Callable[[], None]

STALL_SECONDS = 600.0  # a job that calls `beat` less often is stuck in a decoder or on a dead disk


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """A job's result, or else the reason why there is none."""

    job: Job
    result: Result | None
    reason: str = ""
    is_part: bool = False  # others of the job follow


def run_jobs(
    function: Callable[[Job, Beat], Result] | Callable[[Job, Beat], Generator[Result, None, Result]],
    jobs: Iterable[Job],
    workers: int,
    clean_up: Callable[[Job], None] | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> Generator[Outcome[Job, Result], None, None]:
    """Do the jobs in `workers` processes and yield their outcomes in the order in which they finish.

    `jobs` are taken one by one, when a worker is idle. `function` (picklable) gets a job and `beat`, which it must call
    at least every `stall_seconds`; else its worker is killed. `beat` also ends a worker whose run was killed. A job
    whose function raises or whose worker dies is not repeated; for the latter, `clean_up` is called in this process.
    A function that is a generator has an outcome for each value that it yields, marked `is_part`, and then one with
    what it returns; it waits until its values are taken.
    Leaving the iteration early, also by an exception, kills the workers. DataError if they cannot start.
    """
    pending = iter(jobs)
    pool: list[_Worker[Job]] = []
    any_started = False
    try:
        while True:
            while len(pool) < workers and (job := next(pending, None)) is not None:
                try:
                    pool.append(_Worker(function, stall_seconds))
                except OSError as error:
                    raise DataError(f"worker process {len(pool) + 1} cannot start: {reason(error)}") from error
                pool[-1].give(job)
            if not pool:
                return
            ready = wait([worker.connection for worker in pool])
            for worker in [worker for worker in pool if worker.connection in ready]:
                try:
                    message = worker.connection.recv()
                except (EOFError, OSError):
                    pool.remove(worker)
                    lost = Outcome[Job, Result](worker.job, None, worker.death(stall_seconds))
                    worker.end()
                    if not any_started:
                        raise DataError(f"no worker process can start: {lost.reason}; it says why above") from None
                    if clean_up:
                        clean_up(lost.job)
                    yield lost
                    continue
                any_started = True
                if message is None:
                    continue
                if message[2]:
                    yield Outcome(worker.job, *message)
                    continue
                worker.has_job = False
                yield Outcome(worker.job, *message)
                if (job := next(pending, None)) is not None:
                    worker.give(job)
                else:
                    pool.remove(worker)
                    worker.end()
    finally:
        for worker in pool:
            worker.process.kill()
        for worker in pool:
            worker.end()
            if clean_up and worker.has_job:
                clean_up(worker.job)


class _Worker(Generic[Job]):
    """A process and its job, the last one if it has none now."""

    job: Job
    has_job = False

    def __init__(self, function: Callable[[Job, Beat], Any], stall_seconds: float) -> None:
        context = multiprocessing.get_context("spawn")  # a fork would copy the progress bar's thread and locks
        self.connection, theirs = context.Pipe()
        arguments = (function, theirs, os.getpid(), stall_seconds)
        self.process = context.Process(target=_work, args=arguments, daemon=True)
        # Ctrl-C goes to all processes of the terminal. Workers inherit the mask and never see it: this process ends
        # them. multiprocessing's resource tracker unblocks SIGINT when it starts, so start it first.
        resource_tracker.ensure_running()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            self.process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        theirs.close()

    def give(self, job: Job) -> None:
        """Start a job."""
        self.job, self.has_job = job, True
        with suppress(OSError):  # a dead worker is noticed when its result is read
            self.connection.send(job)

    def death(self, stall_seconds: float) -> str:
        """Why it died."""
        self.process.join()
        code = self.process.exitcode
        assert code is not None
        if code == -signal.SIGALRM:
            return f"no progress for {stall_seconds:g} s, the worker was stopped"
        if code >= 0:
            return f"worker died (exit {code})"
        name = next((f", {each.name}" for each in signal.Signals if each == -code), "")
        return f"worker died (signal {-code}{name})"

    def end(self) -> None:
        """End the process; an idle one ends by itself when its pipe is closed."""
        self.connection.close()
        self.process.join(timeout=5.0)
        self.process.kill()
        self.process.join()
        self.process.close()


def _work(function: Callable[[Job, Beat], Any], connection: Connection, parent: int, stall_seconds: float) -> None:
    def beat() -> None:
        if os.getppid() != parent:
            raise SystemExit(1)
        signal.setitimer(signal.ITIMER_REAL, stall_seconds)  # SIGALRM kills the process, also inside a C library

    with suppress(EOFError, OSError):  # there are no more jobs, or the run was killed
        connection.send(None)
        while True:
            job = connection.recv()
            beat()
            message: tuple[Any, str, bool]
            try:
                result = function(job, beat)
                if isinstance(result, Generator):
                    result = _send_parts(result, connection, beat)
                message = (result, "", False)
            except DataError as error:
                message = (None, str(error), False)
            except Exception as error:  # whatever it is, the other jobs go on
                message = (None, f"{type(error).__name__}: {error}", False)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send(message)


def _send_parts(parts: Generator[Any, None, Any], connection: Connection, beat: Beat) -> Any:
    while True:
        try:
            part = next(parts)
        except StopIteration as end:
            return end.value
        signal.setitimer(signal.ITIMER_REAL, 0)  # how long it waits is not the job's fault
        connection.send((part, "", True))
        beat()
