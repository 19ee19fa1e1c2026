"""Without these settings a training step takes longer than it must."""

import platform
import subprocess
import sys

import pytest

FAULTS_OF_FIVE_STEPS = """
import resource, sys
import torch
from train.backend import tune_device

if sys.argv[1] == "tuned":
    tune_device("cpu")
for step in range(10):
    if step == 5:  # what the first ones left is there to be used again
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    activations = [torch.ones(2**24) for _ in range(2)]  # 64 MiB each
    del activations
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(setting: str) -> int:
    command = [sys.executable, "-c", FAULTS_OF_FIVE_STEPS, setting]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_steps_on_a_cpu_use_their_memory_again():
    assert page_faults("untuned") > 100, "there is nothing to save here"
    assert page_faults("tuned") < 50
