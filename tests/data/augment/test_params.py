"""The distribution of the augmentation parameters: how often each kind is applied, and with which values."""

import numpy as np
import pytest

from data.augment.params import FIELDS, NUM_PARAMS, identity_params, named_params, random_params

NUMBER = 8000
KINDS = {
    "geometry": ("rotation", "corner_shifts"), "blur": ("blur_sigma",), "motion": ("motion_kernel", "motion_angle"),
    "hue and saturation": ("hue", "saturation"), "addition": ("add",), "noise": ("noise_scale", "noise_seed"),
    "colour": ("colour",), "contrast": ("contrast",),
}  # fmt: skip
RANGES = {
    "rotation": (-10, 10), "blur_sigma": (0.1, 0.3), "motion_angle": (0, 180), "hue": (-16, 16),
    "saturation": (-16, 16), "add": (-5, 15), "noise_scale": (0, 7.65), "noise_seed": (0, 2**24), "colour": (1.2, 1.6),
    "contrast": (0.85, 1.115),
}  # fmt: skip


@pytest.fixture(scope="module")
def fields() -> np.ndarray:
    params = [random_params(np.random.default_rng((1, number))) for number in range(NUMBER)]
    assert all(each.shape == (NUM_PARAMS,) and each.dtype == np.float32 for each in params)
    return named_params(np.stack(params))


def is_applied(fields: np.ndarray, kind: str) -> np.ndarray:
    neutral = named_params(identity_params()[None])
    differs = [(fields[name] != neutral[name]).reshape(len(fields), -1).any(1) for name in KINDS[kind]]
    return np.any(differs, axis=0)


def test_clips_are_augmented_with_the_documented_probabilities(fields):
    """A clip with 0.8, then each kind with 0.4, independently."""
    chosen = np.stack([is_applied(fields, kind) for kind in KINDS])
    assert np.abs(chosen.mean(1) - 0.32).max() < 0.02
    assert abs((chosen.sum(0) == 0).mean() - (0.2 + 0.8 * 0.6**8)) < 0.02
    for first in range(len(KINDS)):
        for second in range(first):
            assert abs((chosen[first] & chosen[second]).mean() - 0.8 * 0.4**2) < 0.02


def test_values_are_uniform_over_the_documented_ranges(fields):
    neutral = {name: value for name, _, value in FIELDS}
    for name, (low, high) in RANGES.items():
        values = fields[name][fields[name] != neutral[name]]
        assert values.min() >= np.float32(low)
        assert values.max() <= np.float32(high)
        quarters = np.histogram(values, 4, (low, high))[0] / len(values)
        assert np.abs(quarters - 0.25).max() < 0.04, name


def test_a_motion_covers_3_5_or_7_pixels(fields):
    kernels, counts = np.unique(fields["motion_kernel"], return_counts=True)
    assert kernels.tolist() == [0, 3, 5, 7]
    assert counts[1:].min() > 0.27 * counts[1:].sum()


def test_geometry_is_a_rotation_or_a_perspective(fields):
    """Never both; corners go inwards, by the absolute value of a normal distribution of scale 0.02 to 0.05."""
    is_perspective = fields["corner_shifts"].any((1, 2))
    is_rotation = fields["rotation"] != 0
    assert not (is_perspective & is_rotation).any()
    assert abs(is_perspective.sum() / is_applied(fields, "geometry").sum() - 0.5) < 0.05
    shifts = fields["corner_shifts"][is_perspective]
    assert shifts.min() >= 0
    assert shifts.max() <= 0.2
    assert abs((shifts**2).mean() ** 0.5 - ((0.05**3 - 0.02**3) / 3 / 0.03) ** 0.5) < 0.002
    scales = (shifts**2).mean((1, 2)) ** 0.5
    assert 0.01 < np.quantile(scales, 0.05) < np.quantile(scales, 0.95) < 0.06
