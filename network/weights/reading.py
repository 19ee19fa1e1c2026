"""Read files of weights (.pth, .safetensors), of this project and of others, into dicts."""

from pathlib import Path
from typing import Any

import torch

from common.errors import DataError
from network.weights.safetensors_file import read_safetensors


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The file's dict, tensors on the CPU; DataError if it is missing, damaged, or holds other Python objects."""
    if not path.is_file():
        there = sorted(other.name for other in _neighbours(path) if other.suffix in (".pth", ".pt", ".safetensors"))
        hint = f"; {path.parent} holds {', '.join(there[-5:])}" if there else ""
        raise DataError(f"checkpoint {path} does not exist{hint}")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load documents no errors; pickle, zip, runtime, key and I/O errors occur
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DataError(
            f"checkpoint {path} cannot be loaded: it is damaged, or holds other Python objects than tensors and plain "
            f"types, which could run code when unpickled ({reason[:200]})"
        ) from error
    if not isinstance(checkpoint, dict):
        raise DataError(f"checkpoint {path} holds a {type(checkpoint).__name__}, not a dict of weights")
    return checkpoint


def _neighbours(path: Path) -> list[Path]:
    return list(path.parent.iterdir()) if path.parent.is_dir() else []
