"""Files without a name, which processes share as memory."""

import errno
import os
import tempfile


def anonymous_file(purpose: str, size: int) -> int:
    """Descriptor of a file of `size` bytes without a name; OSError if there cannot be that much.

    Nothing is left of it when the last process that has it ends, and the size of /dev/shm does not limit it.
    Linux shows its purpose where it lists a process's memory.
    """
    if size > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        raise OSError(errno.ENOMEM, "this machine has less")  # else processes are killed once it is written to
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create(purpose, os.MFD_CLOEXEC)
    else:  # outside of Linux
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor
