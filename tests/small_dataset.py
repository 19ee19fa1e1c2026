"""A dataset on which a training run takes seconds."""

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from data.store.frame_store import write_frames
from tests.numbered import jpeg

CLASSES = ("clap", "jump", "run", "walk fast")


def write_small_dataset(
    folder: Path,
    *,
    classes: Sequence[str] = CLASSES,
    train: int = 32,
    val: int = 7,
    frames: int = 8,
    height: int = 40,
    width: int = 48,
    files: tuple[str, str] = ("train.csv", "val.csv"),
) -> Path:
    """Write `train` and `val` videos, whose classes alternate, with their label files, and return the folder.

    The videos of each class are brighter than those of the class before, so a network can learn to tell them apart.
    """
    for file, number in zip(files, (train, val), strict=True):
        rows = [(classes[i % len(classes)], f"{Path(file).stem}_{i:03d}") for i in range(number)]
        for i, (label, video) in enumerate(rows):
            seed = i + (0 if file == files[0] else 10_000)
            level = 40 + 160 * (i % len(classes)) / max(1, len(classes) - 1)
            pictures = noisy_frames(frames, height, width, level, seed)
            write_frames(folder / "jpg" / label / video, (jpeg(picture) for picture in pictures))
        write_labels(folder / "labels" / file, rows)
    return folder


def noisy_frames(frames: int, height: int, width: int, level: float, seed: int) -> list[np.ndarray]:
    """Frames of coarse noise around a grey level; the noise of each frame is different."""
    rng = np.random.default_rng(seed)
    coarse = (level + rng.normal(0, 25, (frames, 6, 8, 3))).clip(0, 255).astype(np.uint8)
    return [cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR) for picture in coarse]


def write_labels(path: Path, rows: Sequence[tuple[str, str]]) -> Path:
    """Write a label file of (class, video id) rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("label", "id"))
        writer.writerows(rows)
    return path
