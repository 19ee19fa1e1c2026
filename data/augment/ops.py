"""The operations of `data.augment` on float clips x (n, 3, T, h, w) of grey levels 0..255, RGB.

Each takes, for each clip, one value, the same for all frames. Parameters that the host computes are numpy arrays; the
tensors that are made of them, and x, are on the device. Nothing here waits for the device.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 16  # of a picture that is sampled on the CPU
LUMA = (0.299, 0.587, 0.114)  # of R, G, B: ITU-R BT.601, as PIL converts to grey


def homographies(rotation: np.ndarray, corner_shifts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Matrices float64 (n, 3, 3) from a place in the result to the place in the source that it shows.

    Places are (x, y, 1) with x and y from -1 to 1. `rotation` (n,) turns the picture counter-clockwise about its
    centre, in degrees; where `corner_shifts` (n, 4, 2) are not 0, the quadrilateral of the shifted corners fills the
    result instead.
    """
    angle = np.deg2rad(rotation)
    matrices = np.zeros((len(angle), 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = np.cos(angle)
    matrices[:, 0, 1] = -np.sin(angle) * height / width
    matrices[:, 1, 0] = np.sin(angle) * width / height
    matrices[:, 2, 2] = 1
    is_perspective = corner_shifts.any((1, 2))
    if is_perspective.any():
        matrices[is_perspective] = _through_corners(corner_shifts[is_perspective])
    return matrices


def _through_corners(shifts: np.ndarray) -> np.ndarray:
    """Homographies (n, 3, 3) that take the corners of the square to those shifted inwards by `shifts` (n, 4, 2)."""
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], float)  # top left, top right, bottom right, bottom left
    targets = corners * (1 - 2 * shifts.astype(float))
    ones, zeros = np.ones((len(shifts), 4)), np.zeros((len(shifts), 4, 3))
    homogeneous = np.broadcast_to(np.concatenate([corners, np.ones((4, 1))], axis=1), (len(shifts), 4, 3))
    # For each corner (x, y) with target (u, v): a x + b y + c - u (g x + h y) = u, and the same with d, e, f and v.
    rows_u = np.concatenate([homogeneous, zeros, -targets[..., :1] * corners], axis=2)
    rows_v = np.concatenate([zeros, homogeneous, -targets[..., 1:] * corners], axis=2)
    system, right = np.concatenate([rows_u, rows_v], axis=1), np.concatenate([targets[..., 0], targets[..., 1]], axis=1)
    solution = np.linalg.solve(system, right[..., None])[..., 0]
    return np.concatenate([solution, ones[:, :1]], axis=1).reshape(-1, 3, 3)


def sampling_grid(matrices: Tensor, height: int, width: int) -> Tensor:
    """Where each pixel of the result comes from, (n, h, w, 2), of homographies (n, 3, 3)."""
    # Not by a matrix product, which would be rounded to TF32 on a GPU.
    y = ((torch.arange(height, device=matrices.device) * 2 + 1) / height - 1)[:, None]
    x = (torch.arange(width, device=matrices.device) * 2 + 1) / width - 1
    m = matrices[:, :, :, None, None]
    u, v, scale = (m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in range(3))
    return torch.stack([u / scale, v / scale], dim=-1)


def warp(x: Tensor, grid: Tensor, beyond: str) -> Tensor:
    """Sample x at grid (n, h, w, 2), bilinearly; `beyond` the border there are "zeros" or the "border" itself."""
    frames = x.flatten(1, 2)
    warped = torch.empty_like(frames)
    # The CPU takes half the time if what it reads and writes for all channels and frames fits its cache.
    rows = ROWS_AT_ONCE if x.device.type == "cpu" else grid.shape[1]
    for places, target in zip(grid.split(rows, dim=1), warped.split(rows, dim=2), strict=True):
        target.copy_(F.grid_sample(frames, places, mode="bilinear", padding_mode=beyond, align_corners=False))
    return warped.view_as(x)


