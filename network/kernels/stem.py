"""A stem's convolution of RGB clips as one of 64 channels, in half precision and channels_last_3d.

The folded clips are as large as the stem's result. They are not kept for the backward pass, which folds them again:
that takes less time than to write the result.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from common.kernels.launch import Launcher

COLUMNS, WARPS = 64, 4


@triton.jit(do_not_specialize=["height", "width"])
def _fold_kernel(x, folded, height, width, BLOCK_W: tl.constexpr):
    """A piece of a row of `network.fused.fold_clips_wide`, by pairs of numbers, as int32.

    In x the 8 pixels of a window lie one after the other: 12 pairs. Where a frame begins and ends, so does a pair.
    """
    frame, y = tl.program_id(0).to(tl.int64), tl.program_id(1)
    w = tl.program_id(2) * BLOCK_W + tl.arange(0, BLOCK_W)
    pair = tl.arange(0, 32)
    row = y * 2 - 4 + pair // 16
    place = (w * 3 - 6)[:, None] + (pair % 16)[None, :]  # in a row of x
    row_pairs = width // 2 * 3
    mask = (place >= 0) & (place < row_pairs) & ((pair % 16 < 12) & (row >= 0) & (row < height))[None, :]
    x += frame * height * row_pairs
    value = tl.load(x + (row[None, :] * row_pairs + place), mask=mask, other=0)
    folded += (frame * (height // 2 + 3) + y) * (width // 2) * 32
    tl.store(folded + (w[:, None] * 32 + pair[None, :]), value, mask=(w < width // 2)[:, None])


_fold = Launcher(_fold_kernel, 2, num_warps=WARPS)


def fold_clips_wide(x: Tensor) -> Tensor:
    """See `network.fused.fold_clips_wide`; x is in half precision and channels_last_3d."""
    clips, _, frames, height, width = x.shape
    rows, columns = height // 2 + 3, width // 2
    folded = x.new_empty((clips, frames, rows, columns, 64))
    numbers = x.permute(0, 2, 3, 4, 1).reshape(-1)  # a view
    grid = clips * frames, rows, triton.cdiv(columns, COLUMNS)
    _fold(grid, numbers.view(torch.int32), folded.view(torch.int32), height, width, COLUMNS)
    return folded.permute(0, 4, 1, 2, 3)


class _WideConv(torch.autograd.Function):
    """See `wide_conv`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        padding = [weight.shape[2] // 2, 0, 0]
        return torch.conv3d(fold_clips_wide(x), weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor]:
        x, weight = ctx.saved_tensors
        once, none, padding = [1, 1, 1], [0, 0, 0], [weight.shape[2] // 2, 0, 0]
        _, dweight, _ = torch.ops.aten.convolution_backward(
            dy, fold_clips_wide(x), weight, None, once, padding, once, False, none, 1, [False, True, False]
        )
        return None, dweight


def wide_conv(x: Tensor, weight: Tensor) -> Tensor:
    """The stem's convolution of clips (B, 3, T, H, W): (B, out, T, H/2, W/2).

    `weight` (out, 64, t, 4, 1) is that of `network.fused.fold_weight_wide`, and alone gets a gradient. x is in half
    precision and channels_last_3d, H and W are even.
    """
    return _WideConv.apply(x, weight)
