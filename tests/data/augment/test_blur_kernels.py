"""The kernels of all clips of a batch at once are those of the clips one by one."""

import numpy as np
import pytest

from data.augment.ops import blur_kernels, is_visible_blur
from data.augment.params import named_params, random_params


def one_by_one(sigma, motion_kernel, motion_angle):
    """The formulation clip by clip, point by point and pixel by pixel."""
    margin = 1 if sigma.any() else 0
    size = int(motion_kernel.max(initial=1)) // 2 * 2 + 1 + 2 * margin
    kernels = np.zeros((len(sigma), size, size))
    for kernel, width, length, angle in zip(kernels, sigma, motion_kernel, np.deg2rad(motion_angle), strict=True):
        gaussian = gaussian_of(width) if margin else np.ones((1, 1))
        for step in range(-(int(length) // 2), int(length) // 2 + 1):
            x, y = step * np.cos(angle), -step * np.sin(angle)
            left, top = int(np.floor(x + 1e-6)), int(np.floor(y + 1e-6))
            shares = np.outer([top + 1 - y, y - top], [left + 1 - x, x - left])  # of the four pixels around the point
            for (row, column), share in np.ndenumerate(shares):
                if share > 1e-6:
                    row, column = size // 2 - margin + top + row, size // 2 - margin + left + column
                    kernel[row : row + len(gaussian), column : column + len(gaussian)] += share * gaussian
        kernel /= kernel.sum()
    return kernels


def gaussian_of(sigma):
    side = np.exp(-0.5 / sigma**2) if sigma else 0.0
    weights = np.array([side, 1, side]) / (1 + 2 * side)
    return np.outer(weights, weights)


def random_blurs(clips: int, blurred: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sigma, length and angle as training draws them; of some clips each is 0."""
    rng = np.random.default_rng(5)
    fields = named_params(np.stack([random_params(rng) for _ in range(clips)]))
    return fields["blur_sigma"] * blurred, fields["motion_kernel"], fields["motion_angle"]


@pytest.mark.parametrize("blurred", [True, False])
@pytest.mark.parametrize("clips", [1, 2, 300])
def test_kernels_are_those_of_each_clip_alone(clips, blurred):
    """A wrong kernel shifts or brightens the pictures of some clips, and no loss tells of it."""
    drawn = random_blurs(clips, blurred)
    np.testing.assert_allclose(blur_kernels(*drawn), one_by_one(*drawn), rtol=0, atol=1e-12)


@pytest.mark.parametrize("angle", [0, 45, 90, 135, 180])
def test_kernels_of_lines_through_the_middle_of_pixels(angle):
    """There the four shares of a point are 0 and 1, but for rounding."""
    drawn = np.zeros(3, np.float32), np.array([3, 5, 7], np.float32), np.full(3, angle, np.float32)
    np.testing.assert_allclose(blur_kernels(*drawn), one_by_one(*drawn), rtol=0, atol=1e-12)


def test_blurs_that_change_no_pixel_are_those_below_a_sigma_of_0_26():
    sigma = np.array([0, 0.1, 0.25, 0.27, 0.3], np.float32)
    assert is_visible_blur(sigma).tolist() == [False, False, False, True, True]
    assert is_visible_blur(sigma).tolist() == [255 * (1 - gaussian_of(width)[1, 1]) >= 0.5 for width in sigma]
