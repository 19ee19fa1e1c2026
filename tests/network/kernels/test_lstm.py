"""The LSTM's kernels against nn.LSTM in double precision.

On the CPU in Triton's interpreter (TRITON_INTERPRET=1), and with the marker `gpu` the compiled kernels. Without a GPU,
Triton still compiles them to machine code. None of it runs where Triton is not installed.
"""

import re
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.devices import tf32
from tests.network.kernels.devices import DEVICES, INTERPRETED, compiled

pytest.importorskip("triton")
kernels = pytest.importorskip("network.kernels.lstm")

# (T, B, C): one frame, one clip; clips and channels that fill no tile, and more than one; each way through the kernels.
SHAPES = ((1, 1, 8), (1, 3, 72), (2, 5, 16), (2, 33, 72), (4, 2, 40), (9, 3, 24), (1, 2, 136))


@pytest.fixture(autouse=True)
def like_a_tensor_core(monkeypatch):
    """In the interpreter, matrix products ignore the last 13 bits of float32, as a tensor core does in TF32."""
    if not INTERPRETED:
        return
    from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

    def cut(x: TensorHandle) -> np.ndarray:
        assert x.data.dtype == np.float32
        return (x.data.view(np.int32) & -0x2000).view(np.float32)

    def create_dot(builder, a, b, total, input_precision, max_num_imprecise_acc):
        return TensorHandle(np.matmul(cut(a), cut(b), dtype=np.float32) + total.data, total.dtype.scalar)

    monkeypatch.setattr(InterpreterBuilder, "create_dot", create_dot)


def by_pytorch(frames: Tensor, gradient: Tensor, lstm: nn.LSTM) -> list[Tensor]:
    """Hidden states and the gradients of frames and weights, in double precision."""
    frames = frames.double().requires_grad_()
    recursed = lstm.double()(frames)[0]
    return [recursed.detach(), *torch.autograd.grad(recursed, [frames, *lstm.parameters()], gradient.double())]


def by_kernels(frames: Tensor, gradient: Tensor, lstm: nn.LSTM, device: str) -> list[Tensor]:
    weights = [weight.detach().float().to(device) for weight in lstm.parameters()]
    frames, gradient = frames.to(device), gradient.to(device)
    recursed, kept = kernels.recurse(frames, weights, is_training=True)
    of_frames, of_weights = kernels.recurse_back(gradient, frames, kept, weights, of_x=True, of_weights=True)
    return [recursed, of_frames, *of_weights]


def random(frames: int, clips: int, channels: int) -> tuple[Tensor, Tensor, nn.LSTM]:
    torch.manual_seed(frames)
    lstm = nn.LSTM(channels, channels, num_layers=2)
    x, gradient = torch.randn(2, frames, clips, channels)
    return x, gradient, lstm


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_results_and_gradients_are_those_of_nn_lstm(shape, device):
    """An error in a gate, a step or a weight's gradient would train another network."""
    x, gradient, lstm = random(*shape)
    with tf32(True):  # whatever the process allows
        found = by_kernels(x, gradient, lstm, device)
    for one, other in zip(found, by_pytorch(x, gradient, lstm), strict=True):
        assert one.shape == other.shape and one.is_contiguous() and one.dtype == torch.float32
        error = (one.cpu().double() - other).norm()
        assert error <= 3e-6 * other.norm(), "float32 has 24 bits, TF32 11"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [16, 72])
def test_tiles_of_many_clips_give_the_same(channels, device, monkeypatch):
    """Multigrid's largest batches take wider tiles than the first shape, at which everything may look right."""
    shape = random(1, 34, channels)
    expected = by_kernels(*shape, device)
    monkeypatch.setattr(kernels, "_PROGRAMS", 1)
    for one, other in zip(by_kernels(*shape, device), expected, strict=True):
        assert (one - other).norm() <= 3e-6 * other.norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [16, 72])
def test_small_numbers_keep_their_digits(channels, device):
    """Features of a network that begins to learn may be a thousandth: a coarse tanh would lose three digits of them."""
    x, gradient, lstm = random(2, 4, channels)
    with torch.no_grad():
        for weight in lstm.parameters():
            weight *= 1e-2 if weight.ndim == 1 else 1
        lstm.bias_ih_l0.zero_(), lstm.bias_hh_l0.zero_()
    found = by_kernels(1e-3 * x, gradient, lstm, device)
    for one, other in zip(found, by_pytorch(1e-3 * x, gradient, lstm), strict=True):
        assert (one.cpu().double() - other).norm() <= 3e-6 * other.norm()


