"""The max-pool after the stem, in channels_last_3d.

PyTorch's 3D max-pool converts such clips to NCDHW and back, keeps an int64 index for each output, and adds gradients
up with atomics, in any order. Here an index takes a byte, and each input collects its own gradient.

Within a clip offsets are int32. A program's tile has as many channels as the clips have, so that a thread reads 16
bytes at a time, and few pixels: the code stays small, and a multiprocessor runs many programs.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import gcd
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.launch import Launcher

TILE = 1024  # elements of a tile: 8 of each thread
WARPS = 4
NONE = tl.constexpr(255)  # a tap of an output that has no gradient, or does not exist


SIZES = ["frames", "height", "width", "out_frames", "out_height", "out_width", "groups", "splits"]


@triton.jit(do_not_specialize=SIZES)
def _pool_kernel(
    x, table, y, taps, frames, height, width, out_frames, out_height, out_width, groups, splits,
    KT: tl.constexpr, ST: tl.constexpr, GROUP: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
    NORM: tl.constexpr,
):  # fmt: skip
    """The largest of KT x 3 x 3 inputs, and which of them it is, on a tile of a clip's outputs.

    There are groups * GROUP channels: what GROUP divides can be read that many elements at a time. With NORM the pool
    is that of x after batch norm, of `table` (see network/kernels/norm.py), and ReLU.
    """
    C = groups * GROUP
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    clip = tl.program_id(1).to(tl.int64)
    outputs = out_frames * out_height * out_width
    x += clip * frames * height * width * C
    y += clip * outputs * C
    taps += clip * outputs * C
    column = r % out_width * 2 - 1
    row = (r // out_width) % out_height * 2 - 1
    frame = r // (out_width * out_height) * ST - KT // 2
    is_output, is_channel = (r < outputs)[:, None], (c < C)[None, :]
    first = ((frame * height + row) * width + column) * C
    outside = 0.0 if NORM else float("-inf")
    if NORM:
        of_channel = table + (2 * splits + tl.program_id(1) % splits) * C + c
        scale = tl.load(of_channel, mask=c < C, other=0.0)[None, :]
        shift = tl.load(of_channel + splits * C, mask=c < C, other=0.0)[None, :]
    best = tl.full((BLOCK_R, BLOCK_C), float("-inf"), tl.float32)
    which = tl.zeros((BLOCK_R, BLOCK_C), tl.int32)
    for dt in range(KT):
        is_frame = (frame + dt >= 0) & (frame + dt < frames) & (r < outputs)
        for dh in tl.static_range(3):
            is_row = is_frame & (row + dh >= 0) & (row + dh < height)
            for dw in tl.static_range(3):
                is_inside = is_row & (column + dw >= 0) & (column + dw < width)
                place = first + ((dt * height + dh) * width + dw) * C
                mask = is_inside[:, None] & is_channel
                value = tl.load(x + (place[:, None] + c[None, :]), mask=mask, other=outside).to(tl.float32)
                # Better are, as in PyTorch, larger ones, so that of equal ones the first is taken, and NaN.
                if NORM:
                    value = value * scale + shift
                    is_better = (mask & (value > best)) | (value != value)
                else:
                    is_better = (value > best) | (value != value)
                best = tl.where(is_better, value, best)
                which = tl.where(is_better, dt * 9 + (dh * 3 + dw), which)
    if NORM:
        which = tl.where(best > 0.0, which, NONE)
        best = tl.where(best < 0.0, 0.0, best)  # a number that is not finite stays so
    target = r[:, None] * C + c[None, :]
    tl.store(y + target, best.to(y.dtype.element_ty), mask=is_output & is_channel)
    tl.store(taps + target, which.to(tl.uint8), mask=is_output & is_channel)


@triton.jit
def _output(dy, taps, place, is_output, is_channel, c):
    """Which input each output took, and its gradient."""
    mask = is_output[:, None] & is_channel
    tap = tl.load(taps + (place[:, None] + c[None, :]), mask=mask, other=NONE).to(tl.int32)
    return tap, tl.load(dy + (place[:, None] + c[None, :]), mask=mask, other=0.0).to(tl.float32)


@triton.jit
def _outputs(dy, taps, place, is_frame, is_lower, is_right, is_channel, c, out_width, C):
    """Those of an output, the one to its right, the one below, and the one below to the right."""
    tap, g = _output(dy, taps, place, is_frame, is_channel, c)
    tap_w, g_w = _output(dy, taps, place + C, is_frame & is_right, is_channel, c)
    tap_h, g_h = _output(dy, taps, place + out_width * C, is_frame & is_lower, is_channel, c)
    tap_hw, g_hw = _output(dy, taps, place + (out_width + 1) * C, is_frame & is_lower & is_right, is_channel, c)
    return tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw


@triton.jit
def _taken(tap, g, index):
    """The gradients of the outputs that took the input `index` of their window."""
    return tl.where(tap == index, g, 0.0)


@triton.jit
def _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, FIRST: tl.constexpr):
    """The gradients of 2 x 2 inputs of a frame by `_outputs`; FIRST is the first input of the frame in their windows.

    Of 3 rows or columns of a window, the inputs are number 1, and 2 of one output and 0 of the next.
    """
    upper_left = _taken(tap, g, FIRST + 4)
    upper_right = _taken(tap, g, FIRST + 5) + _taken(tap_w, g_w, FIRST + 3)
    lower_left = _taken(tap, g, FIRST + 7) + _taken(tap_h, g_h, FIRST + 1)
    lower_right = _taken(tap, g, FIRST + 8) + _taken(tap_w, g_w, FIRST + 6)
    lower_right += _taken(tap_h, g_h, FIRST + 2) + _taken(tap_hw, g_hw, FIRST)
    return upper_left, upper_right, lower_left, lower_right


@triton.jit
def _normed(g, x, place, mask, mean, scale, total, product, NORM: tl.constexpr):
    """With NORM, the gradient of batch norm's input."""
    if NORM:
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        g = scale * g - total - product * (value - mean)
    return g


