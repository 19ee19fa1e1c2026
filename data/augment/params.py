"""What is drawn for the augmentation of one clip: numpy alone, for the worker that reads the clip."""

from collections.abc import Callable

import numpy as np

CLIP_PROBABILITY = 0.8  # that a clip is augmented at all
KIND_PROBABILITY = 0.4  # and then, for each kind, that it is among what happens
MAX_CORNER_SHIFT = 0.2  # where the normal distribution of a corner's shift is cut off

# The fields of a draw, each with the value that changes nothing, in the order in which they are applied.
FIELDS: tuple[tuple[str, tuple[int, ...], float], ...] = (
    ("rotation", (), 0),  # degrees, counter-clockwise
    ("corner_shifts", (4, 2), 0),  # inwards, parts of width and height; clockwise from the top left
    ("blur_sigma", (), 0),  # pixels
    ("motion_kernel", (), 0),  # pixels
    ("motion_angle", (), 0),  # degrees, counter-clockwise from the right
    ("hue", (), 0),  # of 255 for the whole circle
    ("saturation", (), 0),  # added to that of HSV, of 255
    ("add", (3,), 0),  # grey levels, each channel
    ("noise_scale", (), 0),  # standard deviation, grey levels
    ("noise_seed", (), 0),
    ("colour", (), 1),  # factor of the distance from grey
    ("contrast", (), 1),  # factor of the distance from medium grey
)
DRAW = np.dtype([(name, np.float32, shape) for name, shape, _ in FIELDS])
NUM_PARAMS = DRAW.itemsize // np.dtype(np.float32).itemsize


def identity_params() -> np.ndarray:
    """The draw, float32 (NUM_PARAMS,), that leaves a clip as it is."""
    draw = np.zeros(1, DRAW)
    for name, _, neutral in FIELDS:
        draw[name] = neutral
    return draw.view(np.float32)


def random_params(rng: np.random.Generator) -> np.ndarray:
    """A draw, float32 (NUM_PARAMS,): the clip is augmented with probability 0.8, by each kind with 0.4."""
    draw = identity_params().view(DRAW)
    is_augmented = rng.random() < CLIP_PROBABILITY
    for draw_values in KINDS.values():
        is_chosen = rng.random() < KIND_PROBABILITY
        values = draw_values(rng)
        if is_augmented and is_chosen:
            for name, value in values.items():
                draw[name] = value
    return draw.view(np.float32)


def random_params_of_kind(name: str, rng: np.random.Generator) -> np.ndarray:
    """A draw, float32 (NUM_PARAMS,), of one of KINDS alone."""
    draw = identity_params().view(DRAW)
    for field, value in KINDS[name](rng).items():
        draw[field] = value
    return draw.view(np.float32)


def fields_of(draws: np.ndarray) -> np.ndarray:
    """Draws, float32 (B, NUM_PARAMS), as a structured array (B,) with the names of FIELDS."""
    return np.ascontiguousarray(draws).view(DRAW)[:, 0]


def _geometry(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    """A rotation or, as often, a perspective."""
    rotation = rng.uniform(-10, 10)
    scale = rng.uniform(0.02, 0.05)
    shifts = np.abs(rng.normal(0, scale, (4, 2))).clip(max=MAX_CORNER_SHIFT)
    return {"rotation": rotation} if rng.random() < 0.5 else {"corner_shifts": shifts}


def _blur(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    return {"blur_sigma": rng.uniform(0.1, 0.3)}


def _motion(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    return {"motion_kernel": int(rng.choice((3, 5, 7))), "motion_angle": rng.uniform(0, 180)}


def _hue_and_saturation(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    return {"hue": rng.uniform(-16, 16), "saturation": rng.uniform(-16, 16)}


def _addition(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    return {"add": rng.uniform(-5, 15, 3)}


def _noise(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    # float32 holds whole numbers up to 2**24 exactly.
    return {"noise_scale": rng.uniform(0, 0.3 * 255), "noise_seed": int(rng.integers(2**24))}


def _colour(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    return {"colour": rng.uniform(1.2, 1.6)}


def _contrast(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    return {"contrast": rng.uniform(0.85, 1.115)}


KINDS: dict[str, Callable[[np.random.Generator], dict[str, float | np.ndarray]]] = {
    "geometry": _geometry,
    "Gaussian blur": _blur,
    "motion blur": _motion,
    "hue and saturation": _hue_and_saturation,
    "addition": _addition,
    "noise": _noise,
    "colour": _colour,
    "contrast": _contrast,
}
