"""The kernels of batch norm with addition and ReLU against PyTorch's operations in double precision."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from network.fused import norm_add_relu
from network.sub_batch_norm import SubBatchNorm3d
from tests.network.kernels.devices import DEVICES, DTYPES, INTERPRETED, clips, compiled

pytest.importorskip("triton")
kernels = pytest.importorskip("network.kernels.norm")

MOMENTUM, EPS = 0.1, 1e-5
FACTOR = 1.25  # of the clips that are kept
# Channels that fill no tile, and more than a tile; more rows than a tile; sub-batches of one clip.
CASES = (((4, 16, 2, 5, 3), 1), ((8, 45, 1, 3, 3), 4), ((4, 130, 2, 3, 3), 2), ((2, 24, 3, 17, 16), 2))


def plain(
    x: Tensor,
    shortcut: Tensor | None,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    var: Tensor,
    relu: bool,
    kept: Tensor | None = None,
) -> Tensor:
    """Each sub-batch through PyTorch's batch norm."""
    splits = len(mean)
    parts = [
        F.batch_norm(x[s::splits], mean[s], var[s], weight, bias, True, MOMENTUM, EPS) for s in range(splits)
    ]  # fmt: skip
    y = torch.stack(parts, 1).flatten(0, 1)
    y = y if kept is None else y * kept.view(-1, 1, 1, 1, 1) * FACTOR
    y = y if shortcut is None else y + shortcut
    return F.relu(y) if relu else y


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("dtype", "relu", "has_shortcut"), product(DTYPES, (True, False), (True, False)))
@pytest.mark.parametrize(("shape", "splits"), CASES)
@pytest.mark.parametrize("drops", [False, True])
def test_results_statistics_and_gradients(shape, splits, dtype, relu, has_shortcut, drops, device):
    """Each network has dozens of these norms: an error would train all of them worse, and nobody would see why."""
    x, gradient = clips(shape, dtype, device), clips(shape, dtype, device, seed=1)
    shortcut = clips(shape, dtype, device, seed=2) if has_shortcut else None
    generator = torch.Generator().manual_seed(3)
    weight, bias = (torch.rand(shape[1], generator=generator).to(device) + 0.5 for _ in range(2))
    mean, var = (torch.rand(splits, shape[1], generator=generator).to(device) for _ in range(2))
    tracked = torch.tensor(5, device=device)
    inputs = [x, shortcut, weight, bias]
    kept = (torch.arange(shape[0], device=device) % 3 != 1).float() if drops else None

    ours = [None if one is None else one.detach().requires_grad_() for one in inputs]
    statistics = mean.clone(), var.clone()
    y = kernels.norm_add_relu(*ours, *statistics, tracked, MOMENTUM, EPS, relu, kept, FACTOR)
    y.backward(gradient)

    theirs = [None if one is None else one.double().requires_grad_() for one in inputs]
    expected_statistics = mean.double(), var.double()
    expected = plain(*theirs, *expected_statistics, relu, kept)
    expected.backward(gradient.double())

    step = max(2 * torch.finfo(dtype).eps, 1e-5)  # Triton's interpreter cuts bits off where a GPU rounds
    torch.testing.assert_close(y.double(), expected, rtol=step, atol=step)
    assert y.dtype == dtype and y.is_contiguous(memory_format=torch.channels_last_3d)
    for found, right in zip(statistics, expected_statistics, strict=True):
        torch.testing.assert_close(found.double(), right, rtol=1e-5, atol=1e-5)
    assert tracked == 6
    for found, right in zip(ours, theirs, strict=True):
        if found is not None:
            error = 1e-5 if found is ours[2] or found is ours[3] else step
            torch.testing.assert_close(
                found.grad.double(), right.grad, rtol=error, atol=error * float(right.grad.abs().max())
            )
    assert ours[0].grad.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("device", DEVICES)
def test_statistics_of_values_far_from_zero(device):
    """A variance by the mean of squares less the square of the mean has no correct digit here."""
    x = (1000 + clips((2, 16, 2, 8, 8), torch.float32, device)).contiguous(memory_format=torch.channels_last_3d)
    mean, var = torch.zeros(1, 16, device=device), torch.ones(1, 16, device=device)
    ones = torch.ones(16, device=device)
    kernels.norm_add_relu(x, None, ones, ones, mean, var, None, 1.0, EPS, False)
    expected = x.double().var((0, 2, 3, 4))
    torch.testing.assert_close(var[0].double(), expected, rtol=1e-3, atol=0)


