"""A network without training whose classes differ in the order of frames alone, and videos for it.

`rising` videos become brighter, `falling` ones darker, `bright` ones are brighter than both and do not change.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from data.store.frame_store import write_frames
from network.base import VideoNetwork
from tests.numbered import encode_video, jpeg
from tests.small_dataset import write_labels

CLASSES = ("bright", "falling", "rising")
FRAMES = 12


class BrightnessNetwork(VideoNetwork):
    """Logits of the mean brightness, and of the later half's less the earlier half's."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.fc = nn.Linear(2, num_classes)
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([[0.1, 0.0], [0.0, -0.1], [0.0, 0.1]]))
            self.fc.bias.copy_(torch.tensor([-16.0, 0.0, 0.0]))

    def forward(self, clips: Tensor) -> Tensor:
        grey = clips.mean((1, 3, 4))
        half = clips.shape[2] // 2
        change = grey[:, -half:].mean(1) - grey[:, :half].mean(1)
        return self.fc(torch.stack([grey.mean(1), change], dim=1))


def brightness_checkpoint(path: Path, interval: int | str = 2, length: int = 4) -> Path:
    """A checkpoint of the network, with its clips."""
    facts = {"name": "brightness", "gates": False, "placement": "final", "num_classes": len(CLASSES)}
    preprocessing = {
        "clip_length": length, "clip_size": 16, "interval": interval, "crop_scale": 1.3, "colour": "RGB",
        "mean": [0.0] * 3, "std": [1.0] * 3,
    }  # fmt: skip
    weights = BrightnessNetwork().state_dict()
    torch.save({"network": facts, "weights": weights, "classes": list(CLASSES), "preprocessing": preprocessing}, path)
    return path


def levels(label: str) -> list[int]:
    """The brightness of each frame."""
    rising = [60 + 8 * frame for frame in range(FRAMES)]
    return {"rising": rising, "falling": rising[::-1], "bright": [230] * FRAMES}[label]


def write_brightness_dataset(folder: Path, each: int = 2, source: str = "frames") -> Path:
    """`each` validation videos of each class, as frames or as video files of 25 frames a second."""
    rows = [(label, f"{label}_{number}") for label in CLASSES for number in range(each)]
    for label, video in rows:
        pictures = [np.full((24, 32, 3), level, np.uint8) for level in levels(label)]
        if source == "frames":
            write_frames(folder / "jpg" / label / video, (jpeg(picture) for picture in pictures))
        else:
            encode_video(folder / "videos" / label / f"{video}.mp4", pictures, codec="mpeg4")
    write_labels(folder / "labels" / "val.csv", rows)
    return folder
