"""Batch norm, ReLU and max-pool in one against PyTorch's operations in double precision."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from network.fused import ConvNormReLU, StemPool, pooled_stem
from network.sub_batch_norm import use_sub_batch_norm
from tests.network.kernels.devices import DEVICES, DTYPES, INTERPRETED, clips, compiled
from tests.network.kernels.test_norm import EPS, MOMENTUM, plain

pytest.importorskip("triton")
kernels = pytest.importorskip("network.kernels.norm_pool")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "frames"), product(DTYPES, (1, 3)))
@pytest.mark.parametrize(("shape", "splits"), [((4, 16, 4, 6, 8), 2), ((2, 20, 5, 7, 9), 1), ((4, 72, 1, 3, 2), 4)])
def test_results_statistics_and_gradients(shape, splits, frames, dtype, device, monkeypatch):
    """Every network begins with these: an error would train all of them worse, and nobody would see why."""
    monkeypatch.setattr(kernels.norm, "PROGRAMS", 4)  # a clip has several parts, of several tiles
    x = clips(shape, dtype, device)
    generator = torch.Generator().manual_seed(3)
    weight, bias = (torch.rand(shape[1], generator=generator).to(device) - 0.3 for _ in range(2))  # negative ones too
    mean, var = (torch.rand(splits, shape[1], generator=generator).to(device) for _ in range(2))
    tracked = torch.tensor(5, device=device)

    ours = [one.detach().requires_grad_() for one in (x, weight, bias)]
    statistics = mean.clone(), var.clone()
    y = kernels.norm_relu_pool(*ours, *statistics, tracked, MOMENTUM, EPS, frames)
    gradient = clips(y.shape, dtype, device, seed=1)
    y.backward(gradient)

    theirs = [one.double().requires_grad_() for one in (x, weight, bias)]
    expected_statistics = mean.double(), var.double()
    normed = plain(theirs[0], None, *theirs[1:], *expected_statistics, True)
    stride = 2 if frames == 3 else 1
    expected = F.max_pool3d(normed, (frames, 3, 3), (stride, 2, 2), (frames // 2, 1, 1))
    expected.backward(gradient.double())

    step = max(2 * torch.finfo(dtype).eps, 1e-5)  # Triton's interpreter cuts bits off where a GPU rounds
    torch.testing.assert_close(y.double(), expected, rtol=step, atol=step)
    assert y.dtype == dtype and tracked == 6
    for found, right in zip(statistics, expected_statistics, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)
    for found, right in zip(ours, theirs, strict=True):
        error = step if found is ours[0] else 1e-5
        torch.testing.assert_close(
            found.grad.double(), right.grad, rtol=error, atol=error * float(right.grad.abs().max())
        )
    for one in (y, ours[0].grad):
        assert one.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("device", DEVICES)
def test_numbers_that_are_not_finite_stay_so(device):
    """Training stops at a NaN; an operation that hides one would go on with nonsense."""
    x = clips((2, 16, 2, 4, 4), torch.float32, device)
    x[0, 3] = float("nan")
    mean, var = torch.zeros(16, device=device), torch.ones(16, device=device)
    ones = torch.ones(16, device=device)
    y = kernels.norm_relu_pool(x, ones, ones, mean, var, None, MOMENTUM, EPS, 3)
    assert y[:, 3].isnan().all() and y[:, :3].isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [1, 3])
def test_a_stem_is_the_same_with_and_without_it(frames, device, monkeypatch):
    """What decides how a network is computed must not decide what it computes; a hook must see its call."""
    x = clips((4, 3, 3, 6, 6), torch.float32, device)
    results, calls = [], []
    monkeypatch.setattr(kernels._NormPool, "apply", counted(kernels._NormPool.apply, calls))
    monkeypatch.setattr("network.fused.may_use_kernels", lambda _: True)
    monkeypatch.setattr("network.sub_batch_norm.may_use_kernels", lambda _: True)
    for is_one in (True, False):
        torch.manual_seed(0)
        stem = ConvNormReLU(nn.Conv3d(3, 16, 1), nn.BatchNorm3d(16), nn.ReLU(inplace=True))
        stem, pool = stem.to(device, memory_format=torch.channels_last_3d), StemPool(frames)
        use_sub_batch_norm(stem)
        stem[1].set_num_splits(2)
        y = pooled_stem(stem, pool, x) if is_one else pool(stem(x))
        y.backward(clips(y.shape, torch.float32, device, seed=1))
        stem[1].aggregate()
        results.append([y.detach(), *(one.grad for one in stem.parameters()), *stem.state_dict().values()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert len(calls) == 1
    for layer in (stem, pool, *list(stem)[1:]):
        hook = layer.register_forward_hook(lambda *_: calls.append("hook"))
        pooled_stem(stem, pool, x)
        hook.remove()
    assert calls[1:] == ["hook"] * 4


def counted(function: Callable, calls: list) -> Callable:
    """The function; it notes its calls."""

    def call(*args):
        calls.append("one")
        return function(*args)

    return call


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(("dtype", "frames"), product(DTYPES, (1, 3)))
@pytest.mark.parametrize("channels", [64, 72])
def test_kernels_compile_for_an_h100(channels, dtype, frames, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and a kernel that reads two bytes at a time is slow."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    pointers = dict.fromkeys(("x", "dy"), dtype) | {"taps": torch.uint8}
    pointers |= dict.fromkeys(("table", "sums"), torch.float32)
    constants = kernels.geometry_of((2, channels, 4, 6, 6), frames).constants
    constants = dict(zip(("KT", "ST", "GROUP", "BLOCK_R", "BLOCK_C"), constants, strict=True))
    ptx = compiled(kernels._gradient_sums_kernel, pointers, constants, kernels.WARPS).asm["ptx"]
    assert "ld.global.v4.b32" in ptx and not any(f"ld.global.{kind}" in ptx for kind in ("b8", "b16"))
