"""Checks of the tensors that a file gives for weights: nothing is cast or broadcast that was not meant to be."""

import zlib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from common.errors import NetworkError
from network.weights.facts import shown

COUNTER = "num_batches_tracked"
"""Batch norm's count of steps. Files of PyTorch before 0.4.1 have none, and nothing here depends on it."""


def check_tensors(weights: object) -> dict[str, Tensor]:
    """The weights, if they are plain tensors under names. NetworkError that names the first other one."""
    if not isinstance(weights, Mapping):
        raise NetworkError(f"the checkpoint's weights are a {type(weights).__name__}, not tensors under names")
    for name, tensor in weights.items():
        if not isinstance(name, str):
            raise NetworkError(f"the checkpoint's weights have a key of type {type(name).__name__}, not a name")
        if not isinstance(tensor, Tensor):
            raise NetworkError(f"{shown(name)} in the checkpoint is a {type(tensor).__name__}, not a tensor")
        if kind := not_plain(tensor):
            raise NetworkError(f"{shown(name)} in the checkpoint is {kind}: save it as a plain tensor")
    return dict(weights)


def not_plain(tensor: Tensor) -> str:
    """What a tensor is if it is not a plain one: "sparse", "quantised", "nested", "expanded"; empty if it is plain."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantised"
    if tensor.layout != torch.strided:
        return "sparse"
    # A file of a kilobyte can ask for any amount of memory so.
    return "expanded" if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() else ""


def why_unusable(value: object, shape: tuple[int, ...]) -> str:
    """Why a value is no plain tensor of that shape on the CPU, with finite values; empty if it is one."""
    if not isinstance(value, Tensor):
        return f"is a {type(value).__name__}, not a tensor"
    if kind := not_plain(value):
        return f"is {kind}"
    if value.shape != shape:
        return f"has shape {shape_text(value.shape)}, not {shape_text(shape)}"
    if value.device.type != "cpu":
        return "has no values"
    return "" if is_finite(value) else "has values that are not finite"


def is_finite(tensor: Tensor) -> bool:
    """Whether no value is infinite or not a number. One pass, many times faster than `isfinite` on each value."""
    if not tensor.numel() or not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    if tensor.is_complex():
        return is_finite(torch.view_as_real(tensor))
    return all(bool(torch.isfinite(value)) for value in torch.aminmax(tensor.detach()))


def checksum(tensors: Mapping[str, Tensor]) -> int:
    """A CRC-32 of names and values; tensors that are not plain, such as sparse ones, are left out."""
    crc = 0
    for name, tensor in tensors.items():
        if not not_plain(tensor) and tensor.device.type != "meta":
            whole = tensor.detach().cpu().resolve_conj().resolve_neg()
            values = whole.reshape(-1).view(torch.uint8).numpy().data
            crc = zlib.crc32(values, zlib.crc32(name.encode(errors="surrogatepass"), crc))
    return crc


def shape_text(shape: Sequence[int]) -> str:
    """`64x3x7`, or `scalar`."""
    return "x".join(map(str, shape)) or "scalar"


def converted(name: str, tensor: Tensor, own: Tensor) -> Tensor:
    """`tensor` in the type of the network's `own`. Both have the same shape.

    NetworkError if it has no values, has whole numbers in place of fractions or the reverse, or has values that no
    network has after a step that went well: infinite, not a number, or a negative variance.
    """
    if tensor.is_meta and not own.is_meta:
        raise NetworkError(f"{name} in the checkpoint has no values: it was saved from the meta device")
    if _kind(tensor) != _kind(own) and not name.endswith(COUNTER):
        raise NetworkError(f"{name} in the checkpoint is of {_type(tensor)}, but the network's of {_type(own)}")
    tensor = tensor.to(own.dtype)
    if tensor.is_floating_point() and tensor.numel() and not tensor.is_meta:
        if not is_finite(tensor):
            raise NetworkError(
                f"{name} in the checkpoint has values that are not finite: the network had diverged when it was saved; "
                "take an earlier checkpoint"
            )
        if name.endswith("running_var") and tensor.min() < 0:
            raise NetworkError(f"{name} in the checkpoint has negative values, which a variance has not")
    return tensor


def may_lack(state_dict: Mapping[str, Tensor], name: str) -> bool:
    """Whether a state dict without the tensor `name` is complete: a batch norm whose count of steps was not saved."""
    return name.endswith(COUNTER) and name.replace(COUNTER, "running_mean") in state_dict


def rows(state_dict: Mapping[str, Tensor], name: str) -> int:
    """The first dimension of a tensor; 0 if it is missing or a scalar."""
    shape = state_dict[name].shape if name in state_dict else ()
    return shape[0] if shape else 0


def first_names(mapping: Collection[Any], count: int = 3) -> str:
    """The first keys of a mapping, for messages."""
    names = ", ".join(shown(name) for name in list(mapping)[:count]) or "none"
    return names + (f", ... ({len(mapping)} in all)" if len(mapping) > count else "")


def _kind(tensor: Tensor) -> str:
    if tensor.dtype == torch.bool or tensor.is_complex():
        return str(tensor.dtype)
    return "fractions" if tensor.is_floating_point() else "whole numbers"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
