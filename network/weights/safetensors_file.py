"""safetensors files: weights without pickle; the metadata `srtg` holds the network's facts and the class names."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from common.errors import DataError


def read_safetensors(path: Path) -> dict[str, Any]:
    """A checkpoint {"network", "classes", "weights"} if this project wrote the file, else its state dict.

    DataError if the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in sorted(file.keys())}
        if "srtg" not in metadata:
            return weights
        return json.loads(metadata["srtg"]) | {"weights": weights}
    except (SafetensorError, OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as safetensors: damaged or another format ({error})") from error


def write_safetensors(
    path: Path, weights: Mapping[str, Tensor], network: Mapping[str, Any], classes: Sequence[str] | None
) -> None:
    """Write weights, the network's facts (name, gates, placement, num_classes) and the class names."""
    facts = json.dumps({"network": dict(network), "classes": None if classes is None else list(classes)})
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    save_file(contiguous, path, metadata={"format": "pt", "srtg": facts})