@triton.jit
def _store(
    dx, x, place, g_1, g_2, g_3, g_4, is_frame, is_lower, is_right, is_channel, below, C,
    mean, scale, total, product, NORM: tl.constexpr,
):  # fmt: skip
    """Write the gradients of 2 x 2 inputs of a frame."""
    kind = dx.dtype.element_ty
    mask = is_frame[:, None] & is_channel
    tl.store(dx + place, _normed(g_1, x, place, mask, mean, scale, total, product, NORM).to(kind), mask=mask)
    mask, at = (is_frame & is_right)[:, None] & is_channel, place + C
    tl.store(dx + at, _normed(g_2, x, at, mask, mean, scale, total, product, NORM).to(kind), mask=mask)
    mask, at = (is_frame & is_lower)[:, None] & is_channel, place + below
    tl.store(dx + at, _normed(g_3, x, at, mask, mean, scale, total, product, NORM).to(kind), mask=mask)
    mask, at = (is_frame & is_lower & is_right)[:, None] & is_channel, place + below + C
    tl.store(dx + at, _normed(g_4, x, at, mask, mean, scale, total, product, NORM).to(kind), mask=mask)


@triton.jit(do_not_specialize=SIZES)
def _pool_gradient_kernel(
    dy, taps, dx, x, table, sums, frames, height, width, out_frames, out_height, out_width, groups, splits,
    KT: tl.constexpr, ST: tl.constexpr, GROUP: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
    NORM: tl.constexpr,
):  # fmt: skip
    """The sum of the gradients of the outputs that took an input; with NORM, the gradient of batch norm's input x.

    A tile has BLOCK_R blocks of ST x 2 x 2 inputs of a clip: those in the middle of a window, and those after them.
    """
    C = groups * GROUP
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    clip = tl.program_id(1).to(tl.int64)
    outputs = out_frames * out_height * out_width
    dx += clip * frames * height * width * C
    dy += clip * outputs * C
    taps += clip * outputs * C
    column = r % out_width
    row = (r // out_width) % out_height
    frame = r // (out_width * out_height)
    is_block, is_channel = r < outputs, (c < C)[None, :]
    is_lower, is_right = row + 1 < out_height, column + 1 < out_width  # whether there are such outputs
    has_lower, has_right = row * 2 + 1 < height, column * 2 + 1 < width  # whether there are such inputs
    mean, scale, total, product = 0.0, 0.0, 0.0, 0.0
    if NORM:
        x += clip * frames * height * width * C
        of_channel = tl.program_id(1) % splits * C + c
        mean = tl.load(table + of_channel, mask=c < C, other=0.0)[None, :]
        scale = tl.load(table + 2 * splits * C + of_channel, mask=c < C, other=0.0)[None, :]
        total = tl.load(sums + of_channel, mask=c < C, other=0.0)[None, :]
        product = tl.load(sums + splits * C + of_channel, mask=c < C, other=0.0)[None, :]
    tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw = _outputs(
        dy, taps, r * C, is_block, is_lower, is_right, is_channel, c, out_width, C
    )
    place = (((frame * ST * height + row * 2) * width + column * 2) * C)[:, None] + c[None, :]
    # The first frame of a block is in the middle of a window, the second in two windows.
    g_1, g_2, g_3, g_4 = _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, KT // 2 * 9)
    _store(
        dx, x, place, g_1, g_2, g_3, g_4, is_block, has_lower, has_right, is_channel, width * C, C,
        mean, scale, total, product, NORM,
    )  # fmt: skip
    if ST == 2:
        g_1, g_2, g_3, g_4 = _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, 18)
        tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw = _outputs(
            dy, taps, (r + out_width * out_height) * C, is_block & (frame + 1 < out_frames), is_lower, is_right,
            is_channel, c, out_width, C,
        )  # fmt: skip
        next_1, next_2, next_3, next_4 = _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, 0)
        _store(
            dx, x, place + height * width * C, g_1 + next_1, g_2 + next_2, g_3 + next_3, g_4 + next_4,
            is_block & (frame * 2 + 1 < frames), has_lower, has_right, is_channel, width * C, C,
            mean, scale, total, product, NORM,
        )  # fmt: skip


