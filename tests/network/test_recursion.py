import copy
import gc
import pickle
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor

from network import recursion
from network.recursion import FrameLSTM
from network.srtg import SqueezeAndRecursion
from tests.devices import tf32


def rnn_precision() -> str:
    return torch._C._get_fp32_precision_getter("cuda", "rnn")


def test_tf32_is_off_around_the_recursion_and_then_as_before(monkeypatch):
    """A setting that is left behind would slow down or coarsen everything after the first block."""
    with tf32(True):
        with pytest.raises(ZeroDivisionError), recursion._without_tf32():
            assert rnn_precision() == "ieee"
            raise ZeroDivisionError
        assert rnn_precision() == "tf32"
        assert torch.backends.cudnn.allow_tf32, "readable: convolutions and recursions agree"
        monkeypatch.setattr(recursion, "MAY_USE_TF32", True)
        with recursion._without_tf32():
            assert rnn_precision() == "tf32"
    with tf32(False), recursion._without_tf32():
        assert rnn_precision() != "tf32"


@pytest.mark.parametrize("frozen", [False, True])
def test_without_tf32_the_gradients_are_pytorchs(frozen, monkeypatch):
    """On a GPU this is how the recursion gets its gradients where no kernel is used."""
    torch.manual_seed(0)
    lstm = FrameLSTM(8, 8, num_layers=2)
    lstm.weight_ih_l0.requires_grad_(not frozen)
    frames, gradient = torch.randn(2, 4, 3, 8)
    frames.requires_grad_()
    inputs = [frames, *(weight for weight in lstm.parameters() if weight.requires_grad)]
    expected = lstm(frames)
    right = torch.autograd.grad(expected, inputs, gradient)
    modes = []
    without = recursion._without_tf32
    monkeypatch.setattr(recursion, "_without_tf32", lambda: modes.append(torch.is_grad_enabled()) or without())
    out = recursion._WithoutTF32.apply(lstm._hidden_states, frames, *lstm._flat_weights)
    assert torch.equal(out, expected)
    for _ in range(2):
        ours = torch.autograd.grad(out, inputs, gradient, retain_graph=True)
        assert all(torch.equal(one, other) for one, other in zip(ours, right, strict=True))
    assert len(modes) == 3, "forward once and backward twice"


def test_without_tf32_a_block_is_recomputed_once():
    """With --checkpoint-activations a second recomputation would take time, and keep what checkpointing is to save."""
    lstm, runs = FrameLSTM(8, 8, num_layers=2), []

    def block(frames: Tensor) -> Tensor:
        runs.append(torch.is_grad_enabled())
        return recursion._WithoutTF32.apply(lstm._hidden_states, 2 * frames, *lstm._flat_weights).square()

    frames = torch.randn(4, 3, 8, requires_grad=True)
    plain = torch.autograd.grad(lstm(2 * frames).square().sum(), [frames, *lstm.parameters()])
    out = torch.utils.checkpoint.checkpoint(block, frames, use_reentrant=False)
    ours = torch.autograd.grad(out.sum(), [frames, *lstm.parameters()])
    assert len(runs) == 2
    for one, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(one, other)


def test_without_tf32_a_step_leaves_nothing_behind():
    """Else each step of a run would hold some more of the GPU's memory, until there is none."""
    lstm = FrameLSTM(8, 8, num_layers=2)

    def node(weight: Tensor) -> Any:
        return weight.view_as(weight).grad_fn.next_functions[0][0]  # lives as long as a graph that leads to it

    gc.collect()
    out = recursion._WithoutTF32.apply(lstm._hidden_states, torch.randn(4, 3, 8), *lstm._flat_weights)
    for weight in lstm.parameters():
        node(weight).metadata["is_of_the_step"] = True
    out.sum().backward()
    assert all(node(weight).metadata for weight in lstm.parameters())
    del out
    assert not any(node(weight).metadata for weight in lstm.parameters())


def test_threads_leave_the_setting_as_it_was():
    """Two networks in two threads: the later end must not put back what the earlier begin had set."""
    before = rnn_precision()
    first, second = recursion._without_tf32(), recursion._without_tf32()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert rnn_precision() == "ieee"
    second.__exit__(None, None, None)
    assert rnn_precision() == before


