"""Where the augmentation of a clip is drawn: its parameters, by the worker that reads the clip (numpy only)."""

from collections.abc import Callable

import numpy as np

CLIP_PROBABILITY = 0.8  # that a clip is augmented at all
KIND_PROBABILITY = 0.4  # that each kind is applied to an augmented clip
MAX_CORNER_SHIFT = 0.2  # larger random shifts of a corner are set to this
MOST_OPERATIONS = 8  # of RandAugment, for one clip

# The parameters of a clip: name, shape, and the value that changes nothing; in the order in which they are applied.
FIELDS: tuple[tuple[str, tuple[int, ...], float], ...] = (
    ("operations", (MOST_OPERATIONS,), 0),  # of RandAugment, in the order drawn: places in randaugment.OPERATIONS
    ("strengths", (MOST_OPERATIONS,), 0),  # of these operations, see `randaugment.strength`
    ("rotation", (), 0),  # degrees, counter-clockwise
    ("corner_shifts", (4, 2), 0),  # inwards, as fractions of width and height; corners clockwise from the top left
    ("blur_sigma", (), 0),  # pixels
    ("motion_kernel", (), 0),  # pixels; 0 is no motion
    ("motion_angle", (), 0),  # degrees, counter-clockwise from the right
    ("hue", (), 0),  # 255 is the whole circle
    ("saturation", (), 0),  # added to HSV's S, which is 0 to 255
    ("add", (3,), 0),  # grey levels, for each channel
    ("noise_scale", (), 0),  # standard deviation in grey levels
    ("noise_seed", (), 0),
    ("colour", (), 1),  # factor of the distance from the pixel's grey
    ("contrast", (), 1),  # factor of the distance from medium grey
)
NAMED_DTYPE = np.dtype([(name, np.float32, shape) for name, shape, _ in FIELDS])
NUM_PARAMS = NAMED_DTYPE.itemsize // np.dtype(np.float32).itemsize


def identity_params() -> np.ndarray:
    """The parameters, float32 (NUM_PARAMS,), that leave a clip unchanged."""
    named = np.zeros(1, NAMED_DTYPE)
    for name, _, neutral in FIELDS:
        named[name] = neutral
    return named.view(np.float32)


def random_params(rng: np.random.Generator) -> np.ndarray:
    """Random parameters, float32 (NUM_PARAMS,): a clip is augmented with probability 0.8, with each kind with 0.4."""
    named = identity_params().view(NAMED_DTYPE)
    is_augmented = rng.random() < CLIP_PROBABILITY
    for random_values in KINDS.values():
        is_chosen = rng.random() < KIND_PROBABILITY
        values = random_values(rng)  # drawn even if not used, so that each kind's values do not depend on the others
        if is_augmented and is_chosen:
            for name, value in values.items():
                named[name] = value
    return named.view(np.float32)


def random_params_of_kind(name: str, rng: np.random.Generator) -> np.ndarray:
    """Random parameters, float32 (NUM_PARAMS,), that apply only the kind `name` of KINDS."""
    named = identity_params().view(NAMED_DTYPE)
    for field, value in KINDS[name](rng).items():
        named[field] = value
    return named.view(np.float32)


def named_params(params: np.ndarray) -> np.ndarray:
    """The parameters, float32 (B, NUM_PARAMS), as a structured array (B,) with the names of FIELDS."""
    return np.ascontiguousarray(params).view(NAMED_DTYPE)[:, 0]


def _geometry(rng: np.random.Generator) -> dict[str, float | np.ndarray]:
    """A rotation or, with the same probability, a perspective."""
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
    # A scale of 0.03: what the original's code did when its weights were trained; its README says 0.3.
    # float32 holds integers up to 2**24 exactly.
    return {"noise_scale": rng.uniform(0, 0.03 * 255), "noise_seed": int(rng.integers(2**24))}


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
