"""The kernels of the max-pool against PyTorch's."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from tests.network.kernels.devices import DEVICES, DTYPES, INTERPRETED, clips, compiled

pytest.importorskip("triton")
kernels = pytest.importorskip("network.kernels.pool")


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "frames"), product(DTYPES, (1, 3)))
@pytest.mark.parametrize("shape", [(2, 16, 4, 6, 8), (1, 20, 5, 7, 9), (2, 72, 1, 3, 2)])
def test_values_and_gradients(shape, frames, dtype, device):
    """Gradients that go to another pixel than the largest train the stem on the wrong evidence."""
    x = clips(shape, dtype, device).requires_grad_()
    y = kernels.max_pool(x, frames)
    gradient = clips(y.shape, dtype, device, seed=1)
    y.backward(gradient)
    other = x.detach().double().requires_grad_()
    expected = F.max_pool3d(other, (frames, 3, 3), (2 if frames == 3 else 1, 2, 2), (frames // 2, 1, 1))
    expected.backward(gradient.double())
    assert torch.equal(y.double(), expected)
    step = torch.finfo(dtype).eps
    torch.testing.assert_close(x.grad.double(), other.grad, rtol=step, atol=1e-6)
    for one in (y, x.grad):
        assert one.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("device", DEVICES)
def test_of_equal_pixels_the_first_gets_the_gradient(device):
    """After ReLU many are zero; which one is taken must not depend on the device."""
    x = clips((1, 16, 4, 6, 6), torch.float32, device).clamp(min=0.5).requires_grad_()
    kernels.max_pool(x, 3).sum().backward()
    other = x.detach().cpu().requires_grad_()
    F.max_pool3d(other, 3, 2, 1).sum().backward()
    assert torch.equal(x.grad.cpu(), other.grad)


@pytest.mark.parametrize("device", DEVICES)
def test_numbers_that_are_not_finite_stay_so(device):
    """Training stops at a NaN; a pool that passes over one would go on with nonsense."""
    x = clips((1, 16, 4, 6, 6), torch.float32, device)
    x[0, 3, 1, 2, 4] = float("nan")
    x[0, 5] = float("-inf")
    y = kernels.max_pool(x, 3)
    expected = F.max_pool3d(x.cpu(), 3, 2, 1)
    torch.testing.assert_close(y.cpu(), expected, rtol=0, atol=0, equal_nan=True)
    assert y[0, 3].isnan().any() and y[0, 5].isneginf().all()


TABLES = dict.fromkeys(("table", "sums"), torch.float32)


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(
    ("channels", "dtype", "frames", "norm"),
    [*product((64,), DTYPES, (1, 3), (False, True)), *product((72, 45), (torch.bfloat16,), (3,), (False, True))],
)
@pytest.mark.parametrize("name", ["_pool_kernel", "_pool_gradient_kernel"])
def test_kernels_compile_for_an_h100(name, channels, dtype, frames, norm, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and a kernel that reads two bytes at a time is slow."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    pointers = dict.fromkeys(("x", "y", "dx", "dy"), dtype) | {"taps": torch.uint8} | TABLES
    pointers = {name: of for name, of in pointers.items() if name in kernel.arg_names}
    constants = kernels.geometry_of((2, channels, 4, 6, 6), frames).constants
    constants = dict(zip(("KT", "ST", "GROUP", "BLOCK_R", "BLOCK_C"), constants, strict=True)) | {"NORM": norm}
    ptx = compiled(kernel, pointers, constants, kernels.WARPS).asm["ptx"]
    if channels % 8 == 0:
        assert "ld.global.v4.b32" in ptx and "st.global.v4.b32" in ptx
        narrow = ("b8", "b16", *(() if norm else ("b32",)))  # the table of a norm is small
        assert not any(f"global.{kind}" in ptx for kind in narrow), "a few bytes at a time"
    assert len(ptx.splitlines()) < 5000, "long code takes long to compile, and does not fit a GPU's cache"
