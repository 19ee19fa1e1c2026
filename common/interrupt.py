"""Ctrl-C while a command still imports its libraries, and signals that stop a run then.

Importing torch takes seconds. Until `run_command` starts, Ctrl-C ends a command of the project with one line instead of
a traceback from inside torch. Until a training script handles signals itself, one that would stop its run ends it with
the status of a stopped run, so that a job script knows that it may start it again. Other programs that import the
project keep their own handling.
"""

import os
import signal
import sys
from types import FrameType

STATUS = 128 + signal.SIGINT
# The signals that stop a run, and its exit status then. A job script asks for 143 after SIGUSR1 as after SIGTERM.
STOPPING = {signal.SIGTERM: 143, signal.SIGUSR1: 143, signal.SIGHUP: 129}
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib takes time to import)


def _end(*_: object) -> None:
    _say(b"interrupted\n")
    os._exit(STATUS)  # nothing has begun that would have to be tidied up


def _stop(number: int, _: FrameType | None) -> None:
    name = signal.Signals(number).name
    _say(f"stopped by a signal ({name}) outside of the training steps: there was nothing to save\n".encode())
    os._exit(STOPPING[signal.Signals(number)])


def _say(line: bytes) -> None:
    """Write a line to standard error, on the first of several ranks."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, line)


def end_quietly_until_run(package: str) -> None:
    """Handle signals so if this process is `python -m <package>...` or one of the project's scripts, train_*.py."""
    is_script = False
    if sys.argv[:1] == ["-m"]:  # Python has not yet replaced it by the module's path
        is_own = sys.orig_argv[sys.orig_argv.index("-m") + 1].split(".")[0] == package
    else:
        script = getattr(sys.modules.get("__main__"), "__file__", None) or ""
        folder, name = os.path.split(os.path.abspath(script))  # noqa: PTH100
        is_own = is_script = script != "" and folder == ROOT and name.startswith("train_")
    # A handler other than Python's own is somebody's choice, as is an ignored signal.
    if is_own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
    for number in STOPPING:
        if is_script and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _stop)


def restore_ctrl_c() -> bool:
    """Let Ctrl-C raise KeyboardInterrupt again. Whether it ended the process: this is a command of the project."""
    is_command = signal.getsignal(signal.SIGINT) is _end
    if is_command:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    return is_command


def restore() -> None:
    """Let all signals do again what they do in other programs."""
    restore_ctrl_c()
    for number in STOPPING:
        if signal.getsignal(number) is _stop:
            signal.signal(number, signal.SIG_DFL)


def end_at_next() -> None:
    """After a Ctrl-C, end a command at the next one at once, without a traceback of what it was tidying up."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda *_: os._exit(STATUS))
