"""The operations of Augment on clips x (n, 3, T, h, w), float, RGB, in grey levels 0..255.

Each clip has its own parameters, the same for all its frames. Parameters are numpy arrays on the host; x and the
tensors made of the parameters are on the device. Nothing here waits for the device.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

ROWS_AT_ONCE = 16  # of a frame that is warped on the CPU
LUMA = (0.299, 0.587, 0.114)  # weights of R, G, B: ITU-R BT.601, as in PIL's conversion to grey


def homographies(rotation: np.ndarray, corner_shifts: np.ndarray, height: int, width: int) -> np.ndarray:
    """Matrices float64 (n, 3, 3) from a point of the result to the point of the source that it shows.

    Points are (x, y, 1) with x and y from -1 to 1. `rotation` (n,) turns the frame counter-clockwise about its centre,
    in degrees. Where `corner_shifts` (n, 4, 2) are not 0, the quadrilateral of the shifted corners fills the result
    instead.
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
    """Homographies (n, 3, 3) that map the corners of the square to corners shifted inwards by `shifts` (n, 4, 2)."""
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
    """The source point of each pixel of the result, (n, h, w, 2), for homographies (n, 3, 3)."""
    # Not a matrix product: a GPU may round that to TF32.
    y = ((torch.arange(height, device=matrices.device) * 2 + 1) / height - 1)[:, None]
    x = (torch.arange(width, device=matrices.device) * 2 + 1) / width - 1
    m = matrices[:, :, :, None, None]
    u, v, scale = (m[:, row, 0] * x + m[:, row, 1] * y + m[:, row, 2] for row in range(3))
    return torch.stack([u / scale, v / scale], dim=-1)


def warp(x: Tensor, grid: Tensor, beyond: str) -> Tensor:
    """Sample x bilinearly at `grid` (n, h, w, 2); `beyond` the frame: "zeros" or the nearest pixel of the "border"."""
    frames = x.flatten(1, 2)
    warped = torch.empty_like(frames)
    # Twice as fast on a CPU, because rows of all channels and frames fit into its cache.
    rows = ROWS_AT_ONCE if x.device.type == "cpu" else grid.shape[1]
    for places, target in zip(grid.split(rows, dim=1), warped.split(rows, dim=2), strict=True):
        target.copy_(F.grid_sample(frames, places, mode="bilinear", padding_mode=beyond, align_corners=False))
    return warped.view_as(x)


def blur_kernels(sigma: np.ndarray, motion_kernel: np.ndarray, motion_angle: np.ndarray) -> np.ndarray:
    """Kernels float64 (n, k, k), k odd, of Gaussian blurs followed by motion blurs; each sums to 1.

    `sigma` (n,) is at most 0.3 pixels, so the Gaussian fits into 3 x 3. `motion_kernel` (n,) is the number of equal
    weights, 3, 5 or 7, on a line through the centre (0: no motion); `motion_angle` (n,) is in degrees
    counter-clockwise. The other clips have no influence on a clip's weights, but for k.
    """
    reach = motion_kernel.astype(np.int64) // 2  # steps of the line on either side of the centre
    longest, margin = int(reach.max(initial=0)), 1 if sigma.any() else 0
    steps = np.arange(-longest, longest + 1)
    clips, places = np.nonzero(np.abs(steps) <= reach[:, None])
    angle, step = np.deg2rad(motion_angle)[clips], steps[places].astype(motion_angle.dtype)
    x, y = step * np.cos(angle), -step * np.sin(angle)
    left, top = np.floor(x + 1e-6), np.floor(y + 1e-6)
    # Each point's shares of the four pixels around it.
    rows, columns = np.stack([top, top, top + 1, top + 1]), np.stack([left, left + 1, left, left + 1])
    of_rows, of_columns = (top + 1 - y, y - top), (left + 1 - x, x - left)
    shares = np.stack([of_row * of_column for of_row in of_rows for of_column in of_columns])
    some = shares > 1e-6
    clips, shares = np.broadcast_to(clips, some.shape)[some][:, None, None], shares[some][:, None, None]
    around = np.arange(2 * margin + 1) + longest  # the rows, or columns, of a Gaussian about the centre
    rows, columns = rows[some].astype(np.int64)[:, None], columns[some].astype(np.int64)[:, None]
    size = 2 * (longest + margin) + 1
    pixels = (clips * size + (rows + around)[:, :, None]) * size + (columns + around)[:, None]
    weights = shares * gaussian_weights(sigma)[clips[:, 0, 0]] if margin else shares
    kernels = np.bincount(pixels.ravel(), weights.ravel(), len(sigma) * size * size).reshape(-1, size, size)
    sums = np.bincount(clips[:, 0, 0], weights.sum((1, 2), dtype=float))
    return kernels / sums[:, None, None]


