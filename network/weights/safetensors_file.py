"""safetensors files: weights without pickle, with what this project knows of them in the metadata."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common.errors import DataError


def read_safetensors(path: Path) -> dict[str, Any]:
    """The file as a checkpoint: {"network", "classes", "weights"} if this project wrote it, else a state dict.

    DataError if it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if "srtg" not in metadata:
            return weights
        return json.loads(metadata["srtg"]) | {"weights": weights}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors: it is damaged or something else ({error})") from error


def write_safetensors(
    path: Path, weights: Mapping[str, Tensor], network: Mapping[str, Any], classes: Sequence[str] | None
) -> None:
    """Write weights, the network's facts (name, gates, placement, num_classes) and the classes' names."""
    facts = json.dumps({"network": dict(network), "classes": None if classes is None else list(classes)})
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, path, metadata={"format": "pt", "srtg": facts})
