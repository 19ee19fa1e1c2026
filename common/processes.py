"""What a process asks of the operating system: its CPUs, its environment, and a signal when its parent ends.

Linux has calls for the CPUs and the signal. Elsewhere the functions use a substitute or do nothing.
"""

import ctypes
import hashlib
import os
import re
import socket
import time
from pathlib import Path
from signal import Signals

from common.errors import DataError
from common.text import quoted

_PR_SET_PDEATHSIG = 1  # of prctl(2)


def signal_at_parent_death(number: Signals, parent: int | None = None) -> bool:
    """Have the kernel send this process a signal when its parent ends, for whatever reason. Whether it will: on Linux.

    If the parent ended before this call, the kernel sends nothing. Pass the parent's process id as `parent` to cover
    that case: the signal is then sent at once.
    """
    try:
        is_set = ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number) == 0
    except (OSError, AttributeError, TypeError):  # not Linux
        return False
    if is_set and parent is not None and os.getppid() != parent:
        os.kill(os.getpid(), number)
    return is_set


def parent_start() -> str:
    """When the process that started this one was started, in the kernel's ticks; empty where the system is not Linux.

    With the number of that process it tells it from a later one that gets the same number.
    """
    return process_start(os.getppid())


def process_start(process: int) -> str:
    """As `parent_start` for any process of this machine; empty also if it has ended."""
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
        fields = status.rsplit(")", 1)[1].split()
        return "" if fields[0] in "ZX" else fields[19]  # Z: it has ended, and its parent has not asked for its status
    except (OSError, IndexError):
        return ""


def is_running(process: int, start: str) -> bool:
    """Whether a process of this machine runs that began at `start`, as `process_start` gave it."""
    if start:
        return process_start(process) == start
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # it is another user's
        return True
    return True


def process_space() -> str:
    """What tells the processes that this one can see from those of other machines, containers and starts."""
    parts = [socket.gethostname()]
    try:
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii"))
        parts.append(str(Path("/proc/self/ns/pid").readlink()))
    except OSError:  # not Linux
        pass
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


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


def seconds_of_process() -> float:
    """The seconds since this process was started; its time on the processor where the system does not tell."""
    try:
        ticks = int(process_start(os.getpid()))
        running = float(Path("/proc/uptime").read_text(encoding="ascii").split()[0])
        return running - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return time.process_time()
