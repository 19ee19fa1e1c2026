"""What a process asks of the operating system: its CPUs, and a signal when its parent ends.

Linux has calls for both. Elsewhere the functions use a substitute or do nothing.
"""

import ctypes
import os
from signal import Signals

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


def available_cpus() -> int:
    """The number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
