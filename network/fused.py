"""Layers of the networks that use the fused operations of network/kernels where these apply.

Their parameters, names and results are those of PyTorch's layers; results differ by rounding.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network.kernels.use import HALF, has_hooks, may_use_kernels
from network.sub_batch_norm import SubBatchNorm3d


class ConvNormReLU(nn.Sequential):
    """Layers one after the other; a batch norm and the ReLU after it are one operation where that applies."""

    def forward(self, x: Tensor) -> Tensor:
        """Clips x (B, in, T, H, W) to (B, out, T', H', W')."""
        return self.through(x, list(self))

    def through(self, x: Tensor, layers: list[nn.Module]) -> Tensor:
        """Clips through some of the layers."""
        index = 0
        while index < len(layers):
            layer, following = layers[index], layers[index + 1] if index + 1 < len(layers) else None
            if isinstance(layer, SubBatchNorm3d) and _is_relu(following) and layer.may_fuse(x):
                x = layer.fused(x, None, relu=True)
                index += 2
            else:
                x = layer(x)
                index += 1
        return x


def pooled_stem(stem: nn.Module, pool: nn.Module, clips: Tensor) -> Tensor:
    """The max-pool of a stem's result; its last batch norm, ReLU and the pool are one operation where that applies."""
    if not (isinstance(stem, ConvNormReLU) and isinstance(pool, StemPool)) or has_hooks(stem) or has_hooks(pool):
        return pool(stem(clips))
    *before, norm, relu = stem
    x = stem.through(clips, before)
    if isinstance(norm, SubBatchNorm3d) and _is_relu(relu) and norm.may_fuse(x) and pool.may_fuse(x):
        return norm.fused_with_pool(x, pool.frames)
    return pool(stem.through(x, [norm, relu]))


def _is_relu(layer: nn.Module | None) -> bool:
    return isinstance(layer, nn.ReLU) and not has_hooks(layer)


def norm_add_relu(
    norm: nn.Module, x: Tensor, shortcut: Tensor, kept: Tensor | None = None, factor: float = 1.0
) -> Tensor:
    """ReLU of the normalised x `added` to the shortcut, both (B, C, T, H, W); may overwrite what `norm` returned."""
    if isinstance(norm, SubBatchNorm3d) and norm.may_fuse(x, shortcut):
        return norm.fused(x, shortcut, relu=True, kept=kept, factor=factor)
    return F.relu(added(norm(x), shortcut, kept, factor), inplace=True)


def added(branch: Tensor, shortcut: Tensor, kept: Tensor | None, factor: float) -> Tensor:
    """The shortcut plus the branch, both (B, C, T, H, W); the branch may be overwritten.

    With `kept` (B, 1, 1, 1, 1), float32, the branch is multiplied by `factor` in clips where it is 1, and by 0 where it
    is 0.
    """
    if kept is None:
        branch += shortcut
        return branch
    # The factor is a number: rounded to half precision, its error would be the same in all clips and steps.
    return torch.addcmul(shortcut, branch, kept.to(branch.dtype), value=factor)


class StemPool(nn.MaxPool3d):
    """The max-pool after a stem: over windows of 3 x 3 x 3 that halve T, H and W, or of 1 x 3 x 3 that keep T."""

    def __init__(self, frames: int) -> None:
        stride = 2 if frames == 3 else 1
        super().__init__((frames, 3, 3), (stride, 2, 2), (frames // 2, 1, 1))
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """Clips x (B, C, T, H, W) to (B, C, T or T/2, H/2, W/2), rounded up."""
        if not self.may_fuse(x):
            return super().forward(x)
        from network.kernels.pool import max_pool  # not at import: Triton is not everywhere

        return max_pool(x, self.frames)

    def may_fuse(self, x: Tensor) -> bool:
        """Whether the kernels take clips x (B, C, T, H, W): offsets within a clip are int32."""
        return may_use_kernels(x) and x.stride(0) < 2**31


class StemConv3d(nn.Conv3d):
    """A stem's convolution of `frames` x 7 x 7 of RGB clips with a stride of 1 x 2 x 2.

    Tensor cores take channels eight at a time: with three, a fifth of a training step goes by in this one layer. On a
    GPU in half precision and channels_last_3d, the 2 x 8 pixels of two rows of a window become channels, and the
    convolution one of `frames` x 4 x 1 of 64 channels with a stride of 1, as many as cuDNN's fast kernels take: the
    same products, and some with zero.
    """

    def __init__(self, out_channels: int, frames: int) -> None:
        super().__init__(3, out_channels, (frames, 7, 7), (1, 2, 2), padding=(frames // 2, 3, 3), bias=False)
        self.frames = frames

    def forward(self, x: Tensor) -> Tensor:
        """Clips (B, 3, T, H, W) to (B, out, T, H/2, W/2), rounded up."""
        if not self._may_fold(x):
            return super().forward(x)
        return folded_conv(x, self.weight.to(x.dtype))

    def _may_fold(self, x: Tensor) -> bool:
        return x.dtype in HALF and not x.requires_grad and may_use_kernels(x)


def folded_conv(x: Tensor, weight: Tensor) -> Tensor:
    """The result of a stem's convolution, folded, of weight (out, 3, t, 7, 7); only `weight` gets a gradient.

    x (B, 3, T, H, W) has the dtype of the weight, half precision, and is in channels_last_3d.
    """
    from network.kernels.stem import conv_of_folded  # not at import: Triton is not everywhere

    return conv_of_folded(x, fold_weight(weight))


def fold_clips(x: Tensor) -> Tensor:
    """Clips (B, 3, T, H, W) to (B, 64, T, H/2 + 3, W/2), halves rounded up, for `fold_weight`, in channels_last_3d.

    Channel 32 i + 3 j + c, j < 8, is that of pixel (2 y + i, 2 x + j) and colour c, counted from four rows and columns
    before the frame; 24 to 31 and 56 to 63 are zero, as are pixels beyond the frame. On a GPU network/kernels/stem.py
    does this.
    """
    # A frame of odd height or width gets another row or column of zeros: the result of the convolution is as large.
    after = 2 + x.shape[3] % 2, 2 + x.shape[4] % 2
    padded = F.pad(x.permute(0, 2, 3, 4, 1), (0, 0, 4, after[1], 4, after[0]))  # (B, T, H + 6, W + 6, 3) if even
    windows = padded.flatten(3).unfold(3, 24, 6).unflatten(2, (-1, 2))  # (B, T, H/2 + 3, 2, W/2, 24)
    return F.pad(windows.transpose(3, 4), (0, 8)).flatten(4).permute(0, 4, 1, 2, 3)


def fold_weight(weight: Tensor) -> Tensor:
    """The weight (out, 3, t, 7, 7) of a stem for `fold_clips`: (out, 64, t, 4, 1) in channels_last_3d."""
    # With a row and a column of zeros before, a window of 8 x 8 pixels begins at an even one.
    pixels = F.pad(weight, (1, 0, 1, 0)).unflatten(3, (4, 2))  # (out, 3, t, 4, 2, 8)
    channels = F.pad(pixels.permute(0, 2, 3, 4, 5, 1).flatten(4), (0, 8))  # (out, t, 4, 2, 32)
    return channels.flatten(3)[:, :, :, None].permute(0, 4, 1, 2, 3)
