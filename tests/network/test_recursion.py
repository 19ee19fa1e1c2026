import copy
import gc
import pickle
import warnings
from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor

from network import recursion
from network.recursion import FrameLSTM
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


def test_copies_do_not_hold_the_memory_of_the_first():
    """A copy of a network that kept the first one's weights would double its memory, and cuDNN would read old ones."""
    lstm = FrameLSTM(8, 8, num_layers=2)
    assert lstm.weight_buffer() is None, "cuDNN has no part on the CPU"
    for other in (copy.deepcopy(lstm), pickle.loads(pickle.dumps(lstm)), copy.deepcopy(lstm).to(torch.float64)):
        assert other._flat is None
        assert [len(other(torch.zeros(frames, 1, 8, dtype=other.weight_ih_l0.dtype))) for frames in (1, 3)] == [1, 3]


def run(lstm: FrameLSTM, frames: Tensor, gradient: Tensor) -> list[Tensor]:
    """Hidden states and all gradients, on the CPU in double precision."""
    frames = frames.to(lstm.weight_ih_l0).requires_grad_()
    out = lstm(frames)
    gradients = torch.autograd.grad(out, [frames, *lstm.parameters()], gradient.to(out), retain_graph=True)
    again = torch.autograd.grad(out, [frames, *lstm.parameters()], gradient.to(out))
    for one, other in zip(gradients, again, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(lstm(frames), out, rtol=1e-5, atol=1e-6)
    return [one.detach().cpu().double() for one in (out, *gradients)]


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


@pytest.mark.gpu
@pytest.mark.parametrize("frames", [1, 2, 8])
@pytest.mark.parametrize("autocast", [False, True])
def test_on_a_gpu_the_recursion_is_single_precision_where_tf32_is_allowed(frames, autocast):
    """TF32 has 10 bits: temporal gates would decide otherwise than in float32, as the docs promise."""
    torch.manual_seed(0)
    exact = FrameLSTM(64, 64, num_layers=2).double()
    lstm = FrameLSTM(64, 64, num_layers=2).cuda()
    lstm.load_state_dict(exact.state_dict())
    a, gradient = torch.randn(2, frames, 16, 64, dtype=torch.float64)
    with tf32(True), torch.autocast("cuda", torch.bfloat16, enabled=autocast):
        found = run(lstm, a.cuda(), gradient)
    for one, other in zip(found, run(exact, a, gradient), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5 * float(other.abs().max()) + 1e-7)


@pytest.mark.gpu
def test_on_a_gpu_cudnn_never_copies_the_weights():
    """Copying all weights in every call takes longer than a short recursion; reading old ones would not learn."""
    torch.manual_seed(0)
    lstm = FrameLSTM(16, 16, num_layers=2).cuda()
    a, gradient = torch.randn(2, 3, 4, 16, dtype=torch.float64)

    def check(lstm: FrameLSTM) -> None:
        buffer = lstm.weight_buffer()
        assert buffer is not None
        assert {weight.untyped_storage().data_ptr() for weight in lstm.parameters()} == {buffer.data_ptr()}
        found = run(lstm, a.cuda(), gradient)
        for one, other in zip(found, run(copy.deepcopy(lstm).cpu().double(), a, gradient), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*contiguous chunk of memory")
        check(lstm)
        optimizer = torch.optim.SGD(lstm.parameters(), 0.1, fused=True)
        lstm(a.cuda().float()).square().sum().backward()
        optimizer.step()
        check(lstm)
        check(copy.deepcopy(lstm))
        lstm.load_state_dict(FrameLSTM(16, 16, num_layers=2).state_dict())
        check(lstm)
        check(lstm.cpu().cuda())
        for weight in lstm.parameters():
            weight.data = weight.data.clone()
        check(lstm)
        check(pickle.loads(pickle.dumps(lstm)))
