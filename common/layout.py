"""The memory layouts of clips and weights."""

from typing import TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}


def with_layout(layout: str, device: str) -> str:
    """The layout that `auto` stands for on a device, "cuda" or "cpu"."""
    if layout != "auto":
        return layout
    return "channels-last" if device == "cuda" else "contiguous"


def best_format(device: torch.device) -> torch.memory_format:
    """The memory format in which networks are fastest on a device."""
    return LAYOUTS[with_layout("auto", device.type)]


def moved(network: Network, device: torch.device, layout: torch.memory_format | None = None) -> Network:
    """The network, in place, on a device and in a layout; by default in the best one."""
    return network.to(device, memory_format=layout or best_format(device))  # type: ignore[call-overload]
