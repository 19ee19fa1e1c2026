"""RandAugment's operations that move pixels, sharpen and change colours: each kind of a clip's as one (numpy only).

`fields` (n,) are the `named_params` of n clips.
"""

from collections.abc import Callable

import numpy as np

from data.augment.ops import homographies
from data.augment.randaugment import OPERATIONS

SMOOTHED_CENTRE = 5  # weight beside eight neighbours of 1: what sharpness moves away from, Pillow's SMOOTH


def operations_of(fields: np.ndarray, *names: str) -> np.ndarray:
    """Which of the clips' operations have one of these names, bool (n, MOST_OPERATIONS)."""
    return np.isin(fields["operations"], [OPERATIONS.index(name) for name in names])


def is_moved(fields: np.ndarray) -> np.ndarray:
    """Which clips are rotated, sheared or translated, bool (n,)."""
    return np.any(operations_of(fields, *MOVES) & (fields["strengths"] != 0), axis=1)


def moves(fields: np.ndarray, height: int, width: int) -> np.ndarray:
    """Matrices float64 (n, 3, 3), as `homographies`: all rotations, shears and translations of a clip in one."""
    matrices = np.tile(np.eye(3), (len(fields), 1, 1))
    for place in np.flatnonzero(operations_of(fields, *MOVES).any(0)):
        for name, matrix_of in MOVES.items():
            chosen = np.flatnonzero(operations_of(fields, name)[:, place])
            if len(chosen):
                strengths = fields["strengths"][chosen, place].astype(float)
                # A point of the result goes back through the last operation first.
                matrices[chosen] = matrices[chosen] @ matrix_of(strengths, height, width)
    return matrices


def colour_factors(fields: np.ndarray) -> np.ndarray:
    """The product (n,) of a clip's factors of colour."""
    return _factors(fields, "colour").prod(1)


def is_sharpened(fields: np.ndarray) -> np.ndarray:
    """Which clips are sharpened or smoothed, bool (n,)."""
    return np.any(_factors(fields, "sharpness") != 1, axis=1)


def sharpened(kernels: np.ndarray, fields: np.ndarray) -> np.ndarray:
    """Kernels (n, k, k) of the same convolutions followed by all changes of sharpness, each wider by 2."""
    factors = _factors(fields, "sharpness")
    for place in np.flatnonzero((factors != 1).any(0)):
        factor = factors[:, place, None, None]
        size = kernels.shape[1] + 2
        wider, around = np.pad(kernels, ((0, 0), (1, 1), (1, 1))), np.pad(kernels, ((0, 0), (2, 2), (2, 2)))
        neighbours = sum(around[:, i : i + size, j : j + size] for i in range(3) for j in range(3)) - wider
        smooth = (neighbours + SMOOTHED_CENTRE * wider) / (8 + SMOOTHED_CENTRE)
        kernels = np.where(factor == 1, wider, smooth + factor * (wider - smooth))  # to the bit, in any batch
    return kernels


def _factors(fields: np.ndarray, name: str) -> np.ndarray:
    """The strengths of the operations of this name, float64 (n, MOST_OPERATIONS); 1 for the others, to the right."""
    factors = np.where(operations_of(fields, name), fields["strengths"].astype(float), 1)
    return np.take_along_axis(factors, np.argsort(factors == 1, axis=1, kind="stable"), axis=1)


def _rotation(degrees: np.ndarray, height: int, width: int) -> np.ndarray:
    return homographies(degrees, np.zeros((len(degrees), 4, 2)), height, width)


def _shear(slope: np.ndarray, axis: int, sizes: tuple[int, int]) -> np.ndarray:
    """About the corner at the top left; `sizes` are width and height."""
    matrices = np.tile(np.eye(3), (len(slope), 1, 1))
    matrices[:, axis, 1 - axis] = matrices[:, axis, 2] = slope * sizes[1 - axis] / sizes[axis]
    return matrices


def _translation(share: np.ndarray, axis: int, size: int) -> np.ndarray:
    """By whole pixels, to the right or downwards."""
    matrices = np.tile(np.eye(3), (len(share), 1, 1))
    pixels = np.trunc((share * size).round(3))  # float32 must not lose one
    matrices[:, axis, 2] = -2 * pixels / size
    return matrices


MOVES: dict[str, Callable[[np.ndarray, int, int], np.ndarray]] = {
    "rotate": _rotation,
    "shear x": lambda slope, height, width: _shear(slope, 0, (width, height)),
    "shear y": lambda slope, height, width: _shear(slope, 1, (width, height)),
    "translate x": lambda share, height, width: _translation(share, 0, width),
    "translate y": lambda share, height, width: _translation(share, 1, height),
}
