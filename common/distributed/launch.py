"""Starts a run's ranks on this machine, as `--gpus N` asks for, passes signals on to them, and ends them together."""

import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from types import FrameType

import torch.distributed as dist

from common import interrupt
from common.distributed.stop_signal import SIGNALS
from common.interrupt import LAUNCHER
from common.text import printable

POLL = 0.1  # seconds between two looks at the ranks
SECONDS_TO_SAVE = 3600.0  # for the ranks after a signal: a long step, and a large checkpoint on a slow disk
SECONDS_TO_END = 30.0  # after Ctrl-C, and when they were told that another rank has failed
STORE_TIMEOUT = timedelta(seconds=10)
SECONDS_TO_NOTICE = 3.0  # in which ranks end by themselves when another rank has failed; then they are told
INTERRUPTED = 128 + signal.SIGINT
WRITING, YES, NO = "writing", b"yes", b"no"  # a key of the store, and its values: whether a checkpoint is being written
HANDLED = (*SIGNALS, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)
NO_PAUSE = "Ctrl-Z has no effect with --gpus: all processes go on"


def launch(ranks: int, argv: Sequence[str]) -> int:
    """Run the command line `argv` as `ranks` processes of this machine; return the exit status of the run.

    That is the status of the rank whose failure ended it. If none has failed, it is 0 if the run has finished, else
    that of the signal which stopped it. Ranks print themselves why they fail; what they cannot print, such as a kill,
    is one line here. After a signal that asks for a checkpoint they have an hour to save it, since a rank that is
    killed saves none: it is the scheduler that knows how much time there really is.
    """
    received: list[int] = []
    is_own = interrupt.is_own()
    with _noting(received):
        # The ranks find each other through this store, so that no port need be chosen before it is free.
        store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
        group = _Group(ranks, argv, store)
        try:
            while group.is_running():
                while received:
                    group.pass_on(received.pop(0))
                time.sleep(POLL)
        finally:
            group.kill()  # if an error leads here: else none is left
        status = group.status()
        if is_own:  # and ends now: no signal changes the status any more. Other programs get their handlers back
            for number in HANDLED:
                signal.signal(number, signal.SIG_IGN)
        return status


@contextmanager
def writing() -> Iterator[None]:
    """Inside this context, which is one of the first rank, `launch` gives it time to write, also after a failure."""
    store = None
    if interrupt.has_launcher():
        with suppress(RuntimeError):  # a connection of its own: a wait in another thread would hold it up
            address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
            store = dist.TCPStore(address, port, is_master=False, timeout=STORE_TIMEOUT)
            store.set(WRITING, YES.decode())
    try:
        yield
    finally:
        with suppress(RuntimeError):
            if store is not None:
                store.set(WRITING, NO.decode())


