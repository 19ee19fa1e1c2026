"""What the kernels of Augment need to know of each clip of a batch, as a table of float32 (numpy only)."""

from typing import NamedTuple

import numpy as np

from common.normalisation import SRTG, Normalisation
from data.augment.levels import changes_levels
from data.augment.ops import may_mirror
from data.augment.values import Part, parts_of

# Where a clip's pixels come from.
BLURRED = 0  # from the weighted pixels of the clip: of one, if there is no blur
SAMPLED = 1  # sampled from the clip, at the places of its rotation or perspective
BLURRED_SAMPLES = 2  # from the weighted pixels of the sampled clip

# Whole numbers are below 2**24, so that float32 holds them exactly.
ROW = np.dtype([
    ("levels", np.float32),  # the number of its table of levels, from 1; 0: it has none
    ("source", np.float32),
    ("slot", np.float32),  # the sampled clip's, for BLURRED_SAMPLES
    ("matrix", np.float32, (3, 3)),  # see `homographies`
    ("is_rotated", np.float32),  # then black is beyond the frame, else its border
    ("first_tap", np.float32),
    ("taps", np.float32),  # how many
    ("is_mirrored", np.float32),  # beyond the frame, for the taps; else its border is there
    ("hue", np.float32),  # negative: from red to blue
    ("saturation", np.float32),
    ("gain", np.float32),
    ("luma_gain", np.float32),
    ("offset", np.float32, (3,)),
    ("noise_scale", np.float32),
    ("noise_seed", np.float32),
])  # fmt: skip
COLUMNS = ROW.itemsize // np.dtype(np.float32).itemsize
FIRST_COLUMN = {name: field[1] // np.dtype(np.float32).itemsize for name, field in (ROW.fields or {}).items()}


class Tables(NamedTuple):
    """What the kernels read of a batch of n clips."""

    rows: np.ndarray  # float32 (n, COLUMNS)
    taps: np.ndarray  # float32 (m, 3): down, right, weight; of one clip after the other. The first one changes nothing.
    sampled: np.ndarray  # int32 (s,): the clips that are sampled before they are blurred; their slots are 0, 1, ...


def tables_of(fields: np.ndarray, height: int, width: int, normalisation: Normalisation = SRTG) -> Tables:
    """The tables of n clips with the `named_params` fields (n,)."""
    rows = np.zeros(len(fields), ROW)
    rows["taps"], has_table = 1, changes_levels(fields)
    rows["levels"][has_table] = np.arange(1, has_table.sum() + 1)
    taps, sampled = np.array([[0, 0, 1]], np.float32), np.zeros(0, np.int32)
    parts = parts_of(fields, height, width, normalisation)
    for name in ("rotation", "perspective"):
        if name in parts:
            is_chosen, values = parts[name]
            rows["source"][is_chosen], rows["is_rotated"][is_chosen] = SAMPLED, name == "rotation"
            rows["matrix"][is_chosen] = values["matrices"]
    if "blur" in parts:
        blurred = _with_taps(rows, parts["blur"], height, width)
        taps = np.concatenate([taps, blurred])
        sampled = np.flatnonzero(parts["blur"].is_chosen & (rows["source"] == SAMPLED)).astype(np.int32)
        rows["source"][sampled], rows["slot"][sampled] = BLURRED_SAMPLES, np.arange(len(sampled))
    for name, sign in (("hue forwards", 1), ("hue backwards", -1)):
        if name in parts:
            is_chosen, values = parts[name]
            rows["hue"][is_chosen], rows["saturation"][is_chosen] = sign * values["hue"], values["saturation"]
    values = dict(parts["affine map"].values)
    noisy = values.pop("noisy", slice(0))
    for name, array in values.items():
        rows[name][noisy if name.startswith("noise") else slice(None)] = array
    return Tables(rows.view(np.float32).reshape(-1, COLUMNS), taps, sampled)


def _with_taps(rows: np.ndarray, blur: Part, height: int, width: int) -> np.ndarray:
    """The taps (m, 3) of the blurred clips: the weights of their kernels that are not 0; `rows` will say where."""
    is_chosen, values = blur
    kernels = values["kernels"]
    clip, row, column = np.nonzero(kernels)
    taps = np.stack([row - kernels.shape[1] // 2, column - kernels.shape[2] // 2, kernels[clip, row, column]], axis=1)
    counts = np.bincount(clip)
    firsts = np.cumsum(counts) - counts
    rows["first_tap"][is_chosen], rows["taps"][is_chosen] = firsts + 1, counts
    reach = np.maximum.reduceat(np.abs(taps[:, :2]).max(1), firsts)
    rows["is_mirrored"][is_chosen] = may_mirror(height, width, reach)
    return taps.astype(np.float32)
