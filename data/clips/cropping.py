"""How the crops of training clips are drawn: Cropping, one of three kinds, and the words of its flags."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from common.errors import DataError
from common.text import quoted
from data.clips.crop import RESIZED_SIDE_PER_CROP, Range, is_enlarged, random_crop, resized_crop
from data.clips.types import ClipShape
from data.store.crop_box import CropBox

KINDS = ("fixed", "jitter", "resized")
JITTER = (8 / 7, 10 / 7)  # 256 to 320 for a crop of 224, as in PySlowFast
AREA = (0.08, 1.0)
ASPECT = (3 / 4, 4 / 3)
_NUMBER = r"([0-9]{1,6}(?:\.[0-9]{1,9})?|\.[0-9]{1,9})"
_RATIO = re.compile(f"{_NUMBER}(?:/{_NUMBER})?")


@dataclass(frozen=True)
class Cropping:
    """Which rectangle of its frames a clip shows, at the size of any clip.

    `kind` "fixed": the shorter side is resized to `scale` times the crop's, and the crop is at a random place of that.
    "jitter": the same, with a scale that is drawn from `jitter` for each clip. "resized": a rectangle whose share of
    the frame is drawn from `area`, and whose proportions from `aspect`.
    """

    kind: str = "fixed"
    scale: float = RESIZED_SIDE_PER_CROP
    jitter: Range = JITTER
    area: Range = AREA
    aspect: Range = ASPECT

    def box(self, size: tuple[int, int], shape: ClipShape, flip: bool, rng: np.random.Generator) -> CropBox:
        """A crop of frames of `size` (height, width); with `flip`, mirrored with probability 1/2."""
        if self.kind == "resized":
            return resized_crop(size, shape, self.area, self.aspect, flip, rng)
        scale = float(rng.uniform(*self.jitter)) if self.kind == "jitter" else self.scale
        return random_crop(size, shape, flip, rng, scale)

    def enlarges(self, size: tuple[int, int], shape: ClipShape) -> bool:
        """Whether crops of frames of `size` may be smaller than the clip.

        Of rectangles of random area, some always are; here it counts whether all are, in height or width.
        """
        scale = {"fixed": self.scale, "jitter": self.jitter[1], "resized": 1.0}[self.kind]
        return is_enlarged(size, shape, scale)

    def source(self, shape: ClipShape) -> str:
        """What the crops are cut from: `frames whose shorter side is 257`."""
        side = min(shape.height, shape.width)
        if self.kind == "resized":
            return f"{self.area[0]:.3g} to {self.area[1]:.3g} of the area of frames whose shorter side is below {side}"
        scales = self.jitter if self.kind == "jitter" else (self.scale, self.scale)
        return "frames whose shorter side is " + " to ".join(dict.fromkeys(str(round(side * each)) for each in scales))

    def show(self) -> str:
        """The crops in a line of the log."""
        if self.kind == "resized":
            area, aspect = (" to ".join(f"{each:.3g}" for each in ends) for ends in (self.area, self.aspect))
            return f"{area} of the frame's area, {aspect} times as wide as high"
        if self.kind == "jitter":
            return f"cut from a shorter side of {self.jitter[0]:.4g} to {self.jitter[1]:.4g} times the crop's"
        return f"cut from a shorter side of {self.scale:.4g} times the crop's"


DEFAULT = Cropping()


def read_ratio(words: str | Sequence[str]) -> float:
    """The number of a flag's word, as `1.3125` or `294/224`; DataError if it is none."""
    text = words if isinstance(words, str) else " ".join(words)
    found = _RATIO.fullmatch(text.strip())
    if not found or float(found[2] or 1) == 0:
        raise DataError(f"{quoted(text)} is no ratio: give a number or two, as 1.3125 or 294/224")
    return float(found[1]) / float(found[2] or 1)


def read_range(words: str | Sequence[str]) -> Range:
    """Lowest and highest of a flag's words, as `256/224 320/224` or `0.08,1`; DataError if they are none."""
    text = words if isinstance(words, str) else " ".join(words)
    values = [read_ratio(word) for word in text.replace(",", " ").split()]
    if len(values) != 2 or values[0] > values[1]:
        raise DataError(f"{quoted(text)}: give lowest and highest")
    return values[0], values[1]
