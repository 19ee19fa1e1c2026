"""Ctrl-C while a command still imports its libraries, and signals that stop a run then.

Importing torch takes seconds. Until `run_command` starts, Ctrl-C ends a command of the project with one line instead of
a traceback from inside torch. Until a training script handles signals itself, one that would stop its run ends it with
the status of a stopped run, so that a job script knows that it may start it again. Other programs that import the
project keep their own handling.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STATUS = 128 + signal.SIGINT
# The signals that stop a run, and its exit status then. A job script asks for 143 after SIGUSR1 as after SIGTERM.
STOPPING = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGHUP: 129}
LAUNCHER = "SRTG_LAUNCHER"  # in the environment of a rank: the process that started it, until this one has read it
_RANK_OF: list[int] = []  # the launcher of this process, if it is a rank of one
_OWN: list[bool] = []  # not empty: this process is a command of the project
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib takes time to import)


def _end(*_: object) -> None:
    if not has_launcher():  # which says it once, for all ranks
        _say(b"interrupted\n")
    os._exit(STATUS)  # nothing has begun that would have to be tidied up


def _stop(number: int, _: FrameType | None) -> None:
    name = signal.Signals(number).name
    _say(f"stopped by a signal ({name}) outside of the training steps: there was nothing to save\n".encode())
    os._exit(STOPPING[signal.Signals(number)])


def _say(line: bytes) -> None:
    """Write a line to standard error, on the first of several ranks."""
    if os.environ.get("RANK", "0") == "0":
        try:
            os.write(2, line)
        except OSError:  # nobody reads it
            return


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Inside this context, a signal ends this process as at an import, even while the main thread waits in C++.

    Python calls no handler there, but wakes another thread. Handlers of other programs, and ignored signals, stay.
    """
    import threading

    ours = (_stop, _end, signal.default_int_handler)  # by its default action, the system ends it in C++, too
    numbers = [number for number in (*STOPPING, signal.SIGINT) if signal.getsignal(number) in ours]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    if not numbers:
        yield
        return
    source, target = os.pipe()
    os.set_blocking(target, False)

    def watch() -> None:
        while number := os.read(source, 1)[0]:
            if number == signal.SIGINT in numbers:
                _end()
            elif number in numbers:
                _stop(number, None)

    thread = threading.Thread(target=watch, name="signals", daemon=True)
    thread.start()
    before = {number: signal.signal(number, lambda *_: None) for number in numbers}
    wakeup = signal.set_wakeup_fd(target)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup)
        os.write(target, b"\0")  # after the signals that have come: none is lost
        thread.join()
        os.close(source)
        os.close(target)


def end_with_launcher() -> None:
    """In a rank that `launch` has started: end, or save and end, when its launcher is killed, be it by now."""
    launcher = os.environ.pop(LAUNCHER, "")  # nobody's but this process's: its children have another parent
    if launcher.isdecimal():
        from common.processes import signal_at_parent_death

        _RANK_OF.append(int(launcher))
        signal_at_parent_death(signal.SIGTERM, int(launcher))


def has_launcher() -> bool:
    """Whether this process is a rank that `launch` has started."""
    return os.getppid() in _RANK_OF


def end_quietly_until_run(package: str) -> None:
    """Handle signals so if this process is `python -m <package>...` or one of the project's scripts, train_*.py."""
    is_script = False
    if sys.argv[:1] == ["-m"]:  # Python has not yet replaced it by the module's path
        is_own = sys.orig_argv[sys.orig_argv.index("-m") + 1].split(".")[0] == package
    else:
        script = getattr(sys.modules.get("__main__"), "__file__", None) or ""
        folder, name = os.path.split(os.path.abspath(script))  # noqa: PTH100
        is_own = is_script = script != "" and folder == ROOT and name.startswith("train_")
    if is_own:
        _OWN.append(True)
    # A handler other than Python's own is somebody's choice, as is an ignored signal.
    if is_own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    for number in STOPPING:
        if is_script and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)
    end_with_launcher()  # by now a signal ends it with the right status


def is_own() -> bool:
    """Whether this process is a command of the project, which ends after its work, and no program that goes on."""
    return bool(_OWN) or signal.getsignal(signal.SIGTERM) is _stop


def restore_ctrl_c() -> bool:
    """Let Ctrl-C raise KeyboardInterrupt again. Whether it ended the process: this is a command of the project."""
    is_command = signal.getsignal(signal.SIGINT) is _end
    if is_command:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return is_command


def restore() -> None:
    """Let all signals do again what they do in other programs, such as a copy of a script with a loop of its own."""
    _OWN.clear()
    restore_ctrl_c()
    for number in STOPPING:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def end_at_next() -> None:
    """After a Ctrl-C, end a command at the next one at once, without a traceback of what it was tidying up."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(STATUS))