@contextmanager
def _noting(received: list[int]) -> Iterator[None]:
    """Inside this context, signals are noted in `received`, but not those that are ignored, as by `nohup` and `&`.

    At its end the old handlers are back, unless the signals are ignored by then.
    """

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)

    numbers = [number for number in HANDLED if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is note:
                signal.signal(number, handler)


class _Group:
    """The ranks of a run: each leads a session of its own, so that no signal of the terminal reaches it directly."""

    def __init__(self, ranks: int, argv: Sequence[str], store: dist.TCPStore) -> None:
        self.store = store
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.ended: dict[int, int] = {}  # rank: exit status, negative for a signal, in the order of their ends
        self.killed: list[int] = []  # the ranks that had to be killed here
        self.told: list[int] = []  # the ranks that were told that another one has failed, or killed here
        self.stopped_by: int | None = None  # the signal that was passed on
        self.ended_before: list[int] | None = None  # the ranks that had ended when a signal was passed on
        self.is_passed_on = False  # whether the signal of one rank was, or the failure of one
        self.notice_until = math.inf  # when ranks are told that another one has failed, by SIGTERM
        self.deadline = math.inf  # when the ranks that still run are killed
        self.may_write_until = -math.inf  # until when a checkpoint that is being written defers that, after a failure
        try:
            for rank in range(ranks):
                self.running[rank] = subprocess.Popen(
                    [sys.executable, "-u", *argv],
                    env=os.environ | _environment(rank, ranks, store.port),
                    start_new_session=True,
                )
        except BaseException:
            self.kill()
            raise

    def is_running(self) -> bool:
        """Look which ranks have ended, and end the others if it is time. Whether any is still running."""
        found = {rank: code for rank, process in self.running.items() if (code := process.poll()) is not None}
        for rank, code in found.items():
            del self.running[rank]
            self.ended[rank] = code
            self._note_end(code)
            if rank == 0 and code:  # it alone writes: what others do is for nothing
                self.deadline = min(self.deadline, time.monotonic() + SECONDS_TO_END)
        now = time.monotonic()
        if self.running and now > self.notice_until:
            self.notice_until = math.inf
            if self.stopped_by is None:  # else the first rank may be saving, for which it has its time
                self.deadline = min(self.deadline, now + SECONDS_TO_END)
                self.may_write_until = now + SECONDS_TO_SAVE
            self.told, self.is_passed_on = [*self.running], True
            self._send(signal.SIGTERM)
        if now < self.may_write_until and self._is_writing():
            self.deadline = now + SECONDS_TO_END
        if self.running and now > self.deadline:
            self.killed += self.running
            self.told += self.running
            self.kill()
        return bool(self.running)

    def _is_writing(self) -> bool:
        return 0 in self.running and self.store.check([WRITING]) and self.store.get(WRITING) == YES

    def _note_end(self, code: int) -> None:
        if _is_stop(code):  # by a signal to this rank, which stops all; the first one may be saving
            self.deadline = min(self.deadline, time.monotonic() + SECONDS_TO_SAVE)
            if self.stopped_by is None and not self.is_passed_on:  # in training all know it, but not before
                self.is_passed_on = True
                self._note_stop()
                self._send(signal.SIGTERM)
        elif self._is_failure(code):
            self.notice_until = min(self.notice_until, time.monotonic() + SECONDS_TO_NOTICE)

    def _is_failure(self, code: int) -> bool:
        by_signal = (128 + self.stopped_by, -self.stopped_by) if self.stopped_by else ()
        return code not in (0, *by_signal) and not _is_stop(code)

    def pass_on(self, number: int) -> None:
        """Pass a signal on. A second Ctrl-C kills the ranks; other signals after the first change nothing.

        Ctrl-Z is not passed on: ranks that wait for each other count the time, and give up after ten minutes.
        """
        if number == signal.SIGTSTP:
            print(NO_PAUSE, file=sys.stderr)
            return
        now = time.monotonic()
        if number in (signal.SIGINT, signal.SIGQUIT):
            self.may_write_until = -math.inf
        if number == signal.SIGQUIT or number == self.stopped_by == signal.SIGINT:
            self.deadline = now
        elif number == signal.SIGINT:
            self.deadline = min(self.deadline, now + SECONDS_TO_END)
            self._send(number)
        elif self.stopped_by is None:
            self.deadline = min(self.deadline, now + SECONDS_TO_SAVE)
            self._send(number)
        else:
            return
        self._note_stop()
        self.stopped_by = number

    def _note_stop(self) -> None:
        if self.ended_before is None:
            self.ended_before = [*self.ended]

    def _send(self, number: int) -> None:
        for process in self.running.values():
            process.send_signal(number)

    def kill(self) -> None:
        """Kill the ranks that still run, and the processes that they have started."""
        for process in self.running.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        until = time.monotonic() + SECONDS_TO_END
        for rank, process in self.running.items():
            with suppress(subprocess.TimeoutExpired):  # it waits for a disk or GPU that does not answer: leave it
                process.wait(max(0.0, until - time.monotonic()))
            self.ended[rank] = -signal.SIGKILL if process.returncode is None else process.returncode
        self.running.clear()

    def status(self) -> int:
        """The exit status of the run, when all ranks have ended."""
        if not any(self.ended.values()):
            return 0
        if self.stopped_by in (signal.SIGINT, signal.SIGQUIT):
            print("interrupted", file=sys.stderr)  # ranks leave it to this process
            return 128 + self.stopped_by
        failures = [rank for rank, code in self.ended.items() if rank not in self.told and self._is_failure(code)]
        if self.ended_before is not None and _is_stop(self.ended[0]):  # and others may have missed it since
            failures = [rank for rank in failures if rank in self.ended_before]
        if failures:
            # The cause may end last. A kill, Ctrl-C or a user's mistake (2) is one; a lost connection (1) follows.
            return self._told(min(failures, key=lambda rank: (self.ended[rank] > 0, -self.ended[rank])))
        if 0 in self.killed:
            name = _name(self.stopped_by) if self.stopped_by else "the signal"
            _tell(
                f"rank 0 did not end within {SECONDS_TO_SAVE:.0f} s of {name} and was killed: what was not saved by "
                "then is lost"
            )
            return 1
        if self.ended[0] == 0:  # it has finished, and has written all; another one may have met the signal at its exit
            return 0
        if -self.ended[0] in SIGNALS:  # by the default action, before it could say so
            name = _name(-self.ended[0])
            print(f"stopped by a signal ({name}) before it began: there was nothing to save", file=sys.stderr)
        code = next(code for code in self.ended.values() if _is_stop(code))
        by = self.stopped_by or -code
        return SIGNALS[signal.Signals(by)] if by > 0 else code

    def _told(self, rank: int) -> int:
        """The status of a run that ended because this rank has failed. Prints what the rank cannot have printed."""
        code = self.ended[rank]
        if code == INTERRUPTED:
            _tell(f"rank {rank} was interrupted (SIGINT); the other ranks were stopped")
        elif code < 0:
            _tell(f"rank {rank} was killed by {_name(-code)}; the other ranks were stopped")
        return code if code > 0 else 1


def _is_stop(code: int) -> bool:
    """Whether a rank ended by a signal that stops a run, be it that it noticed, or by the system."""
    return code in SIGNALS.values() or -code in SIGNALS


def _environment(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What a rank finds in its environment, as torchrun sets it."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(ranks),
        "LOCAL_WORLD_SIZE": str(ranks),
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        LAUNCHER: str(os.getpid()),
        "TORCHELASTIC_USE_AGENT_STORE": "True",  # there is a store at this port
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": os.environ.get("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),
    }


def _name(number: int) -> str:
    return next((each.name for each in signal.Signals if each == number), f"signal {number}")


def _tell(message: str) -> None:
    print(printable(f"error: {message}"), file=sys.stderr)