pool = Launcher(_pool_kernel, 4, num_warps=WARPS)
pool_gradient = Launcher(_pool_gradient_kernel, 6, num_warps=WARPS)
pool_gradient_of_norm = Launcher(_pool_gradient_kernel, 6, num_warps=WARPS, maxnreg=168)  # 3 tiles at a time, not 2


class Geometry(NamedTuple):
    """How the work on x is divided."""

    out_shape: tuple[int, ...]
    grid: tuple[int, int, int]  # tiles of the outputs of a clip, clips, and tiles of the channels
    sizes: tuple[int, ...]  # frames, height and width of x and of the result, groups of channels
    constants: tuple[int, ...]  # of the kernels, but NORM


@lru_cache(256)
def geometry_of(shape: torch.Size, frames: int) -> Geometry:
    """For x (B, C, T, H, W) and windows of so many frames."""
    clips, channels, *size = shape
    stride = 2 if frames == 3 else 1
    out_size = [(size[0] - 1) // stride + 1, (size[1] - 1) // 2 + 1, (size[2] - 1) // 2 + 1]
    columns = min(128, max(16, triton.next_power_of_2(channels)))
    rows, group = TILE // columns, gcd(channels, 16)
    tiles = triton.cdiv(out_size[0] * out_size[1] * out_size[2], rows)
    return Geometry(
        (clips, channels, *out_size), (tiles, clips, triton.cdiv(channels, columns)),
        (*size, *out_size, channels // group), (frames, stride, group, rows, columns),
    )  # fmt: skip


class _MaxPool(torch.autograd.Function):
    """See `max_pool`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int) -> Tensor:
        geometry = geometry_of(x.shape, frames)
        y = empty(geometry.out_shape, x)
        taps = torch.empty_like(y, dtype=torch.uint8)
        pool(geometry.grid, x, x, y, taps, *geometry.sizes, 1, *geometry.constants, False)
        ctx.save_for_backward(taps)
        ctx.shape, ctx.geometry = x.shape, geometry
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (taps,) = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        dy = dy.contiguous(memory_format=torch.channels_last_3d)
        dx = empty(ctx.shape, dy)
        pool_gradient(geometry.grid, dy, taps, dx, dx, dx, dx, *geometry.sizes, 1, *geometry.constants, False)
        return dx, None


def empty(shape: Sequence[int], like: Tensor) -> Tensor:
    """A new tensor in channels_last_3d."""
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def max_pool(x: Tensor, frames: int) -> Tensor:
    """The max-pool of x (B, C, T, H, W) in channels_last_3d over windows of `frames` x 3 x 3, padded by half of them.

    With 3 frames it halves T, H and W, with 1 frame H and W. Of equally large inputs the first gets the gradient. A
    clip has fewer than 2**31 elements.
    """
    assert x.stride(0) < 2**31, x.shape
    return _MaxPool.apply(x, frames)
