"""safetensors files: weights without pickle; the metadata `srtg` holds the network's facts, the class names
and what `training_facts` gives.

The format has no checksum. The metadata `srtg_crc32` of files written here has one; other readers ignore it.
"""

import json
import math
import os
import zlib
from collections.abc import Mapping, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from common.errors import DataError, NetworkError
from network.weights.facts import TRAINING, shown

FACTS, CHECKSUM = "srtg", "srtg_crc32"
MOST_DIMENSIONS = 64
LARGEST_HEADER = 10**8  # bytes, as safetensors has it
DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "C64": torch.complex64,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "BOOL": torch.bool,
    "U64": torch.uint64, "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
_NEWER = {"F8_E4M3FNUZ": "float8_e4m3fnuz", "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E8M0": "float8_e8m0fnu"}
# An older torch lacks some.
DTYPES |= {code: dtype for code, name in _NEWER.items() if (dtype := getattr(torch, name, None))}


def read_safetensors(path: Path, file: BufferedReader) -> dict[str, Any]:
    """A checkpoint {"network", "classes", "weights"} if this project wrote the file, else its state dict.

    Files of newer versions also have the fields `TRAINING`. The values are copied: who maps the file, as safetensors
    does, has what is written into it later, and is ended by the system when it gets shorter.
    OSError; DataError if the file is damaged or no such file.
    """
    try:
        metadata, weights = _read(file)
    except OSError:
        raise
    except NetworkError as error:
        raise DataError(f"{path}: {error}") from None
    except Exception as error:  # of any type: what the file says is used before it is known to be right
        if isinstance(error, MemoryError) or "allocate memory" in str(error):
            raise DataError(f"{path} needs more memory than there is") from error
        why = shown(f"{type(error).__name__}: {error}", 150)
        raise DataError(f"{path} is damaged, or no safetensors file ({why})") from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(weights, metadata.get(FACTS, "")):
        raise DataError(f"{path} is damaged: its checksum is wrong")
    if FACTS in metadata and CHECKSUM not in metadata and metadata.keys() - {FACTS, "format"}:
        raise DataError(f"{path} is damaged: the name of its checksum is")  # older versions wrote none, nor other names
    return weights if FACTS not in metadata else _facts(path, metadata[FACTS]) | {"weights": weights}


def _read(file: BufferedReader) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata, and the tensors by name. They lie one behind the other, with nothing between or behind them."""
    at, end = 8, file.seek(0, os.SEEK_END)
    file.seek(0)
    size = int.from_bytes(file.read(at), "little")
    if size > min(LARGEST_HEADER, end - at):
        raise ValueError("its header is larger than the file, or than any header")
    header = json.loads(file.read(size))
    metadata = header.pop("__metadata__", {})
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("its metadata are no texts")
    at, tensors = 0, {}
    for name, about in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        code = about["dtype"]
        if isinstance(code, str) and code not in DTYPES:
            raise NetworkError(f"its tensor {shown(name)} is of the type {shown(code)}, which is not read here")
        dtype, shape, (start, stop) = DTYPES[code], about["shape"], about["data_offsets"]
        if (
            start != at
            or len(shape) > MOST_DIMENSIONS
            or min(shape, default=0) < 0
            or stop - start != math.prod(shape) * dtype.itemsize
        ):
            raise ValueError(f"its tensor {name} has another size than its place")
        at = stop
        if at > end - 8 - size:
            raise ValueError("it is cut off")
        tensors[name] = torch.empty(shape, dtype=dtype)
        if stop > start and file.readinto(tensors[name].view(-1).view(torch.uint8).numpy().data) != stop - start:
            raise ValueError("it is cut off")
    if at != end - 8 - size:
        raise ValueError("it has more bytes than tensors")
    return metadata, {name: tensors[name] for name in sorted(tensors)}


def write_safetensors(
    path: Path,
    weights: Mapping[str, Tensor],
    network: Mapping[str, Any],
    classes: Sequence[str] | None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write weights, the network's facts (name, gates, placement, num_classes), the class names and `training_facts`.

    OSError.
    """
    known = {"network": dict(network), "classes": None if classes is None else list(classes)}
    facts = json.dumps(known | dict(training or {}))
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    metadata = {"format": "pt", FACTS: facts, CHECKSUM: _checksum(contiguous, facts)}
    # safetensors' own file would be readable by its owner only, and its error would not say that a disk is full.
    path.write_bytes(save(contiguous, metadata))


def _checksum(weights: Mapping[str, Tensor], facts: str) -> str:
    """The CRC-32 of the facts and of each tensor's name, type, shape and bytes, as 8 hex digits."""
    value = zlib.crc32(facts.encode())
    for name in sorted(weights):
        tensor = weights[name]
        value = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), value)
        value = zlib.crc32(tensor.reshape(-1).view(torch.uint8).numpy().data, value)
    return f"{value:08x}"


def _facts(path: Path, text: str) -> dict[str, Any]:
    try:
        facts = json.loads(text)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or not isinstance(facts.get("network"), dict) or "name" not in facts["network"]:
        raise DataError(f"{path}: its metadata {FACTS!r} do not say what network it is of")
    training = {name: facts[name] for name in TRAINING if name in facts}
    return {"network": facts["network"], "classes": facts.get("classes")} | training
