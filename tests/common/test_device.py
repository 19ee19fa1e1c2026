"""Without these settings a training step takes longer than necessary."""

import platform
import subprocess
import sys

import pytest

# Prints how many bytes of freed memory the C library keeps, before and after tune_device. mallinfo(3) gives ten ints.
KEPT_BYTES = """
import ctypes
import torch
from common.device import tune_device

class MallInfo(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]

mallinfo = ctypes.CDLL(None).mallinfo
mallinfo.restype = MallInfo

def kept_bytes():
    activations = torch.ones(2**24)  # 64 MiB
    del activations
    return mallinfo().fordblks

print(kept_bytes())
tune_device("cpu")
print(kept_bytes())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_on_a_cpu_freed_memory_is_kept_for_the_next_step():
    """Otherwise each step waits while the kernel clears the pages of its activations again."""
    command = [sys.executable, "-c", KEPT_BYTES]
    before, after = map(int, subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split())
    assert before < 2**26, "glibc keeps it anyway: the setting is not needed"
    assert after >= 2**26
