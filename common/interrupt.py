"""Ctrl-C while a command still imports its libraries.

Importing torch takes seconds. Until `run_command` starts, Ctrl-C ends a command of the project with one line instead of
a traceback from inside torch. Other programs that import the project keep their own handling.
"""

import os
import signal
import sys

STATUS = 128 + signal.SIGINT
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 (pathlib takes time to import)


def _end(*_: object) -> None:
    os.write(2, b"interrupted\n")
    os._exit(STATUS)  # nothing has begun that would have to be tidied up


def end_quietly_until_run(package: str) -> None:
    """Handle Ctrl-C so if this process is `python -m <package>...` or one of the project's scripts, train_*.py."""
    if sys.argv[:1] == ["-m"]:  # Python has not yet replaced it by the module's path
        is_own = sys.orig_argv[sys.orig_argv.index("-m") + 1].split(".")[0] == package
    else:
        script = getattr(sys.modules.get("__main__"), "__file__", None) or ""
        folder, name = os.path.split(os.path.abspath(script))  # noqa: PTH100
        is_own = script != "" and folder == ROOT and name.startswith("train_")
    # A handler other than Python's own is somebody's choice, as is an ignored signal.
    if is_own and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


def restore() -> None:
    """Let Ctrl-C raise KeyboardInterrupt again."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
