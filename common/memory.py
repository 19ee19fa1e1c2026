"""Memory of the operating system: files without a name, and what the C library does with freed memory.

Linux and glibc have calls for both. Elsewhere the functions use a substitute or do nothing.
"""

import ctypes
import errno
import os
import tempfile
from pathlib import Path

# Parameters of mallopt(3), from glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4


def anonymous_file(purpose: str, size: int) -> int:
    """Descriptor of a file of `size` bytes that has no name; processes that inherit it share its memory.

    The file disappears when the last process that holds it ends. The size of /dev/shm does not limit it. Linux shows
    `purpose` in the list of a process's memory. OSError if the machine has less memory than `size`.
    """
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        # Without this check, the system kills processes once they write to the file.
        raise OSError(errno.ENOMEM, "this machine has less")
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(purpose, os.MFD_CLOEXEC)
    else:  # not Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def keep_freed_memory() -> None:
    """Let this process, and those that it forks, keep freed memory for their next allocations; glibc only.

    By default glibc maps each large allocation and unmaps it when it is freed. Then every training step waits while
    the kernel clears the pages of its activations again, which takes a tenth of the step or more.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, TypeError):  # musl and macOS have no mallopt; Windows has no CDLL(None)
        return
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never give memory back


def available_memory() -> int:
    """The bytes that the system can give to programs, or use as cache, without swapping; 0 where it does not tell."""
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return 0