def blur_kernels(sigma: np.ndarray, motion_kernel: np.ndarray, motion_angle: np.ndarray) -> np.ndarray:
    """Kernels float64 (n, k, k), k odd, of Gaussian blurs followed by motion blurs; sums are 1.

    `sigma` (n,) is at most 0.3 pixels, so 3 x 3 hold the Gaussian. A motion of 3, 5 or 7 pixels is that many equal
    weights on a line at an angle (n,), in degrees counter-clockwise, through the centre; 0 is none.
    """
    margin = 1 if sigma.any() else 0
    size = int(motion_kernel.max(initial=1)) // 2 * 2 + 1 + 2 * margin
    kernels = np.zeros((len(sigma), size, size))
    for kernel, width, length, angle in zip(kernels, sigma, motion_kernel, np.deg2rad(motion_angle), strict=True):
        gaussian = gaussian_weights(width) if margin else np.ones((1, 1))
        for step in range(-(int(length) // 2), int(length) // 2 + 1):
            x, y = step * np.cos(angle), -step * np.sin(angle)
            left, top = int(np.floor(x + 1e-6)), int(np.floor(y + 1e-6))
            shares = np.outer([top + 1 - y, y - top], [left + 1 - x, x - left])  # of the four pixels around the place
            for (row, column), share in np.ndenumerate(shares):
                if share > 1e-6:
                    row, column = size // 2 - margin + top + row, size // 2 - margin + left + column
                    kernel[row : row + len(gaussian), column : column + len(gaussian)] += share * gaussian
        kernel /= kernel.sum()
    return kernels


def gaussian_weights(sigma: float) -> np.ndarray:
    """The 3 x 3 kernel of a Gaussian blur; for sigma 0 a single 1."""
    side = np.exp(-0.5 / sigma**2) if sigma else 0.0
    weights = np.array([side, 1, side]) / (1 + 2 * side)
    return np.outer(weights, weights)


def is_visible_blur(sigma: np.ndarray) -> np.ndarray:
    """Whether Gaussian blurs (n,) change any pixel by half a grey level or more: those of sigma 0.26 and up."""
    return np.array([255 * (1 - gaussian_weights(width)[1, 1]) >= 0.5 for width in sigma], dtype=bool)


def convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Correlate each clip of x with its kernel of (n, k, k), k odd; beyond the border the picture is mirrored."""
    clips, channels, frames, height, width = x.shape
    pad = kernels.shape[-1] // 2
    padded = _mirror(x.reshape(1, -1, height, width), pad)
    weights = kernels[:, None, None].expand(-1, channels * frames, -1, -1, -1).flatten(0, 1)
    return F.conv2d(padded, weights, groups=clips * channels * frames).view_as(x)


def _mirror(x: Tensor, pad: int) -> Tensor:
    if min(x.shape[-2:]) > pad:
        return F.pad(x, (pad, pad, pad, pad), mode="reflect")
    return F.pad(x, (pad, pad, pad, pad), mode="replicate")  # a picture too small to be mirrored


def shift_hue_and_saturation(x: Tensor, hue: Tensor, saturation: Tensor, forwards: bool) -> Tensor:
    """Turn the hue of x by `hue` and add `saturation` to its saturation, both (n,), in HSV, where V stays.

    Hue counts 6 for the whole circle and is 0 to 0.5 here, `forwards` from red to green or else to blue. Saturation
    counts 1 for pure colours; it is cut off at 0 and 1, and at most doubled: what has no hue stays without, and the
    traces of colour in a grey do not become colours.

    HSV describes a pixel by V, the largest channel, by chroma C, its distance to the smallest, and by what each
    channel lacks of V: 0 to C, so that saturation is C / V. Over the circle this rises and falls linearly between
    plateaus of 0 and C. That gives what a channel lacks after the turn from the channels themselves,

        lack = clamp(next - own + max(previous - smallest - turn, turn), 0, C), turn = hue * C,

    next and previous in the direction of the turn, without the hue and its distinction of cases.
    """
    hue, saturation = hue.view(-1, 1, 1, 1), saturation.view(-1, 1, 1, 1)
    order = (0, 1, 2) if forwards else (0, 2, 1)
    channels = [x[:, channel] for channel in order]
    value = torch.maximum(torch.maximum(*channels[:2]), channels[2])
    smallest = torch.minimum(torch.minimum(*channels[:2]), channels[2])
    chroma = value - smallest
    turn = chroma * hue
    smallest += turn
    lacks = torch.empty_like(x)
    for position, channel in enumerate(order):
        lack = torch.sub(channels[position - 1], smallest, out=lacks[:, channel])
        torch.maximum(lack, turn, out=lack).add_(channels[(position + 1) % 3]).sub_(channels[position]).clamp_(min=0)
        torch.minimum(lack, chroma, out=lack)
    value_per_chroma = torch.div(value, chroma.clamp_(min=1e-6), out=smallest)
    factor = torch.mul(value_per_chroma, saturation, out=turn).add_(1)  # of chroma
    factor = torch.minimum(factor, value_per_chroma, out=factor).clamp_(0, 2)
    return torch.sub(value[:, None], lacks.mul_(factor[:, None]), out=lacks)


def weighted_sum(x: Tensor, weights: Sequence[float]) -> Tensor:
    """The sum (n, T, h, w) of the three channels of x, each times its weight."""
    red, green, blue = x.unbind(1)
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def noise(seeds: Tensor, height: int, width: int) -> Tensor:
    """Standard normal values (n, 1, 1, h, w), a function of the whole-number seeds (n,) and the pixel alone.

    The pixel's number and the seed go through an integer hash (two rounds of xor-shift and multiplication, C. Wellons,
    "hash-prospector", 2018), and pairs of hashes through Box and Muller's transform: the same on every device, and
    without a generator's state.
    """
    pairs = (height * width + 1) // 2
    counters = torch.arange(2 * pairs, device=seeds.device)
    bits = _hash(counters ^ _hash(seeds.to(torch.int64) + 1)[:, None])
    uniform = (bits.to(torch.float32) + 1) * 2.0**-32  # above 0
    radius, angle = uniform[:, :pairs].log_().mul_(-2).sqrt_(), uniform[:, pairs:].mul_(2 * torch.pi)
    normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return normal[:, : height * width].reshape(-1, 1, 1, height, width)


def _hash(x: Tensor) -> Tensor:
    """Scatter whole numbers below 2**32 over that range; int64, in which the products do not overflow."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x735A2D97) & 0xFFFFFFFF
    return x ^ (x >> 15)
