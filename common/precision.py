"""The precisions of a forward pass."""

from contextlib import AbstractContextManager

import torch

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def autocast(device: torch.device, precision: str, caches: bool = True) -> AbstractContextManager[None]:
    """The context of a forward pass: autocast for "fp16" and "bf16", nothing for "fp32".

    `caches`: whether converted weights are kept until the context ends.
    """
    return torch.autocast(device.type, DTYPES[precision], enabled=precision != "fp32", cache_enabled=caches)
