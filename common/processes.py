"""What a process asks of its system: how many CPUs it may use, and to end with its parent."""

import ctypes
import os
from signal import Signals

PR_SET_PDEATHSIG = 1  # of Linux's prctl


def signal_at_parent_death(number: Signals, parent: int | None = None) -> None:
    """Have the kernel send this process a signal when its parent ends, however that ends; Linux only.

    The kernel says nothing of a parent that has ended before. Where the process id of the `parent` is given, the signal
    is then sent at once.
    """
    try:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    except (OSError, AttributeError):  # there is no such call outside of Linux
        return
    if parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)


def available_cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
