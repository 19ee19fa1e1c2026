"""safetensors files: weights without pickle; the metadata `srtg` holds the network's facts, the class names
and what `training_facts` gives.

The format has no checksum. The metadata `srtg_crc32` of files written here has one; other readers ignore it.
"""

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from common.errors import DataError
from network.weights.facts import TRAINING, shown

FACTS, CHECKSUM = "srtg", "srtg_crc32"


def read_safetensors(path: Path) -> dict[str, Any]:
    """A checkpoint {"network", "classes", "weights"} if this project wrote the file, else its state dict.

    Files of newer versions also have the fields `TRAINING`.
    DataError if the file is damaged or no such file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in sorted(file.keys())}
    except OSError:
        raise
    except Exception as error:  # SafetensorError for most damage; for types that torch lacks also others
        raise DataError(f"{path} is damaged, or no safetensors file ({shown(str(error), 150)})") from error
    if CHECKSUM in metadata and metadata[CHECKSUM] != _checksum(weights, metadata.get(FACTS, "")):
        raise DataError(f"{path} is damaged: its checksum is wrong")
    return weights if FACTS not in metadata else _facts(path, metadata[FACTS]) | {"weights": weights}


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
