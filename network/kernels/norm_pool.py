"""Batch norm in training, ReLU and the max-pool after a stem as one operation with its own backward pass.

The stem's result is a network's largest activation, 8 times as large as the pool's. A forward pass reads it twice, and
writes only the pool's result and which of its inputs each output took; a backward pass reads it twice and writes its
gradient. The batch norm's result and its gradient are never written.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.launch import Launcher
from network.kernels import norm
from network.kernels.pool import (
    SIZES,
    WARPS,
    Geometry,
    _inputs,
    _outputs,
    empty,
    geometry_of,
    pool,
    pool_gradient_of_norm,
)


@triton.jit
def _added(
    gradients, products, x, place, g_1, g_2, g_3, g_4, is_frame, is_lower, is_right, is_channel, below, C, mean,
):  # fmt: skip
    """The sums with those of 2 x 2 inputs of a frame: of their gradients g, and of g * (x - mean)."""
    mask = is_frame[:, None] & is_channel
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    gradients += g_1
    products += g_1 * (value - mean)
    mask = (is_frame & is_right)[:, None] & is_channel
    value = tl.load(x + (place + C), mask=mask, other=0.0).to(tl.float32)
    gradients += g_2
    products += g_2 * (value - mean)
    mask = (is_frame & is_lower)[:, None] & is_channel
    value = tl.load(x + (place + below), mask=mask, other=0.0).to(tl.float32)
    gradients += g_3
    products += g_3 * (value - mean)
    mask = (is_frame & is_lower & is_right)[:, None] & is_channel
    value = tl.load(x + (place + below + C), mask=mask, other=0.0).to(tl.float32)
    gradients += g_4
    products += g_4 * (value - mean)
    return gradients, products


@triton.jit(do_not_specialize=[*SIZES, "rows_of_part"])
def _gradient_sums_kernel(
    dy, taps, x, table, sums, frames, height, width, out_frames, out_height, out_width, groups, splits, rows_of_part,
    KT: tl.constexpr, ST: tl.constexpr, GROUP: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums over a part of a clip of the gradient g of batch norm's result, and of g * (x - mean).

    They lie in sums as network/kernels/norm.py has them; a chunk is a part of a clip. A part has blocks of inputs as in
    `network.kernels.pool._pool_gradient_kernel`.
    """
    C = groups * GROUP
    part, parts, clips = tl.program_id(0), tl.num_programs(0), tl.num_programs(1)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    clip = tl.program_id(1).to(tl.int64)
    s = tl.program_id(1) % splits
    outputs = out_frames * out_height * out_width
    x += clip * frames * height * width * C
    dy += clip * outputs * C
    taps += clip * outputs * C
    is_channel = (c < C)[None, :]
    mean = tl.load(table + s * C + c, mask=c < C, other=0.0)[None, :]
    gradients = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    products = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    end = tl.minimum((part + 1) * rows_of_part, outputs)
    for begin in range(part * rows_of_part, end, BLOCK_R):
        r = begin + tl.arange(0, BLOCK_R)
        column = r % out_width
        row = (r // out_width) % out_height
        frame = r // (out_width * out_height)
        is_block = r < end
        is_lower, is_right = row + 1 < out_height, column + 1 < out_width
        has_lower, has_right = row * 2 + 1 < height, column * 2 + 1 < width
        tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw = _outputs(
            dy, taps, r * C, is_block, is_lower, is_right, is_channel, c, out_width, C
        )
        place = (((frame * ST * height + row * 2) * width + column * 2) * C)[:, None] + c[None, :]
        g_1, g_2, g_3, g_4 = _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, KT // 2 * 9)
        gradients, products = _added(
            gradients, products, x, place, g_1, g_2, g_3, g_4,
            is_block, has_lower, has_right, is_channel, width * C, C, mean,
        )  # fmt: skip
        if ST == 2:
            g_1, g_2, g_3, g_4 = _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, 18)
            tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw = _outputs(
                dy, taps, (r + out_width * out_height) * C, is_block & (frame + 1 < out_frames), is_lower, is_right,
                is_channel, c, out_width, C,
            )  # fmt: skip
            next_1, next_2, next_3, next_4 = _inputs(tap, g, tap_w, g_w, tap_h, g_h, tap_hw, g_hw, 0)
            gradients, products = _added(
                gradients, products, x, place + height * width * C,
                g_1 + next_1, g_2 + next_2, g_3 + next_3, g_4 + next_4,
                is_block & (frame * 2 + 1 < frames), has_lower, has_right, is_channel, width * C, C, mean,
            )  # fmt: skip
    chunk = s * (clips // splits * parts) + tl.program_id(1) // splits * parts + part
    target = sums + (2 * splits + chunk * 2).to(tl.int64) * C + c
    tl.store(target, tl.sum(gradients, 0), mask=c < C)
    tl.store(target + C, tl.sum(products, 0), mask=c < C)


_gradient_sums = Launcher(_gradient_sums_kernel, 5, num_warps=WARPS, maxnreg=168)


class _NormPool(torch.autograd.Function):
    """See `norm_relu_pool`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        tracked: Tensor | None,
        momentum: float,
        eps: float,
        frames: int,
    ) -> Tensor:
        plan = norm.plan_of(x.shape, 1 if running_mean.dim() == 1 else len(running_mean))
        table = norm.table_of(plan, x, weight, bias, running_mean, running_var, tracked, momentum, eps)
        geometry = geometry_of(x.shape, frames)
        y = empty(geometry.out_shape, x)
        taps = torch.empty_like(y, dtype=torch.uint8)
        pool(geometry.grid, x, table, y, taps, *geometry.sizes, plan.splits, *geometry.constants, True)
        ctx.geometry, ctx.plan = geometry, plan
        ctx.save_for_backward(x, table, taps)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, table, taps = ctx.saved_tensors
        geometry: Geometry = ctx.geometry
        plan: norm.Plan = ctx.plan
        splits = plan.splits
        dy = dy.contiguous(memory_format=torch.channels_last_3d)
        tiles, clips, columns = geometry.grid
        tiles_of_part = norm.ceil_div(tiles, max(1, norm.PROGRAMS // (clips * columns)))
        parts = norm.ceil_div(tiles, tiles_of_part)
        chunks = clips // splits * parts
        sums = table.new_empty((2 + 2 * chunks, splits, plan.channels))
        dweight, dbias = table.new_empty(plan.channels), table.new_empty(plan.channels)
        dx = torch.empty_like(x)
        rows_of_part = tiles_of_part * geometry.constants[3]
        _gradient_sums(
            (parts, clips, columns), dy, taps, x, table, sums,
            *geometry.sizes, splits, rows_of_part, *geometry.constants,
        )  # fmt: skip
        norm.gradients_of_parameters(
            plan.column_grid, table, dweight, dbias, sums,
            plan.rows, chunks, plan.channels, splits, norm.FINAL_K, norm.FINAL_C,
        )  # fmt: skip
        pool_gradient_of_norm(
            geometry.grid, dy, taps, dx, x, table, sums, *geometry.sizes, splits, *geometry.constants, True
        )
        return dx, dweight, dbias, None, None, None, None, None, None


def norm_relu_pool(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    tracked: Tensor | None,
    momentum: float,
    eps: float,
    frames: int,
) -> Tensor:
    """`network.kernels.pool.max_pool` of ReLU of the batch norm of x (B, C, T, H, W), see `network.kernels.norm`."""
    assert x.stride(0) < 2**31, x.shape
    return _NormPool.apply(x, weight, bias, running_mean, running_var, tracked, momentum, eps, frames)
