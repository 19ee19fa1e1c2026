"""What a process asks of the operating system: its CPUs, its environment, and a signal when its parent ends.

Linux has calls for the CPUs and the signal. Elsewhere the functions use a substitute or do nothing.
"""

import ctypes
import os
import re
from pathlib import Path
from signal import Signals

from common.errors import DataError
from common.text import quoted

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def signal_at_parent_death(number: Signals, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent ends, for whatever reason; Linux only.

    If the parent ended before this call, the kernel sends nothing. Pass the parent's process id as `parent` to cover
    that case: the signal is then sent at once.
    """
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    except (OSError, AttributeError, TypeError):  # not Linux
        return
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def parent_start() -> str:
    """When the process that started this one was started, in the kernel's ticks; empty where the system is not Linux.

    With the number of that process it tells it from a later one that gets the same number.
    """
    try:
        status = Path(f"/proc/{os.getppid()}/stat").read_text(encoding="utf-8", errors="replace")
        return status.rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return ""


def available_cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def environment_number(name: str, minimum: int = 0) -> int:
    """The whole number in an environment variable that torchrun sets; DataError if there is none."""
    text = os.environ.get(name)
    remedy = "start the run with torchrun or --gpus, or unset the variables of torchrun: RANK, LOCAL_WORLD_SIZE, ..."
    if text is None:
        raise DataError(f"the environment variable {name} is missing, but others of torchrun are set: {remedy}")
    if not re.fullmatch("[0-9]{1,9}", text) or int(text) < minimum:
        raise DataError(f"the environment variable {name} is {quoted(text)}, not a number from {minimum}: {remedy}")
    return int(text)
