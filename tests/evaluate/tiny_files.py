"""A trained file of the tiny network, as a run would have written it."""

from pathlib import Path

import torch

from network.resnet3d import Recursion
from tests.tiny_network import TinyNetwork

CLASSES = ("clap", "jump", "run", "walk fast")
CLIPS = {"clip_length": 4, "clip_size": 32, "interval": 2}


def write_tiny_file(path: Path, classes: tuple[str, ...] | None = CLASSES, **clips: object) -> Path:
    """Write a checkpoint of `srtg_tiny` whose scores differ from video to video; `clips` replace those of CLIPS.

    To load it, a test registers `srtg_tiny` for itself alone.
    """
    torch.manual_seed(0)
    network = TinyNetwork(4, Recursion(False, "final"))
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
