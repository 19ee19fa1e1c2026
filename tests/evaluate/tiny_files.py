"""A trained file of the tiny network, as a run would have written it."""

from contextlib import suppress
from pathlib import Path

import torch

from common.errors import NetworkError
from network import create_network
from tests.tiny_network import register_tiny_networks

CLASSES = ("clap", "jump", "run", "walk fast")
CLIPS = {"clip_length": 4, "clip_size": 32, "interval": 2}


def write_tiny_file(path: Path, classes: tuple[str, ...] | None = CLASSES, **clips: object) -> Path:
    """Write a checkpoint of `srtg_tiny` whose scores differ from video to video; `clips` replace those of CLIPS."""
    with suppress(NetworkError):  # another test of this process has
        register_tiny_networks()
    torch.manual_seed(0)
    network = create_network("srtg_tiny", 4)
    with torch.no_grad():
        network.fc.weight.normal_(std=3000)
    preprocessing = CLIPS | {"crop_scale": 294 / 256, "colour": "RGB"} | clips
    preprocessing |= {"mean": [124.0, 117.0, 104.0], "std": [60.0, 60.0, 60.0]}
    checkpoint = {
        "format": 1,
        "network": {"name": "srtg_tiny", "gates": False, "placement": "final", "num_classes": 4},
        "classes": list(classes) if classes else None,
        "weights": network.state_dict(),
        "preprocessing": preprocessing,
    }
    torch.save(checkpoint, path)
    return path
