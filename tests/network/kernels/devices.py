"""Where kernels are tested: on the CPU in Triton's interpreter (TRITON_INTERPRET=1), and compiled on a GPU."""

import os
from typing import Any

import pytest
import torch

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
DEVICES = (pytest.param("cpu", marks=needs_interpreter), pytest.param("cuda", marks=pytest.mark.gpu))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
POINTERS = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16", torch.int64: "*i64",
            torch.int32: "*i32", torch.uint8: "*u8"}  # fmt: skip


def clips(shape: tuple[int, ...], dtype: torch.dtype, device: str, seed: int = 0) -> torch.Tensor:
    """Random numbers (B, C, T, H, W) in channels_last_3d; their mean is 0.5."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 0.5
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)


def compiled(
    kernel: Any, pointers: dict[str, torch.dtype], constants: dict[str, Any], warps: int = 4, width: str = "C"
) -> Any:
    """The kernel compiled for an H100, as in a training step: 16 divides all addresses and the channels `width`.

    Arguments that are neither pointers nor constants are int32, but for momentum, eps and factor.
    """
    import triton
    from triton.backends.compiler import GPUTarget

    floats = dict.fromkeys(("momentum", "eps", "factor"), "fp32")
    kinds = {name: POINTERS[dtype] for name, dtype in pointers.items()} | dict.fromkeys(constants, "constexpr") | floats
    signature = {name: kinds.get(name, "i32") for name in kernel.arg_names}
    aligned = [index for index, name in enumerate(kernel.arg_names) if name in pointers or name == width]
    attributes = {(index,): [["tt.divisibility", 16]] for index in aligned}
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": warps})