def gaussian_weights(sigma: np.ndarray) -> np.ndarray:
    """The 3 x 3 kernels (n, 3, 3) of Gaussian blurs (n,); for sigma 0 that of no blur."""
    is_blur = sigma != 0
    side = np.where(is_blur, np.exp(-0.5 / np.where(is_blur, sigma, 1) ** 2), 0)
    weights = np.stack([side, np.ones(len(sigma)), side], axis=1) / (1 + 2 * side)[:, None]
    return weights[:, :, None] * weights[:, None]


def is_visible_blur(sigma: np.ndarray) -> np.ndarray:
    """Whether Gaussian blurs (n,) may change a pixel by half a grey level or more: those with sigma from 0.26 on."""
    return 255 * (1 - gaussian_weights(sigma)[:, 1, 1]) >= 0.5


def convolve(x: Tensor, kernels: Tensor) -> Tensor:
    """Correlate each clip of x with its kernel of (n, k, k), k odd; frames are mirrored beyond their border."""
    clips, channels, frames, height, width = x.shape
    pad = kernels.shape[-1] // 2
    padded = _mirror(x.reshape(1, -1, height, width), pad)
    weights = kernels[:, None, None].expand(-1, channels * frames, -1, -1, -1).flatten(0, 1)
    return F.conv2d(padded, weights, groups=clips * channels * frames).view_as(x)


def _mirror(x: Tensor, pad: int) -> Tensor:
    mode = "reflect" if may_mirror(x.shape[-2], x.shape[-1], pad) else "replicate"
    return F.pad(x, (pad, pad, pad, pad), mode=mode)


def may_mirror(height: int, width: int, pad: Any) -> Any:
    """Whether `pad` pixels, an integer or an array of them, can be mirrored; else the border is replicated."""
    return min(height, width) > pad


def shift_hue_and_saturation(x: Tensor, hue: Tensor, saturation: Tensor, forwards: bool) -> Tensor:
    """Rotate the hue of x by `hue` and add `saturation` to its saturation, both (n,), in HSV with V unchanged.

    `hue` is 0 to 0.5, where 6 is the whole circle; `forwards` is from red to green, else from red to blue. Saturation
    is 1 for pure colours. It is clipped to 0..1 and at most doubled, so that grey pixels stay grey and the slight
    colour of nearly grey ones is not exaggerated.

    V is the largest channel, chroma C its distance to the smallest, and saturation C / V. The lack of a channel is V
    minus the channel, from 0 to C. As a function of hue it is piecewise linear between plateaus at 0 and C. So the lack
    after the rotation follows from the channels directly, without computing the hue and its six cases:

        lack = clamp(next - own + max(previous - smallest - turn, turn), 0, C), turn = hue * C,

    where next and previous are the neighbouring channels in the direction of the rotation.
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
    factor = torch.mul(value_per_chroma, saturation, out=turn).add_(1)  # that chroma is multiplied by
    factor = torch.minimum(factor, value_per_chroma, out=factor).clamp_(0, 2)
    return torch.sub(value[:, None], lacks.mul_(factor[:, None]), out=lacks)


def weighted_sum(x: Tensor, weights: Sequence[float]) -> Tensor:
    """The weighted sum (n, T, h, w) of the three channels of x."""
    red, green, blue = x.unbind(1)
    return (red * weights[0]).add_(green, alpha=weights[1]).add_(blue, alpha=weights[2])


def noise(seeds: Tensor, height: int, width: int) -> Tensor:
    """Standard normal values (n, 1, 1, h, w) that depend on the integer seeds (n,) and the pixel's position only.

    Seed and position go through an integer hash (two rounds of xor-shift and multiplication, C. Wellons,
    "hash-prospector", 2018), and pairs of hashes through the Box-Muller transform. So the values are the same on every
    device, and no generator's state is used.
    """
    pairs = (height * width + 1) // 2
    counters = torch.arange(2 * pairs, device=seeds.device)
    bits = _hash(counters ^ _hash(seeds.to(torch.int64) + 1)[:, None])
    uniform = (bits.to(torch.float32) + 1) * 2.0**-32  # in (0, 1]
    radius, angle = uniform[:, :pairs].log_().mul_(-2).sqrt_(), uniform[:, pairs:].mul_(2 * torch.pi)
    normal = torch.cat([radius * angle.cos(), radius * angle.sin()], dim=1)
    return normal[:, : height * width].reshape(-1, 1, 1, height, width)


def _hash(x: Tensor) -> Tensor:
    """Hash integers below 2**32 to that range; in int64, where the products do not overflow."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) & 0xFFFFFFFF
    x = ((x ^ (x >> 15)) * 0x735A2D97) & 0xFFFFFFFF
    return x ^ (x >> 15)
