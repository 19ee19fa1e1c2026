"""A checkpoint of a tiny network, for the commands that read a trained file."""

from pathlib import Path

import torch

from common.errors import UserError
from network import VideoNetwork
from network.resnet3d import Recursion
from tests.small_dataset import CLASSES
from tests.tiny_network import TinyNetwork

FRAMES, SIZE = 8, 32
BUILDERS = {
    "tiny": lambda classes, gates, placement: TinyNetwork(classes, None),
    "srtg_tiny": lambda classes, gates, placement: TinyNetwork(classes, Recursion(gates, placement)),
}


def write_checkpoint(
    path: Path, name: str = "srtg_tiny", gates: bool = True, seed: int = 0, **more: object
) -> VideoNetwork:
    """Write a checkpoint of untrained weights that says its classes and clips, and return its network."""
    torch.manual_seed(seed)
    network = BUILDERS[name](len(CLASSES), gates, "final").eval()
    save(path, network, name, gates, **more)
    return network


def exit_status(error: BaseException) -> object:
    """The status with which `run_command` ends after an error."""
    if isinstance(error, SystemExit):
        return error.code
    return error.exit_status if isinstance(error, UserError) else 2 if getattr(error, "filename", None) else 1


def save(path: Path, network: VideoNetwork, name: str, gates: bool, **more: object) -> None:
    """Write a network as a run's checkpoint has it."""
    facts = {"name": name, "gates": gates, "placement": "final", "num_classes": len(CLASSES)}
    options = {"clip_length": FRAMES, "clip_size": SIZE, "val_frame_interval": 1}
    content = {"network": facts, "weights": network.state_dict(), "classes": list(CLASSES), "options": options}
    torch.save(content | more, path)
