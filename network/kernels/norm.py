"""Batch norm in training with the addition of a shortcut and ReLU, as one operation with its own backward pass.

PyTorch's batch norm has no fast kernel for bfloat16 clips in channels_last_3d, and reads and writes each activation
again for the addition and for ReLU. Here, a forward pass reads x twice and writes the result; a backward pass reads x
and the gradient twice (with a shortcut also the result, for ReLU) and writes the gradients. Stochastic depth, which
drops the normalised x of some clips before the addition, is a factor of each clip in the same operation.

x (B, C, T, H, W) in channels_last_3d is a matrix of B*T*H*W rows and C columns. Sub-batch s of S has the clips s, s+S,
... Each kernel works on tiles of rows and columns; sums are in float32, in a fixed order, without atomics.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from common.kernels.launch import Launcher

PROGRAMS = 1024  # of a reduction, at most: some for each of a GPU's multiprocessors
LEAST_PROGRAMS = 256  # of a reduction with as many tiles: each multiprocessor has work
TILES = 4  # of each program of a reduction that has enough of them: its sums have to be read again
TILE = 4096  # elements of a tile
WARPS = 4
FINAL_K, FINAL_C, FINAL_WARPS = 512, 8, 8  # a tile of the kernels that add up the chunks


@triton.jit
def _row_of(r, s, pixels, splits):
    """The matrix row of row `r` of sub-batch `s`; a clip has `pixels` rows."""
    return ((r // pixels).to(tl.int64) * splits + s) * pixels + r % pixels


@triton.jit(do_not_specialize=["splits", "rows", "pixels", "rows_of_program", "chunks"])
def _sums_kernel(
    x, partial, rows, pixels, rows_of_program, chunks, C, splits,
    BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums of x - first and of its square over the rows of a chunk; `first` is the first row of the sub-batch."""
    chunk, s = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    first = tl.load(x + (_row_of(0 * s, s, pixels, splits) * C + c), mask=is_channel, other=0.0).to(tl.float32)
    sums = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    squares = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    start = chunk * rows_of_program
    end = tl.minimum(start + rows_of_program, rows)
    for begin in range(start, end, BLOCK_R):
        r = begin + tl.arange(0, BLOCK_R)
        mask = (r < end)[:, None] & is_channel[None, :]
        place = _row_of(r, s, pixels, splits)[:, None] * C + c[None, :]
        value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
        value = tl.where(mask, value - first[None, :], 0.0)
        sums += value
        squares += value * value
    target = partial + ((s * chunks + chunk).to(tl.int64) * 2) * C + c
    tl.store(target, tl.sum(sums, 0), mask=is_channel)
    tl.store(target + C, tl.sum(squares, 0), mask=is_channel)


@triton.jit
def _total(partial, s, chunks, c, is_channel, C, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr):
    """Both sums over all chunks of sub-batch `s`."""
    first = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    second = tl.zeros((BLOCK_K, BLOCK_C), tl.float32)
    for begin in range(0, chunks, BLOCK_K):
        k = begin + tl.arange(0, BLOCK_K)
        mask = (k < chunks)[:, None] & is_channel[None, :]
        place = partial + ((s * chunks + k)[:, None].to(tl.int64) * 2) * C + c[None, :]
        first += tl.load(place, mask=mask, other=0.0)
        second += tl.load(place + C, mask=mask, other=0.0)
    return tl.sum(first, 0), tl.sum(second, 0)


