"""RandAugment (Cubuk et al. 2020): which operations a clip goes through, and how strongly (numpy only).

Magnitudes, their scale to 30 and the signs are those of torchvision's RandAugment.
"""

import re
from typing import NamedTuple

import numpy as np

from common.errors import DataError
from data.augment.params import MOST_OPERATIONS, NAMED_DTYPE, identity_params

HIGHEST = 30  # magnitude
NONE = "none"
OPERATIONS = (
    "identity", "autocontrast", "equalize", "rotate", "solarize", "colour", "posterize", "contrast", "brightness",
    "sharpness", "shear x", "shear y", "translate x", "translate y",
)  # fmt: skip
"""Their names; the `operations` of a clip's parameters are places in it."""
IS_FACTOR = ("colour", "contrast", "brightness", "sharpness")
SIGNED = {"rotate": 30.0, "shear x": 0.3, "shear y": 0.3, "translate x": 150 / 331, "translate y": 150 / 331}
"""The strength of the highest magnitude: degrees, slopes, and shares of the frame's width and height."""


class RandAugment(NamedTuple):
    """What is drawn for each clip."""

    operations: int  # drawn with replacement
    magnitude: int  # of each of them, from 0 to 30


def read_randaugment(word: str | None) -> RandAugment | None:
    """RandAugment of a word such as 2x9, two operations of magnitude 9; None of `none` or None. DataError."""
    if word is None or word == NONE:
        return None
    found = re.fullmatch("([0-9]{1,3})x([0-9]{1,3})", word) if isinstance(word, str) else None
    read = RandAugment(*map(int, found.groups())) if found else None
    if read is None or not 1 <= read.operations <= MOST_OPERATIONS or not read.magnitude <= HIGHEST:
        raise DataError(
            f"give {NONE}, or a number of operations, 1 to {MOST_OPERATIONS}, and a magnitude, 0 to {HIGHEST}, as 2x9"
        )
    return read


def randaugment_params(recipe: RandAugment, rng: np.random.Generator) -> np.ndarray:
    """Random parameters, float32 (NUM_PARAMS,), of the operations alone."""
    places, signs = rng.integers(len(OPERATIONS), size=recipe.operations), rng.choice((-1, 1), recipe.operations)
    return params_of([(OPERATIONS[place], recipe.magnitude, sign) for place, sign in zip(places, signs, strict=True)])


def params_of(operations: list[tuple[str, int, int]]) -> np.ndarray:
    """Parameters, float32 (NUM_PARAMS,), of operations in their order: name, magnitude, and sign of 1 or -1."""
    named = identity_params().view(NAMED_DTYPE)
    for place, (name, magnitude, sign) in enumerate(operations):
        named["operations"][0, place] = OPERATIONS.index(name)
        named["strengths"][0, place] = strength(name, magnitude, sign)
    return named.view(np.float32)


def strength(name: str, magnitude: int, sign: int) -> float:
    """How strong an operation is. The sign is that of a movement, and of what is added to a factor of 1.

    Levels from that of solarize on are inverted, and posterize keeps so many bits. Operations that are the same for all
    magnitudes have 0.
    """
    if name in IS_FACTOR:
        return (100 + 3 * sign * magnitude) / 100
    if name in SIGNED:
        return sign * SIGNED[name] * magnitude / HIGHEST
    return {"solarize": 255 * (1 - magnitude / HIGHEST), "posterize": 8 - round(4 * magnitude / HIGHEST)}.get(name, 0)
