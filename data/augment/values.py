"""What the operations of Augment need for a batch, from the parameters of its clips (numpy only).

Both forms of Augment, plain.py and kernels.py, take their numbers from here.
"""

from typing import NamedTuple

import numpy as np

from common.normalisation import SRTG, Normalisation
from data.augment.composed import colour_factors, is_moved, is_sharpened, moves, sharpened
from data.augment.ops import LUMA, blur_kernels, homographies, is_visible_blur

MEDIUM_GREY = 127.0  # the level that a change of contrast does not move, as in imgaug


class Part(NamedTuple):
    """What an operation needs that some of n clips go through."""

    is_chosen: np.ndarray  # bool (n,)
    values: dict[str, np.ndarray]  # of the chosen clips


def parts_of(fields: np.ndarray, height: int, width: int, normalisation: Normalisation = SRTG) -> dict[str, Part]:
    """The operations that n clips need, by their names, in order; `fields` (n,) are the clips' `named_params`.

    - "rotation", "perspective": matrices (m, 3, 3), see `homographies`; m is the number of chosen clips. The movements
      of RandAugment are rotations too, as they show black beyond the frame;
    - "blur": kernels (m, k, k), see `blur_kernels` and `sharpened`;
    - "hue forwards", "hue backwards": hue (m,) and saturation (m,), see `shift_hue_and_saturation`;
    - "affine map", of all clips: see `_affine_map`.
    """
    affine_map = ("affine map", _affine_map(fields, normalisation))
    return dict([*_geometry(fields, height, width), *_blur(fields), *_hue(fields), affine_map])


def _geometry(fields: np.ndarray, height: int, width: int) -> list[tuple[str, Part]]:
    parts = []
    is_perspective = np.any(fields["corner_shifts"] != 0, axis=(1, 2))
    is_rotation = ((fields["rotation"] != 0) | is_moved(fields)) & ~is_perspective
    for name, is_warped in (("rotation", is_rotation), ("perspective", is_perspective)):
        if is_warped.any():
            chosen = fields[is_warped]
            matrices = homographies(chosen["rotation"], chosen["corner_shifts"], height, width)
            matrices = moves(chosen, height, width) @ matrices
            parts.append((name, Part(is_warped, {"matrices": matrices})))
    return parts


def _blur(fields: np.ndarray) -> list[tuple[str, Part]]:
    """Gaussian and motion blur, and RandAugment's sharpness."""
    sigma = np.where(is_visible_blur(fields["blur_sigma"]), fields["blur_sigma"], 0)
    is_blurred = (fields["motion_kernel"] != 0) | (sigma != 0) | is_sharpened(fields)
    if not is_blurred.any():
        return []
    chosen = fields[is_blurred]
    kernels = blur_kernels(sigma[is_blurred], chosen["motion_kernel"], chosen["motion_angle"])
    return [("blur", Part(is_blurred, {"kernels": sharpened(kernels, chosen)}))]


def _hue(fields: np.ndarray) -> list[tuple[str, Part]]:
    parts = []
    is_shifted = (fields["hue"] != 0) | (fields["saturation"] != 0)
    for name, is_of_direction in (("hue forwards", fields["hue"] >= 0), ("hue backwards", fields["hue"] < 0)):
        is_chosen = is_shifted & is_of_direction
        if is_chosen.any():
            chosen = fields[is_chosen]
            values = {"hue": np.abs(chosen["hue"]) * 6 / 255, "saturation": chosen["saturation"] / 255}
            parts.append((name, Part(is_chosen, values)))
    return parts


def _affine_map(fields: np.ndarray, normalisation: Normalisation) -> Part:
    """Addition, noise, colour, contrast and normalisation: one affine map of the channels for each clip.

    With addition a, noise n, colour factor f (of RandAugment too), contrast factor c, and the luma L(x) of x:

        y = x + a + n,  z = L(y) + f (y - L(y)),  (127 + c (z - 127) - mean) scale

    equals c f scale x + c (1 - f) scale L(x) + c scale n + (c (L(a) + f (a - L(a)) - 127) + 127 - mean) scale.

    The values are gain (n,) of x, luma_gain (n,) of L(x), where any is not 0, and offset (n, 3). Where there is noise:
    noisy, the indices of the m clips that have some, their noise_seed (m,) and noise_scale (m,). All but the offset are
    those of red; the other channels' are `Normalisation.factors` times as much.
    """
    mean, scale, of_red = np.array(normalisation.mean), np.array(normalisation.scale), normalisation.scale[0]
    contrast, colour, add = (fields[name].astype(float) for name in ("contrast", "colour", "add"))
    colour *= colour_factors(fields)
    luma_of_add = (add @ LUMA)[:, None]
    constant = contrast[:, None] * (luma_of_add + colour[:, None] * (add - luma_of_add) - MEDIUM_GREY)
    values = {"offset": (constant + MEDIUM_GREY - mean) * scale, "gain": contrast * colour * of_red}
    if (colour != 1).any():
        values["luma_gain"] = contrast * (1 - colour) * of_red
    is_noisy = fields["noise_scale"] != 0
    if is_noisy.any():
        values["noisy"], values["noise_seed"] = np.flatnonzero(is_noisy), fields["noise_seed"][is_noisy]
        values["noise_scale"] = contrast[is_noisy] * fields["noise_scale"][is_noisy] * of_red
    return Part(np.ones(len(fields), bool), values)
