"""Tests that run on the CPU and, with the marker `gpu`, on a GPU: there they find what only a GPU does wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))
SLOW_ON_CPU = (pytest.param("cpu", marks=pytest.mark.slow), DEVICES[1])
# On the CPU the networks train in fp32 alone.
PRECISIONS = (
    ("cpu", "fp32"),
    *(pytest.param("cuda", precision, marks=pytest.mark.gpu) for precision in ("fp32", "bf16", "fp16")),
)


@contextmanager
def no_waiting(device: str) -> Iterator[None]:
    """On a GPU, whatever makes the host wait for the device is an error; on the CPU nothing does."""
    if device == "cpu":
        yield
        return
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@contextmanager
def tf32(is_allowed: bool) -> Iterator[None]:
    """Single-precision operations of a GPU with or without TF32."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = is_allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before
