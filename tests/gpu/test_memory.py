"""How the memory of a GPU is taken: in segments that grow, from the first allocation of a process on."""

import json
import os
import subprocess
import sys

import pytest

from common.device import ALLOCATOR_VARIABLES
from tests.processes import ROOT

# Tensors of rising sizes, each freed before the next. Prints what is reserved of a GPU after each, in MiB, and the
# share of it in segments that can grow.
SCRIPT = """
import json
import torch
from common.device import tune_device

tune_device("cuda")
reserved = []
for size in (100, 130, 170, 220, 290):
    torch.ones(size << 20, dtype=torch.uint8, device="cuda")
    reserved.append(torch.cuda.memory_reserved() >> 20)
segments = torch.cuda.memory_snapshot()
total = sum(segment["total_size"] for segment in segments)
growing = sum(segment["total_size"] for segment in segments if segment["is_expandable"])
print(json.dumps([reserved, growing / total]))
"""


def run_script(**variables: str) -> tuple[list[int], float]:
    environment = {name: value for name, value in os.environ.items() if name not in ALLOCATOR_VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=ROOT, env=environment | variables, check=True, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    return json.loads(done.stdout)


@pytest.mark.gpu
def test_freed_memory_serves_a_larger_tensor():
    """Without it, each of the sizes gets memory of its own: a run of changing shapes ends for want of memory."""
    reserved, growing = run_script()
    assert growing == 1
    assert reserved[-1] < 1.2 * 290


@pytest.mark.gpu
def test_the_user_can_switch_it_off():
    reserved, growing = run_script(PYTORCH_ALLOC_CONF="expandable_segments:False")
    assert growing == 0
    assert reserved[-1] > 2 * 290