@triton.jit(do_not_specialize=["splits", "rows", "pixels", "chunks", "momentum", "eps"])
def _statistics_kernel(
    x, partial, weight, bias, running_mean, running_var, tracked, table, rows, pixels, chunks, momentum, eps, C, splits,
    COUNTS: tl.constexpr, BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Mean, 1 / deviation, scale and shift of each sub-batch into table (4, S, C); updates the running statistics."""
    s = tl.program_id(1)
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    total, squares = _total(partial, s, chunks, c, is_channel, C, BLOCK_K, BLOCK_C)
    first = tl.load(x + (_row_of(0 * s, s, pixels, splits) * C + c), mask=is_channel, other=0.0).to(tl.float32)
    count = rows.to(tl.float32)
    shift = total / count
    mean = first + shift
    var = squares / count - shift * shift
    var = tl.where(var < 0.0, 0.0, var)  # not a maximum: it would hide NaN
    rstd = tl.rsqrt(var + eps)
    scale = tl.load(weight + c, mask=is_channel, other=0.0) * rstd
    target = table + s * C + c
    tl.store(target, mean, mask=is_channel)
    tl.store(target + splits * C, rstd, mask=is_channel)
    tl.store(target + 2 * splits * C, scale, mask=is_channel)
    tl.store(target + 3 * splits * C, tl.load(bias + c, mask=is_channel, other=0.0) - mean * scale, mask=is_channel)
    place = s * C + c
    old_mean = tl.load(running_mean + place, mask=is_channel, other=0.0)
    old_var = tl.load(running_var + place, mask=is_channel, other=0.0)
    unbiased = var * (count / tl.maximum(count - 1.0, 1.0))
    tl.store(running_mean + place, old_mean + momentum * (mean - old_mean), mask=is_channel)
    tl.store(running_var + place, old_var + momentum * (unbiased - old_var), mask=is_channel)
    if COUNTS:  # noqa: SIM102
        if (s == 0) & (tl.program_id(0) == 0):
            tl.store(tracked, tl.load(tracked) + 1)


@triton.jit(do_not_specialize=["splits", "pixels", "factor"])
def _apply_kernel(
    x, shortcut, y, table, kept, pixels, factor, C, splits,
    HAS_SHORTCUT: tl.constexpr, RELU: tl.constexpr, DROPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The result y = x * scale + shift, plus the shortcut, and ReLU, on a tile of a clip.

    With DROPS, x * scale + shift is first multiplied by `factor`, or by 0 in a clip that is not `kept` (B).
    """
    clip = tl.program_id(1)
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    mask = (r < pixels)[:, None] & (c < C)[None, :]
    place = (clip.to(tl.int64) * pixels + r)[:, None] * C + c[None, :]
    of_channel = table + 2 * splits * C + (clip % splits) * C + c
    scale = tl.load(of_channel, mask=c < C, other=0.0)
    shift = tl.load(of_channel + splits * C, mask=c < C, other=0.0)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32) * scale[None, :] + shift[None, :]
    if DROPS:
        value *= tl.load(kept + clip) * factor
    if HAS_SHORTCUT:
        value += tl.load(shortcut + place, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        # A number that is not finite stays so.
        value = tl.where(value < 0.0, 0.0, value)
    tl.store(y + place, value.to(y.dtype.element_ty), mask=mask)


@triton.jit
def _masked(dy, x, y, place, mask, scale, shift, HAS_SHORTCUT: tl.constexpr, RELU: tl.constexpr):
    """The gradient before ReLU, and x, both in float32."""
    g = tl.load(dy + place, mask=mask, other=0.0).to(tl.float32)
    value = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    if RELU:
        if HAS_SHORTCUT:
            is_on = tl.load(y + place, mask=mask, other=0.0).to(tl.float32) > 0.0
        else:
            is_on = value * scale[None, :] + shift[None, :] > 0.0
        g = tl.where(is_on, g, 0.0)
    return g, value


@triton.jit(do_not_specialize=["splits", "rows", "pixels", "rows_of_program", "chunks", "factor"])
def _gradient_sums_kernel(
    dy, x, y, table, kept, sums, rows, pixels, rows_of_program, chunks, factor, C, splits,
    HAS_SHORTCUT: tl.constexpr, RELU: tl.constexpr, DROPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """Sums over the rows of a chunk of the gradient g of the normalised x, and of g * (x - mean).

    They lie in sums (2 + 2 * chunks, S, C) after the first 2: see `_gradients_kernel`.
    """
    chunk, s = tl.program_id(0), tl.program_id(1)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    of_channel = table + s * C + c
    mean = tl.load(of_channel, mask=is_channel, other=0.0)
    scale = tl.load(of_channel + 2 * splits * C, mask=is_channel, other=0.0)
    shift = tl.load(of_channel + 3 * splits * C, mask=is_channel, other=0.0)
    gradients = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    products = tl.zeros((BLOCK_R, BLOCK_C), tl.float32)
    start = chunk * rows_of_program
    end = tl.minimum(start + rows_of_program, rows)
    for begin in range(start, end, BLOCK_R):
        r = begin + tl.arange(0, BLOCK_R)
        mask = (r < end)[:, None] & is_channel[None, :]
        place = _row_of(r, s, pixels, splits)[:, None] * C + c[None, :]
        g, value = _masked(dy, x, y, place, mask, scale, shift, HAS_SHORTCUT, RELU)
        if DROPS:
            g *= (tl.load(kept + (r // pixels * splits + s), mask=r < end, other=0.0) * factor)[:, None]
        gradients += g
        products += g * (value - mean[None, :])
    target = sums + (2 * splits + (s * chunks + chunk) * 2).to(tl.int64) * C + c
    tl.store(target, tl.sum(gradients, 0), mask=is_channel)
    tl.store(target + C, tl.sum(products, 0), mask=is_channel)


@triton.jit(do_not_specialize=["splits", "rows", "chunks"])
def _gradients_kernel(
    table, dweight, dbias, sums, rows, chunks, C, splits,
    BLOCK_K: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The gradients of weight and bias, and in sums (2, S, C) what `_input_gradient_kernel` needs."""
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    count = rows.to(tl.float32)
    of_weight = tl.zeros((BLOCK_C,), tl.float32)
    of_bias = tl.zeros((BLOCK_C,), tl.float32)
    for s in range(0, splits):
        total, product = _total(sums + 2 * splits * C, s, chunks, c, is_channel, C, BLOCK_K, BLOCK_C)
        rstd = tl.load(table + (splits + s) * C + c, mask=is_channel, other=0.0)
        scale = tl.load(table + (2 * splits + s) * C + c, mask=is_channel, other=0.0)
        of_bias += total
        of_weight += product * rstd
        tl.store(sums + s * C + c, scale * total / count, mask=is_channel)
        tl.store(sums + (splits + s) * C + c, scale * rstd * rstd * product / count, mask=is_channel)
    tl.store(dweight + c, of_weight, mask=is_channel)
    tl.store(dbias + c, of_bias, mask=is_channel)


@triton.jit(do_not_specialize=["splits", "pixels", "factor"])
def _input_gradient_kernel(
    dy, x, y, dx, dshortcut, table, kept, sums, pixels, factor, C, splits,
    HAS_SHORTCUT: tl.constexpr, RELU: tl.constexpr, DROPS: tl.constexpr, BLOCK_R: tl.constexpr, BLOCK_C: tl.constexpr,
):  # fmt: skip
    """The gradient of x, and with a shortcut that of the shortcut, on a tile of a clip."""
    clip = tl.program_id(1)
    s = clip % splits
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    c = tl.program_id(2) * BLOCK_C + tl.arange(0, BLOCK_C)
    is_channel = c < C
    mask = (r < pixels)[:, None] & is_channel[None, :]
    place = (clip.to(tl.int64) * pixels + r)[:, None] * C + c[None, :]
    of_channel = table + s * C + c
    mean = tl.load(of_channel, mask=is_channel, other=0.0)
    scale = tl.load(of_channel + 2 * splits * C, mask=is_channel, other=0.0)
    shift = tl.load(of_channel + 3 * splits * C, mask=is_channel, other=0.0)
    total = tl.load(sums + s * C + c, mask=is_channel, other=0.0)
    product = tl.load(sums + (splits + s) * C + c, mask=is_channel, other=0.0)
    g, value = _masked(dy, x, y, place, mask, scale, shift, HAS_SHORTCUT, RELU)
    if HAS_SHORTCUT:
        tl.store(dshortcut + place, g.to(dshortcut.dtype.element_ty), mask=mask)
    if DROPS:
        g *= tl.load(kept + clip) * factor
    gradient = scale[None, :] * g - total[None, :] - product[None, :] * (value - mean[None, :])
    tl.store(dx + place, gradient.to(dx.dtype.element_ty), mask=mask)


class Plan(NamedTuple):
    """How the work on x is divided."""

    splits: int
    channels: int
    pixels: int  # rows of a clip
    rows: int  # of a sub-batch
    blocks: tuple[int, int]  # rows and columns of a tile
    chunks: int  # of the rows of a sub-batch, in reductions
    rows_of_program: int
    reduction_grid: tuple[int, int, int]  # programs of a kernel that sums over the rows of a chunk
    tile_grid: tuple[int, int, int]  # programs of a kernel that works on a tile of a clip
    column_grid: tuple[int, int, int]  # programs of a kernel that adds up the chunks


@lru_cache(1024)  # on the host, this is as much work as launching the kernels
def plan_of(shape: torch.Size, splits: int) -> Plan:
    """For x (B, C, T, H, W)."""
    clips, channels, *size = shape
    pixels = size[0] * size[1] * size[2]
    rows = clips // splits * pixels
    block_c = min(128, max(16, triton.next_power_of_2(channels)))
    block_r = TILE // block_c
    column_blocks, tiles = ceil_div(channels, block_c), ceil_div(rows, block_r)
    columns = splits * column_blocks
    chunks = min(PROGRAMS // columns, max(ceil_div(tiles, TILES), min(tiles, LEAST_PROGRAMS // columns)))
    rows_of_program = ceil_div(tiles, max(1, chunks)) * block_r
    chunks = ceil_div(rows, rows_of_program)
    return Plan(
        splits, channels, pixels, rows, (block_r, block_c), chunks, rows_of_program,
        (chunks, splits, column_blocks), (ceil_div(pixels, block_r), clips, column_blocks),
        (ceil_div(channels, FINAL_C), 1, 1),
    )  # fmt: skip


def ceil_div(a: int, b: int) -> int:
    """The quotient rounded up; Triton's own takes the host 3 us."""
    return -(-a // b)


_sums = Launcher(_sums_kernel, 2, num_warps=WARPS)
_statistics = Launcher(_statistics_kernel, 8, num_warps=FINAL_WARPS)
_apply = Launcher(_apply_kernel, 5, num_warps=WARPS)
_gradient_sums = Launcher(_gradient_sums_kernel, 6, num_warps=WARPS)
gradients_of_parameters = Launcher(_gradients_kernel, 4, num_warps=FINAL_WARPS)
_input_gradient = Launcher(_input_gradient_kernel, 8, num_warps=WARPS)


def table_of(
    plan: Plan,
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    tracked: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """Mean, 1 / deviation, scale and shift of x (4, S, C); updates the running statistics. See `norm_add_relu`."""
    splits, channels, pixels, rows, blocks, chunks, rows_of_program, reduction_grid, _, column_grid = plan
    table = running_mean.new_empty((4, splits, channels))
    partial = running_mean.new_empty((splits, chunks, 2, channels))
    _sums(reduction_grid, x, partial, rows, pixels, rows_of_program, chunks, channels, splits, *blocks)
    _statistics(
        (column_grid[0], splits, 1), x, partial, weight, bias, running_mean, running_var,
        x if tracked is None else tracked, table, rows, pixels, chunks, momentum, eps, channels, splits,
        tracked is not None, FINAL_K, FINAL_C,
    )  # fmt: skip
    return table


class NormAddReLU(torch.autograd.Function):
    """Batch norm of each sub-batch of x, plus a shortcut, and ReLU: see `norm_add_relu`."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        shortcut: Tensor | None,
        weight: Tensor,
        bias: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        tracked: Tensor | None,
        momentum: float,
        eps: float,
        relu: bool,
        kept: Tensor | None,
        factor: float,
    ) -> Tensor:
        """See `norm_add_relu`."""
        plan = plan_of(x.shape, 1 if running_mean.dim() == 1 else len(running_mean))
        table = table_of(plan, x, weight, bias, running_mean, running_var, tracked, momentum, eps)
        has_shortcut, drops = shortcut is not None, kept is not None
        y = torch.empty_like(x)
        _apply(
            plan.tile_grid, x, shortcut if has_shortcut else x, y, table, kept if drops else table, plan.pixels,
            factor, plan.channels, plan.splits, has_shortcut, relu, drops, *plan.blocks,
        )  # fmt: skip
        ctx.plan, ctx.kind = plan, (has_shortcut, relu, drops, factor)
        saved = (x, table, y) if has_shortcut and relu else (x, table)
        ctx.save_for_backward(*saved, *((kept,) if drops else ()))
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of x, shortcut, weight and bias."""
        # Only where a graph of the gradients is made, does it need the guard, which costs the host as much as a launch.
        return _guarded_gradients(ctx, dy) if torch.is_grad_enabled() else _all_gradients(ctx, dy)


def _all_gradients(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, table, *others = ctx.saved_tensors
    has_shortcut, relu, drops, factor = ctx.kind
    kept = others.pop() if drops else table
    y = others[0] if others else x
    splits, channels, pixels, rows, blocks, chunks, rows_of_program, reduction_grid, tile_grid, column_grid = ctx.plan
    dy = dy.contiguous(memory_format=torch.channels_last_3d)
    sums = table.new_empty((2 + 2 * chunks, splits, channels))  # the sums over all chunks, then those of each
    dweight, dbias = table.new_empty(channels), table.new_empty(channels)
    dx = torch.empty_like(x)
    adds = has_shortcut and relu
    dshortcut = torch.empty_like(x) if adds else dy if has_shortcut else None  # without ReLU it is dy itself
    _gradient_sums(
        reduction_grid, dy, x, y, table, kept, sums, rows, pixels, rows_of_program, chunks, factor, channels, splits,
        adds, relu, drops, *blocks,
    )  # fmt: skip
    gradients_of_parameters(
        column_grid, table, dweight, dbias, sums, rows, chunks, channels, splits, FINAL_K, FINAL_C,
    )  # fmt: skip
    _input_gradient(
        tile_grid, dy, x, y, dx, dshortcut if adds else dx, table, kept, sums, pixels, factor, channels, splits,
        adds, relu, drops, *blocks,
    )  # fmt: skip
    return dx, dshortcut, dweight, dbias, *[None] * 8


_guarded_gradients = once_differentiable(_all_gradients)


def norm_add_relu(
    x: Tensor,
    shortcut: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    running_mean: Tensor,
    running_var: Tensor,
    tracked: Tensor | None,
    momentum: float,
    eps: float,
    relu: bool,
    kept: Tensor | None = None,
    factor: float = 1.0,
) -> Tensor:
    """Batch norm of x (B, C, T, H, W) over each of S sub-batches, plus `shortcut` like x, and ReLU: a tensor like x.

    x is in channels_last_3d, and B a multiple of S; sub-batch s has the clips s, s+S, ... `weight` and `bias` (C) are
    float32; `running_mean` and `running_var` (S, C), or (C) with one sub-batch, are updated, and `tracked` () counts
    the call. With `kept`, B numbers in float32, the normalised x is multiplied by `factor` in clips where it is 1, and
    by 0 where it is 0.
    """
    buffers = running_mean, running_var, tracked
    return NormAddReLU.apply(x, shortcut, weight, bias, *buffers, momentum, eps, relu, kept, factor)