@pytest.mark.parametrize("device", DEVICES)
def test_numbers_that_are_not_finite_stay_so(device):
    """Training stops at a NaN; a ReLU that hides one would go on with nonsense."""
    x = clips((2, 16, 1, 2, 2), torch.float32, device)
    x[0, 3] = float("nan")
    mean, var = torch.zeros(1, 16, device=device), torch.ones(1, 16, device=device)
    ones = torch.ones(16, device=device)
    y = kernels.norm_add_relu(x, None, ones, ones, mean, var, None, MOMENTUM, EPS, True)
    assert y[:, 3].isnan().all() and y[:, :3].isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("splits", [1, 2])
def test_the_module_is_the_same_with_and_without_kernels(splits, device, monkeypatch):
    """What decides whether a kernel is used must not decide what the network computes."""
    x, gradient = clips((4, 16, 2, 4, 4), torch.float32, device), clips((4, 16, 2, 4, 4), torch.float32, device, 1)
    results = []
    for is_fused in (True, False):
        monkeypatch.setattr("network.sub_batch_norm.may_use_kernels", lambda _, answer=is_fused: answer)
        norm = SubBatchNorm3d(16).to(device)
        norm.set_num_splits(splits)
        free = x.detach().requires_grad_()
        y = norm(free)
        y.backward(gradient)
        norm.aggregate()
        results.append([y.detach(), free.grad, norm.weight.grad, norm.bias.grad, *norm.state_dict().values()])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    norm.register_forward_hook(lambda *_: None)
    monkeypatch.setattr("network.sub_batch_norm.may_use_kernels", lambda _: True)
    assert not norm.may_fuse(x), "a hook must see the call"
    norm._forward_hooks.clear()
    assert norm.may_fuse(x) and not norm.may_fuse(x, x.double()) and not norm.eval().may_fuse(x)


@pytest.mark.parametrize("device", DEVICES)
def test_stochastic_depth_is_the_same_with_and_without_kernels(device, monkeypatch):
    """The factors of the clips would be those of others, or of the shortcut."""
    x, shortcut, gradient = (clips((4, 16, 2, 4, 4), torch.float32, device, seed) for seed in range(3))
    kept = torch.tensor([1.0, 0.0, 0.0, 1.0], device=device).view(4, 1, 1, 1, 1)
    results = []
    for is_fused in (True, False):
        monkeypatch.setattr("network.sub_batch_norm.may_use_kernels", lambda _, answer=is_fused: answer)
        norm = SubBatchNorm3d(16).to(device)
        norm.set_num_splits(2)
        free = [each.detach().requires_grad_() for each in (x, shortcut)]
        y = norm_add_relu(norm, *free, kept, 1.5)
        y.backward(gradient)
        results.append([y.detach(), *(each.grad for each in free), norm.weight.grad, norm.bias.grad])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert torch.equal(results[0][0][1:3], F.relu(shortcut[1:3]))


ROWS = {"BLOCK_R": 64, "BLOCK_C": 64}
KINDS = [
    ROWS | {"HAS_SHORTCUT": shortcut, "RELU": relu, "DROPS": drops}
    for shortcut, relu, drops in ((True, True, True), *product((True, False), (True, False), (False,)))
]
FINAL = {"BLOCK_K": kernels.FINAL_K, "BLOCK_C": kernels.FINAL_C}
COMPILED = [
    ("_sums_kernel", ROWS),
    ("_statistics_kernel", FINAL | {"COUNTS": True}),
    ("_statistics_kernel", FINAL | {"COUNTS": False}),
    ("_gradients_kernel", FINAL),
    *product(("_apply_kernel", "_gradient_sums_kernel", "_input_gradient_kernel"), KINDS),
]
OF_CLIPS = ("x", "y", "shortcut", "dy", "dx", "dshortcut")
OF_CHANNELS = ("partial", "weight", "bias", "running_mean", "running_var", "table", "kept", "dweight", "dbias", "sums")


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "constants"), COMPILED)
def test_kernels_compile_for_an_h100(name, constants, dtype, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and a kernel that reads two bytes at a time is slow."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    pointers = dict.fromkeys(OF_CLIPS, dtype) | dict.fromkeys(OF_CHANNELS, torch.float32) | {"tracked": torch.int64}
    warps = kernels.FINAL_WARPS if "BLOCK_K" in constants else kernels.WARPS
    pointers = {name: of for name, of in pointers.items() if name in kernel.arg_names}
    result = compiled(kernel, pointers, constants, warps)
    assert result.asm["cubin"]
    if constants is not FINAL and "COUNTS" not in constants:
        assert "ld.global.v4.b32" in result.asm["ptx"]
