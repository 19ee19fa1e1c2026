"""The max-pool after the stem, in channels_last_3d.

PyTorch's 3D max-pool converts such clips to NCDHW and back, keeps an int64 index for each output, and adds gradients
up with atomics, in any order. Here an index takes a byte, and each input collects its own gradient.
"""

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from network.kernels.launch import Launcher

TILE = 4096
WARPS = 4


@triton.jit(do_not_specialize=["frames", "height", "width", "out_frames", "out_height", "out_width"])
def _pool_kernel(
    x, y, taps, frames, height, width, out_frames, out_height, out_width, C,
    KT: tl.constexpr, ST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The largest of KT x 3 x 3 inputs, and which of them it is, on a tile of a clip's outputs."""
    clip = tl.program_id(1).to(tl.int64)
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    outputs = out_frames * out_height * out_width
    is_output = r < outputs
    column = r % out_width
    row = (r // out_width) % out_height
    frame = r // (out_width * out_height)
    is_channel = c < C
    best = tl.full((BLOCK_R, BLOCK_C), float("-inf"), tl.float32)
    which = tl.zeros((BLOCK_R, BLOCK_C), tl.int32)
    for dt in tl.static_range(KT):
        for dh in tl.static_range(3):
            for dw in tl.static_range(3):
                t = frame * ST + (dt - KT // 2)
                h = row * 2 + (dh - 1)
                w = column * 2 + (dw - 1)
                is_inside = is_output & (t >= 0) & (t < frames) & (h >= 0) & (h < height) & (w >= 0) & (w < width)
                place = ((clip * frames + t) * height + h) * width + w
                mask = is_inside[:, None] & is_channel[None, :]
                value = tl.load(x + place[:, None] * C + c[None, :], mask=mask, other=float("-inf")).to(tl.float32)
                is_better = (value > best) | (value != value)  # the first of equal ones, and NaN, as PyTorch
                best = tl.where(is_better, value, best)
                which = tl.where(is_better, (dt * 3 + dh) * 3 + dw, which)
    target = (clip * outputs + r)[:, None] * C + c[None, :]
    mask = is_output[:, None] & is_channel[None, :]
    tl.store(y + target, best.to(y.dtype.element_ty), mask=mask)
    tl.store(taps + target, which.to(tl.uint8), mask=mask)


@triton.jit(do_not_specialize=["frames", "height", "width", "out_frames", "out_height", "out_width"])
def _pool_gradient_kernel(
    dy, taps, dx, frames, height, width, out_frames, out_height, out_width, C,
    KT: tl.constexpr, ST: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The sum of the gradients of the outputs that took an input, on a tile of a clip's inputs."""
    clip = tl.program_id(1).to(tl.int64)
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    inputs = frames * height * width
    is_input = r < inputs
    column = r % width
    row = (r // width) % height
    frame = r // (width * height)
    is_channel = c < C
    gradient = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    # An input is in the window of output i // stride, and of the next one if it lies at the edge of both.
    for dt in tl.static_range(ST):
        for dh in tl.static_range(2):
            for dw in tl.static_range(2):
                t, h, w = frame // ST + dt, row // 2 + dh, column // 2 + dw
                tap_t, tap_h, tap_w = frame - t * ST + KT // 2, row - h * 2 + 1, column - w * 2 + 1
                is_inside = is_input & (t < out_frames) & (h < out_height) & (w < out_width)
                is_inside = is_inside & (tap_t >= 0) & (tap_h >= 0) & (tap_w >= 0)
                place = ((clip * out_frames + t) * out_height + h) * out_width + w
                mask = is_inside[:, None] & is_channel[None, :]
                source = place[:, None] * C + c[None, :]
                tap = tl.load(taps + source, mask=mask, other=255).to(tl.int32)
                of_output = tl.load(dy + source, mask=mask, other=0.0).to(tl.float32)
                is_taken = tap == ((tap_t * 3 + tap_h) * 3 + tap_w)[:, None]
                gradient += tl.where(is_taken & mask, of_output, 0.0)
    target = (clip * inputs + r)[:, None] * C + c[None, :]
    tl.store(dx + target, gradient.to(dx.dtype.element_ty), mask=is_input[:, None] & is_channel[None, :])


_pool = Launcher(_pool_kernel, 3, num_warps=WARPS)
_pool_gradient = Launcher(_pool_gradient_kernel, 3, num_warps=WARPS)


class _MaxPool(torch.autograd.Function):
    """See `max_pool`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, frames: int) -> Tensor:
        clips, channels, *size = x.shape
        stride = 2 if frames == 3 else 1
        out_size = [(size[0] - 1) // stride + 1, (size[1] - 1) // 2 + 1, (size[2] - 1) // 2 + 1]
        y = _empty((clips, channels, *out_size), x)
        taps = torch.empty_like(y, dtype=torch.uint8)
        ctx.arguments = (*size, *out_size, channels)
        ctx.constants = (frames, stride, *_tile(channels))
        _pool(_grid(y), x, y, taps, *ctx.arguments, *ctx.constants)
        ctx.save_for_backward(taps)
        ctx.shape = x.shape
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (taps,) = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last_3d)
        dx = _empty(ctx.shape, dy)
        _pool_gradient(_grid(dx), dy, taps, dx, *ctx.arguments, *ctx.constants)
        return dx, None


def _empty(shape: Sequence[int], like: Tensor) -> Tensor:
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last_3d)


def _tile(channels: int) -> tuple[int, int]:
    """Rows and columns."""
    columns = min(128, max(16, triton.next_power_of_2(channels)))
    return TILE // columns, columns


def _grid(of: Tensor) -> tuple[int, int, int]:
    clips, channels, *size = of.shape
    rows, columns = _tile(channels)
    return triton.cdiv(size[0] * size[1] * size[2], rows), clips, triton.cdiv(channels, columns)


def max_pool(x: Tensor, frames: int) -> Tensor:
    """The max-pool of x (B, C, T, H, W) in channels_last_3d over windows of `frames` x 3 x 3, padded by half of them.

    With 3 frames it halves T, H and W, with 1 frame H and W. Of equally large inputs the first gets the gradient.
    """
    return _MaxPool.apply(x, frames)
