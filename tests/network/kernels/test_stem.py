"""The kernel that folds clips, and the convolution of 64 channels, against PyTorch's operations."""

import pytest
import torch
import torch.nn.functional as F

from network.fused import fold_clips, folded_conv
from tests.network.kernels.devices import DEVICES, INTERPRETED, clips

pytest.importorskip("triton")
kernels = pytest.importorskip("network.kernels.stem")

HALF = (torch.bfloat16, torch.float16)
LAST = torch.channels_last_3d
EVEN = (2, 3, 2, 6, 10), (1, 3, 1, 2, 2), (1, 3, 2, 4, 134), (2, 3, 3, 12, 4)
ODD = (2, 3, 3, 7, 10), (2, 3, 3, 6, 9), (2, 3, 3, 7, 9), (1, 3, 2, 3, 133), (1, 3, 2, 1, 1)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("shape", [*EVEN, *ODD], ids=str)
def test_clips_are_folded_bit_by_bit(shape, dtype, device):
    """A pixel at another place, or one beyond a frame that is not zero, would be part of what a network sees."""
    x = clips(shape, dtype, device)
    folded, expected = kernels.fold_clips(x), fold_clips(x)
    assert folded.is_contiguous(memory_format=LAST)
    assert torch.equal(folded, expected)


@pytest.mark.parametrize("device", DEVICES)
def test_clips_that_begin_anywhere_are_folded(device):
    """Clips may be a part of a larger tensor, and begin where no pair of numbers does."""
    numbers = clips((1, 1, 1, 1, 3 * 2 * 6 * 10 + 1), torch.float16, device).flatten()
    x = numbers[1:].view(1, 2, 6, 10, 3).permute(0, 4, 1, 2, 3)
    assert torch.equal(kernels.fold_clips(x), fold_clips(x))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(8, 12), (9, 13)])
def test_the_convolution_and_the_gradient_of_its_weight(height, width, frames, device):
    """The backward pass folds the clips anew; a gradient of other clips trains the stem on nothing."""
    x = clips((2, 3, 4, height, width), torch.float16, device)
    weight = (0.1 * torch.randn(8, 3, frames, 7, 7, generator=torch.Generator().manual_seed(0))).half().to(device)
    expected_weight = weight.double().requires_grad_()
    expected = F.conv3d(x.double(), expected_weight, stride=(1, 2, 2), padding=(frames // 2, 3, 3))
    gradient = clips(expected.shape, torch.float16, device, seed=1)
    expected.backward(gradient.double())
    weight.requires_grad_()
    y = folded_conv(x, weight)
    y.backward(gradient)
    for found, right in ((y, expected), (weight.grad, expected_weight.grad)):
        assert (found.double() - right).norm() / right.norm() < 2e-3
    with torch.no_grad():
        assert torch.equal(folded_conv(x, weight), y)


def test_folded_clips_are_not_kept(monkeypatch):
    """They are the largest tensor of a training step: keeping them would cost clips of the batch."""
    monkeypatch.setattr(kernels, "fold_clips", fold_clips)
    x, weight = clips((1, 3, 2, 8, 8), torch.float32, "cpu"), torch.randn(4, 3, 3, 7, 7, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor.numel()), lambda _: None):
        folded_conv(x, weight)
    assert kept and max(kept) < fold_clips(x).numel()


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(("per", "word"), [(2, "*i32"), (1, "*i16")])
def test_the_kernel_compiles_for_an_h100(per, word, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and a kernel that writes four bytes at a time is slow."""
    import triton
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    constants = {"BLOCK_W": kernels.COLUMNS, "PER": per}
    signature = {"x": word, "folded": word, "height": "i32", "width": "i32"} | dict.fromkeys(constants, "constexpr")
    attributes = {(0,): [["tt.divisibility", 16]], (1,): [["tt.divisibility", 16]]}
    source = triton.compiler.ASTSource(kernels._fold_kernel, signature, constants, attributes)
    ptx = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": kernels.WARPS}).asm["ptx"]
    assert "st.global.v4.b32" in ptx and not any(f"st.global.{kind}" in ptx for kind in ("b16", "b32"))
