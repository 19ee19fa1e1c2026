"""Frames of a scene that compress as those of real videos do: a hand-held camera, things that turn, and noise.

At 640x360 and --crf 23 of x264, an hour takes 0.4 GB. A real clip of Kinetics of 340x256 takes 0.3 GB an hour.
"""

from collections.abc import Iterator

import cv2
import numpy as np

NOISE = 2.5  # grey levels
THINGS = 6


def moving_frames(seed: int, size: tuple[int, int], frames: int) -> Iterator[np.ndarray]:
    """RGB frames (height, width, 3)."""
    rng = np.random.default_rng(seed)
    height, width = size
    scene = _texture(rng, height + 160, width + 240)
    things = [_Thing(rng) for _ in range(THINGS)]
    shake = np.cumsum(rng.normal(0, 0.6, (frames, 2)), 0)
    for index in range(frames):
        zoom, angle = 1 + 0.08 * np.sin(index / 40), 0.02 * np.sin(index / 23)
        across, down = zoom * np.cos(angle), zoom * np.sin(angle)
        left, top = shake[index] - 60
        camera = np.array([[across, -down, left - index / 4], [down, across, top]], np.float32)
        frame = cv2.warpAffine(scene, camera, (width, height), borderMode=cv2.BORDER_REFLECT)
        for thing in things:
            frame = thing.drawn(frame, index)
        yield np.clip(frame + rng.normal(0, NOISE, (height, width, 1)), 0, 255).astype(np.uint8)


class _Thing:
    """A textured square that crosses the picture, turns, and grows and shrinks."""

    def __init__(self, rng: np.random.Generator) -> None:
        side = int(rng.integers(60, 160))
        self.texture = _texture(rng, side, side)
        self.start, self.speed = rng.uniform(0, 1, 2), rng.uniform(-0.006, 0.006, 2)
        self.turn = float(rng.uniform(-0.15, 0.15))

    def drawn(self, frame: np.ndarray, index: int) -> np.ndarray:
        """The frame with it."""
        height, width, _ = frame.shape
        side = len(self.texture)
        x, y = (self.start + self.speed * index) % 1.0 * (width, height)
        scale = 1 + 0.2 * np.sin(self.turn * index)
        place = cv2.getRotationMatrix2D((side / 2, side / 2), float(np.degrees(self.turn * index)), float(scale))
        place[:, 2] += (x - side / 2, y - side / 2)
        mask = cv2.warpAffine(np.ones((side, side), np.float32), place, (width, height))
        return np.where(mask[..., None] > 0.5, cv2.warpAffine(self.texture, place, (width, height)), frame)


def _texture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Float RGB (height, width, 3): detail of several sizes."""
    texture = np.full((height, width, 3), 128, np.float32)
    for cell, contrast in ((96, 50), (32, 26), (16, 14), (6, 4)):
        rows, columns = height // cell + 2, width // cell + 2
        detail = rng.normal(0, contrast, (rows, columns, 1)) + rng.normal(0, contrast / 3, (rows, columns, 3))
        texture += cv2.resize(detail.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return texture
