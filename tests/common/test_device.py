"""Without these settings a training step takes longer than necessary."""

import platform
import subprocess
import sys

import pytest
import torch

from common.device import ALLOCATOR_VARIABLES, let_segments_grow, tune_device

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


@pytest.fixture
def settings(monkeypatch):
    """What the allocator of a GPU is told; no variable of the environment says it."""
    told: list[str] = []
    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", told.append, raising=False)
    for name in ALLOCATOR_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    return told


def test_segments_of_a_gpu_s_memory_can_grow(settings, monkeypatch):
    """Otherwise a run whose shapes change fills the memory with gaps. Older versions of torch have another setter."""
    let_segments_grow()
    monkeypatch.delattr(torch._C, "_accelerator_setAllocatorSettings")
    monkeypatch.setattr(torch.cuda.memory, "_set_allocator_settings", settings.append)
    let_segments_grow()
    assert settings == 2 * ["expandable_segments:True"]


@pytest.mark.parametrize("name", ALLOCATOR_VARIABLES)
def test_the_user_s_settings_of_the_allocator_stay_and_are_told(settings, monkeypatch, caplog, name):
    """A setting replaces all others, so max_split_size_mb would be lost."""
    monkeypatch.setenv(name, "max_split_size_mb:64")
    with caplog.at_level("INFO", "srtg"):
        let_segments_grow()
    assert settings == []
    assert f"{name}=max_split_size_mb:64" in caplog.text


def test_an_allocator_that_refuses_is_told_and_ends_no_run(settings, monkeypatch, caplog):
    def refuse(_: str) -> None:
        raise RuntimeError("unknown setting\nand a trace")

    monkeypatch.setattr(torch._C, "_accelerator_setAllocatorSettings", refuse, raising=False)
    let_segments_grow()
    assert "unknown setting" in caplog.text and "trace" not in caplog.text


def test_a_cpu_s_memory_is_not_concerned(settings, monkeypatch):
    monkeypatch.setattr("common.device.keep_freed_memory", lambda: None)
    tune_device("cpu")
    assert settings == []
