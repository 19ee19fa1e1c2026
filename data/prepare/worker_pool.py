"""Worker processes of which any may die: each job is done, failed or lost, and the others go on."""

import math
import multiprocessing
import signal
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from common.errors import DataError

Job = TypeVar("Job")
Result = TypeVar("Result")
Beat = Callable[[], None]

BEAT_SECONDS = 0.5
STALL_SECONDS = 600.0  # a worker that has not been heard of for so long is stuck in a decoder or on a dead disk
READY, BEAT, DONE, FAILED = range(4)


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """What became of a job: its result, or else the reason why there is none."""

    job: Job
    result: Result | None
    reason: str = ""


@dataclass
class _Worker(Generic[Job]):
    process: SpawnProcess
    connection: Connection
    job: Job | None = None
    last_heard: float = math.inf  # seconds; it may take its time to start


def run_jobs(
    function: Callable[[Job, Beat], Result],
    jobs: Iterable[Job],
    workers: int,
    clean_up: Callable[[Job], None] | None = None,
    stall_seconds: float = STALL_SECONDS,
) -> Generator[Outcome[Job, Result], None, None]:
    """Do the jobs in `workers` processes and yield their outcomes as they come.

    `function` (picklable) gets the job and a function to call often, by which the pool sees that the worker lives and
    the worker sees that the pool does. An exception in it makes the job fail; so does the death of its process, after
    which a new one is started; no job is tried twice. `clean_up` is called, here, for a job whose process was killed.
    Leaving the iteration early, by an exception too, kills the workers.
    """
    pending = iter(jobs)
    pool: list[_Worker[Job]] = []
    started = False
    try:
        while True:
            _keep_busy(pool, pending, workers, function)
            if not pool:
                return
            for worker in _heard_or_stuck(pool, stall_seconds):
                kind, payload = _receive(worker, stall_seconds)
                worker.last_heard = time.monotonic()
                started = started or kind is not None
                if kind in (READY, BEAT):
                    continue
                job, worker.job = worker.job, None
                assert job is not None  # a worker without a job is ended at once
                if kind == DONE:
                    yield Outcome(job, payload)
                elif kind == FAILED:
                    yield Outcome(job, None, payload)
                else:
                    pool.remove(worker)
                    _stop(worker)
                    if not started:
                        raise RuntimeError(f"no worker process can start: {payload}")
                    if clean_up:
                        clean_up(job)
                    yield Outcome(job, None, payload)
    finally:
        for worker in pool:
            worker.process.kill()
        for worker in pool:
            _stop(worker)
            if worker.job is not None and clean_up:
                clean_up(worker.job)


def _keep_busy(
    pool: list[_Worker[Job]], pending: Iterator[Job], workers: int, function: Callable[[Job, Beat], Any]
) -> None:
    """Give every idle worker a job, start workers while there are jobs, and end those that find none left."""
    idle = [worker for worker in pool if worker.job is None]
    while idle or len(pool) < workers:
        job = next(pending, None)
        if job is None:
            for worker in idle:
                pool.remove(worker)
                _stop(worker)
            return
        if idle:
            worker = idle.pop()
            worker.last_heard = time.monotonic()
        else:
            worker = _start(function)
            pool.append(worker)
        worker.job = job
        try:
            worker.connection.send(job)
        except OSError:
            pass  # it has died: reading from it will say so


def _start(function: Callable[[Job, Beat], Any]) -> _Worker[Job]:
    context = multiprocessing.get_context("spawn")  # a fork would copy the progress bar's thread and locks
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(function, theirs), daemon=True)
    # Ctrl-C goes to all processes of the terminal; blocked here while it starts, it never reaches the worker, which
    # this process ends.
    signals = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, signals)
    theirs.close()
    return _Worker(process, ours)


def _heard_or_stuck(pool: list[_Worker[Job]], stall_seconds: float) -> list[_Worker[Job]]:
    heard = wait([worker.connection for worker in pool], timeout=min(stall_seconds, 5.0))
    now = time.monotonic()
    return [worker for worker in pool if worker.connection in heard or now - worker.last_heard > stall_seconds]


def _receive(worker: _Worker[Job], stall_seconds: float) -> tuple[int | None, Any]:
    """A worker's message, or None and how it ended; a stuck worker is ended here."""
    if not worker.connection.poll():
        worker.process.kill()
        return None, f"no progress for {stall_seconds:g} s, the worker was stopped"
    try:
        return worker.connection.recv()
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        assert code is not None
        return None, f"worker died (signal {-code}{_signal_name(-code)})" if code < 0 else f"worker died (exit {code})"


def _signal_name(number: int) -> str:
    try:
        return f", {signal.Signals(number).name}"
    except ValueError:
        return ""


def _stop(worker: _Worker[Job]) -> None:
    """End a worker that has no job, or is dead: the end of its pipe is its sign to leave."""
    worker.connection.close()
    worker.process.join(timeout=5.0)
    worker.process.kill()
    worker.process.join()
    worker.process.close()


def _work(function: Callable[[Job, Beat], Any], connection: Connection) -> None:
    beat = _Heartbeat(connection)
    try:
        connection.send((READY, None))
        while True:
            job = connection.recv()
            try:
                message = (DONE, function(job, beat))
            except DataError as error:
                message = (FAILED, str(error))
            except Exception as error:  # whatever it is, the other videos go on
                message = (FAILED, f"{type(error).__name__}: {error}")
            connection.send(message)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # no more work, or nobody to work for


class _Heartbeat:
    """Tells the pool that the worker lives; ends the worker, cleanly, if the pool does not."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._last = time.monotonic()

    def __call__(self) -> None:
        now = time.monotonic()
        if now - self._last < BEAT_SECONDS:
            return
        self._last = now
        try:
            self._connection.send((BEAT, None))
        except OSError:
            raise SystemExit(1) from None