@pytest.mark.parametrize("device", DEVICES)
def test_a_pass_takes_few_launches(device, monkeypatch):
    """Each of them waits for the one before: with cuDNN's hundred, the recursion took a tenth of a training step."""
    launches = []
    for name in ("_step", "_step_of_few_channels", "_step_gradient", "_gradients"):
        launch = getattr(kernels, name)
        monkeypatch.setattr(
            kernels, name, lambda *args, launch=launch, name=name: launches.append(name) or launch(*args)
        )
    by_kernels(*random(4, 2, 16), device)
    assert launches == ["_step_of_few_channels"] * 5 + ["_step_gradient"] * 5 + ["_gradients"]


@pytest.mark.parametrize("device", DEVICES)
def test_large_sums_saturate_the_gates(device):
    """An overflow inside a gate would end training with NaN where PyTorch's LSTM goes on."""
    x, gradient, lstm = random(2, 3, 16)
    for one in by_kernels(1e4 * x, gradient, lstm, device):
        assert one.isfinite().all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [16, 72])
def test_only_what_is_wanted_is_computed(channels, device):
    """Frozen weights, an input without gradient and evaluation get the same numbers, and nothing that is kept."""
    x, gradient, lstm = random(2, 3, channels)
    weights = [weight.detach().to(device) for weight in lstm.parameters()]
    x, gradient = x.to(device), gradient.to(device)
    recursed, kept = kernels.recurse(x, weights, is_training=True)
    evaluated, none = kernels.recurse(x, weights, is_training=False)
    assert torch.equal(evaluated, recursed) and none == ()
    of_x, of_weights = kernels.recurse_back(gradient, x, kept, weights, of_x=True, of_weights=True)
    before = [each.clone() for each in (x, gradient, *kept, *weights)]
    alone, nothing = kernels.recurse_back(gradient, x, kept, weights, of_x=True, of_weights=False)
    assert nothing is None and torch.equal(alone, of_x)
    nothing, alone = kernels.recurse_back(gradient, x, kept, weights, of_x=False, of_weights=True)
    assert nothing is None and all(map(torch.equal, alone, of_weights))
    assert all(map(torch.equal, before, (x, gradient, *kept, *weights))), "a backward pass may run again"


TENSORS = {
    "step": "x w_ih_0 w_hh_0 b_ih_0 b_hh_0 w_ih_1 w_hh_1 b_ih_1 b_hh_1 hidden cells gates",
    "step_gradient": "gradient w_hh_0 w_ih_1 w_hh_1 cells gates gate_gradients cell_gradients",
    "gradients": "x w_ih_0 hidden gate_gradients of_x of_weights",
}
TILE = {"TILE_CLIPS": 32, "TILE_K": 16}
WEIGHT = {"TILE_ROWS": 32, "TILE_COLUMNS": 64, "TILE_SUMMANDS": 32, "TILE_BIASES": 32}
COMPILED = [
    *(
        ("step", {"KEPT": kept, "WARPS": warps, "TILE_CHANNELS": channels} | TILE)
        for kept, warps, channels in product((True, False), (4, 8), (4, 8))
    ),
    *(("step_gradient", {"WARPS": 8, "TILE_CHANNELS": channels} | TILE) for channels in (8, 16, 32)),
    *(("gradients", {"WARPS": 4, "TILE_CHANNELS": channels} | TILE | WEIGHT) for channels in (16, 32)),
]


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(("name", "constants"), COMPILED, ids=str)
def test_kernels_compile_for_an_h100(name, constants, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and without tensor cores or wide copies a kernel is slow."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, f"{name}_kernel")
    constants = {argument: constants[argument] for argument in kernel.arg_names if argument in constants}
    result = compiled(
        kernel, dict.fromkeys(TENSORS[name].split(), torch.float32), constants, constants["WARPS"], width="channels"
    )
    ptx = result.asm["ptx"]
    assert result.asm["cubin"]
    assert "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in ptx
    assert not re.search(r"cp\.async\.ca", ptx) and "cp.async.cg" in ptx, "16 bytes at a time, around the L1 cache"
