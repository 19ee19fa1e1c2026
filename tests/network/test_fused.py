"""The layers that use fused operations compute what PyTorch's layers do."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from common.kernels import switch
from network.fused import (
    ConvNormReLU,
    StemConv3d,
    StemPool,
    fold_clips,
    fold_weight,
)
from network.kernels import use
from network.sub_batch_norm import use_sub_batch_norm
from tests.devices import DEVICES, tf32

LAST = torch.channels_last_3d


@pytest.mark.parametrize("frames", [1, 3, 7])
@pytest.mark.parametrize(("height", "width"), [(10, 6), (2, 2), (14, 16), (9, 6), (10, 7), (15, 13), (1, 1)])
def test_the_folded_stem_is_the_stem(frames, height, width):
    """On a GPU the stem is another convolution of other tensors; published weights must mean the same there."""
    torch.manual_seed(0)
    stem = StemConv3d(8, frames).double()
    x = torch.randn(2, 3, 4, height, width, dtype=torch.float64).contiguous(memory_format=LAST)
    expected = stem(x)
    folded, weight = fold_clips(x), fold_weight(stem.weight)
    assert folded.is_contiguous(memory_format=LAST) and weight.is_contiguous(memory_format=LAST)
    assert folded.shape[1] == weight.shape[1] == 64
    y = F.conv3d(folded, weight, padding=(frames // 2, 0, 0))
    torch.testing.assert_close(y, expected)
    gradient = torch.randn_like(y)
    (ours,) = torch.autograd.grad(y, stem.weight, gradient)
    (theirs,) = torch.autograd.grad(expected, stem.weight, gradient)
    torch.testing.assert_close(ours, theirs)


@pytest.mark.gpu
@pytest.mark.parametrize("size", [32, 33])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_stem_on_a_gpu_is_that_of_the_cpu(dtype, size):
    """Multigrid has odd sizes too, such as 201: there PyTorch's convolution made a step 1.4 times as long."""
    torch.manual_seed(0)
    stem = StemConv3d(16, 3)
    x = torch.randn(2, 3, 4, size, size).to(dtype)
    gradient = torch.randn(2, 16, 4, (size + 1) // 2, (size + 1) // 2)
    expected = stem(x.float())
    (of_weight,) = torch.autograd.grad(expected, stem.weight, gradient)
    stem = stem.cuda().to(memory_format=LAST)
    x = x.cuda().contiguous(memory_format=LAST)
    assert stem._may_fold(x)
    with tf32(False), torch.autocast("cuda", dtype):
        y = stem(x)
    (ours,) = torch.autograd.grad(y, stem.weight, gradient.cuda().to(dtype))
    assert y.is_contiguous(memory_format=LAST)
    for found, right in ((y, expected), (ours, of_weight)):
        error = (found.detach().float().cpu() - right.detach()).norm() / right.norm()
        assert error < 8 * torch.finfo(dtype).eps


@pytest.mark.parametrize("is_on", [True, False])
def test_the_stem_is_folded_only_where_fused_operations_are_used(is_on, monkeypatch):
    """`--fused False` must leave out all of them, and weights that are explained keep the gradient of the clips."""
    monkeypatch.setattr("network.fused.may_use_kernels", lambda x: is_on)
    stem, clips = StemConv3d(8, 3), torch.zeros(1, 3, 2, 8, 8, dtype=torch.bfloat16)
    assert stem._may_fold(clips) == is_on
    assert not stem._may_fold(clips.clone().requires_grad_())
    assert stem._may_fold(clips[..., :7]) == is_on, "multigrid has odd sizes"
    assert not stem._may_fold(clips.float())


def test_layers_are_those_of_pytorch_by_name():
    """Published checkpoints name a layer by its place."""
    layers = ConvNormReLU(nn.Conv3d(3, 8, 1), nn.BatchNorm3d(8), nn.ReLU())
    assert list(layers.state_dict())[:3] == ["0.weight", "0.bias", "1.weight"]
    assert list(StemConv3d(8, 3).state_dict()) == ["weight"] and not list(StemPool(3).state_dict())


def test_fused_operations_are_used_on_a_gpu_alone():
    """On the CPU, in other layouts and in exports there is no kernel."""
    assert not use.may_use_kernels(torch.zeros(2, 16, 2, 4, 4).contiguous(memory_format=LAST))


@pytest.mark.parametrize("device", DEVICES)
def test_networks_can_be_mapped_over(device):
    """torch.func has no layouts; per-clip gradients of a network must not end in an error on a GPU alone."""
    layers = ConvNormReLU(nn.Conv3d(3, 16, 1), nn.BatchNorm3d(16), nn.ReLU()).to(device).eval()
    use_sub_batch_norm(layers)
    x = torch.randn(2, 1, 3, 2, 4, 4, device=device)
    found = torch.func.vmap(layers)(x)
    torch.testing.assert_close(found, torch.stack([layers(one) for one in x]), rtol=1e-3, atol=1e-3)
    assert torch.func.vmap(lambda one: one * use.is_channels_last(one))(x).eq(0).all()


@pytest.mark.gpu
def test_fused_operations_can_be_left_out():
    """`--fused False` is how a user finds out whether a fused operation is to blame."""
    x = torch.zeros(2, 16, 2, 4, 4, device="cuda").contiguous(memory_format=LAST)
    assert use.may_use_kernels(x) == switch.has_triton() and not use.may_use_kernels(x.contiguous())
    frames = torch.zeros(2, 3, 2, 8, 8, device="cuda", dtype=torch.float16).contiguous(memory_format=LAST)
    stem = StemConv3d(8, 3).cuda()
    assert stem._may_fold(frames) == switch.has_triton()
    assert switch.use_kernels(False)
    try:
        assert not use.may_use_kernels(x) and not stem._may_fold(frames)
    finally:
        switch.use_kernels(True)