def run(
    module: SqueezeAndRecursion, x: Tensor, gradient: Tensor, tolerance: float, autocast: bool = False
) -> list[Tensor]:
    """The plain formulation's output and all gradients, on the CPU in double precision; they are so in every call."""
    x = x.to(module.lstm.weight_ih_l0).requires_grad_()
    with torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        out = module.plain(x)
    gradients = torch.autograd.grad(out, [x, *module.parameters()], gradient.to(out), retain_graph=True)
    again = torch.autograd.grad(out, [x, *module.parameters()], gradient.to(out))
    with torch.no_grad(), torch.autocast(x.device.type, torch.bfloat16, enabled=autocast):
        evaluated = module.plain(x)
    for one, other in zip((evaluated, *again), (out, *gradients), strict=True):
        assert_near(one, other, tolerance)
    return [one.detach().cpu().double() for one in (out, *gradients)]


def assert_near(one: Tensor, other: Tensor, tolerance: float) -> None:
    """Errors are at most `tolerance` of the largest value."""
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance * float(other.detach().abs().max()) + 1e-7)


@pytest.mark.gpu
@pytest.mark.parametrize("frames", [1, 2, 8])
@pytest.mark.parametrize("autocast", [False, True])
def test_on_a_gpu_the_recursion_is_single_precision_where_tf32_is_allowed(frames, autocast):
    """TF32 has 10 bits: temporal gates would decide otherwise than in float32, as the docs promise."""
    torch.manual_seed(0)
    exact = SqueezeAndRecursion(64).double()
    module = SqueezeAndRecursion(64).cuda()
    module.load_state_dict(exact.state_dict())
    x, gradient = torch.randn(2, 16, 64, frames, 1, 1, dtype=torch.float64)
    # On an H200, cuDNN's output was off by up to 1.4e-5 of its largest value in float32, by 1e-4 or more with TF32.
    tolerance = 5e-5
    with tf32(True):
        found = run(module, x.cuda(), gradient, tolerance, autocast)
    for one, other in zip(found, run(exact, x, gradient, 0), strict=True):
        assert_near(one, other, tolerance)


def check_weights(module: SqueezeAndRecursion, x: Tensor) -> None:
    """The module gives what a copy gives in double precision on the CPU."""
    exact = copy.deepcopy(module).cpu().double()
    out, expected = module(x), exact(x.cpu().double())
    ours = torch.autograd.grad(out.square().sum(), list(module.parameters()))
    right = torch.autograd.grad(expected.square().sum(), list(exact.parameters()))
    for one, other in zip((out, *ours), (expected, *right), strict=True):
        assert_near(one.detach().cpu().double(), other.detach(), 5e-5)


@pytest.mark.gpu
@pytest.mark.parametrize("layout", [torch.channels_last_3d, torch.contiguous_format])
@pytest.mark.filterwarnings("ignore:.*contiguous chunk of memory")
def test_on_a_gpu_the_weights_are_those_of_the_moment(layout):
    """A recursion that reads weights of an earlier step, or of the network that was copied, would not learn."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(16).cuda()
    x = torch.randn(4, 16, 3, 2, 2, device="cuda").contiguous(memory_format=layout)
    optimizer = torch.optim.SGD(module.parameters(), 0.1, fused=True)
    with tf32(True):
        check_weights(module, x)
        module(x).square().mean().backward()
        optimizer.step()
        check_weights(module, x)
        check_weights(copy.deepcopy(module), x)
        check_weights(pickle.loads(pickle.dumps(module)), x)
        other = SqueezeAndRecursion(16)
        module.load_state_dict(other.state_dict())
        check_weights(module, x)
        check_weights(module.cpu().cuda(), x)
        for weight in module.parameters():
            weight.data = 0.5 * weight.data
        check_weights(module, x)
        weights = {name: (2 * weight).detach().requires_grad_() for name, weight in module.named_parameters()}
        out = torch.func.functional_call(module, weights, x)
        assert all(gradient.any() for gradient in torch.autograd.grad(out.sum(), list(weights.values())))
    assert torch.equal(module.lstm.weight_ih_l1.cpu(), 0.5 * other.lstm.weight_ih_l1)
