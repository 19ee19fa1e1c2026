"""Files of a trained network for tests: a tiny one with statistics, and what a checkpoint says beside its weights."""

from pathlib import Path
from typing import Any

import torch

from evaluate.preprocessing import Preprocessing
from tests.network.weights.exported import network_of
from tests.small_dataset import CLASSES


def checkpoint_of(gates: bool = True, classes: tuple[str, ...] = CLASSES, **clips: Any) -> dict[str, Any]:
    """A checkpoint of `srtg_tiny`, which must be registered, for clips of 4 x 32 x 32 unless `clips` say otherwise."""
    facts = {"name": "srtg_tiny", "gates": gates, "placement": "final", "num_classes": len(classes)}
    preprocessing = Preprocessing(**({"clip_length": 4, "clip_size": 32, "interval": 2} | clips))
    return {
        "network": facts,
        "weights": network_of("srtg_tiny", gates, len(classes)).state_dict(),
        "classes": list(classes),
        "preprocessing": preprocessing.plain(),
    }


def save_checkpoint(path: Path, **facts: Any) -> Path:
    """Write `checkpoint_of`, with further fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint_of(**facts), path)
    return path
