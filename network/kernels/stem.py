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
def _fold_kernel(x, folded, height, width, BLOCK_W: tl.constexpr, PER: tl.constexpr):
    """A piece of a row of `network.fused.fold_clips`, by words of PER numbers: int32 of two, or int16 of one.

    In x the 8 pixels of a window lie one after the other: 24 numbers. In rows of even width each word of two is of one
    row; in those of odd width some would be of two rows.
    """
    frame, y = tl.program_id(0).to(tl.int64), tl.program_id(1)
    rows, columns = (height + 1) // 2 + 3, (width + 1) // 2
    w = tl.program_id(2) * BLOCK_W + tl.arange(0, BLOCK_W)
    word = tl.arange(0, 64 // PER)
    of_row = word % (32 // PER)
    row = y * 2 - 4 + word // (32 // PER)
    place = (w * (6 // PER) - 12 // PER)[:, None] + of_row[None, :]  # in a row of x
    row_words = width * 3 // PER
    mask = (place >= 0) & (place < row_words) & ((of_row < 24 // PER) & (row >= 0) & (row < height))[None, :]
    x += frame * height * row_words
    value = tl.load(x + (row[None, :] * row_words + place), mask=mask, other=0)
    folded += (frame * rows + y) * columns * (64 // PER)
    tl.store(folded + (w[:, None] * (64 // PER) + word[None, :]), value, mask=(w < columns)[:, None])


_fold = Launcher(_fold_kernel, 2, num_warps=WARPS)


def fold_clips(x: Tensor) -> Tensor:
    """See `network.fused.fold_clips`; x is in half precision and channels_last_3d."""
    clips, _, frames, height, width = x.shape
    rows, columns = (height + 1) // 2 + 3, (width + 1) // 2
    folded = x.new_empty((clips, frames, rows, columns, 64))
    numbers = x.permute(0, 2, 3, 4, 1).reshape(-1)  # a view
    per = 2 if width % 2 == 0 and x.storage_offset() % 2 == 0 else 1
    word = torch.int32 if per == 2 else torch.int16
    grid = clips * frames, rows, triton.cdiv(columns, COLUMNS)
    _fold(grid, numbers.view(word), folded.view(word), height, width, COLUMNS, per)
    return folded.permute(0, 4, 1, 2, 3)


class _FoldedConv(torch.autograd.Function):
    """See `conv_of_folded`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        padding = [weight.shape[2] // 2, 0, 0]
        return torch.conv3d(fold_clips(x), weight, padding=padding)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[None, Tensor]:
        x, weight = ctx.saved_tensors
        once, none, padding = [1, 1, 1], [0, 0, 0], [weight.shape[2] // 2, 0, 0]
        _, dweight, _ = torch.ops.aten.convolution_backward(
            dy, fold_clips(x), weight, None, once, padding, once, False, none, 1, [False, True, False]
        )
        return None, dweight


def conv_of_folded(x: Tensor, weight: Tensor) -> Tensor:
    """The stem's convolution of clips (B, 3, T, H, W): (B, out, T, H/2, W/2), rounded up.

    `weight` (out, 64, t, 4, 1) is that of `network.fused.fold_weight`, and alone gets a gradient. x is in half
    precision and channels_last_3d.
    """
    return _FoldedConv.apply(x, weight)
