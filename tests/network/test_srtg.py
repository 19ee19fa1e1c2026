import pytest
import torch
from torch import Tensor

from network import create_network
from network.srtg import SqueezeAndRecursion, temporal_gate
from tests.network import plain_formulation as plain


def frame_vectors(seed: int, clips: int, frames: int, channels: int, spread: float) -> tuple[Tensor, Tensor]:
    """a and a noisy copy of it, (T, B, C): the smaller the spread, the likelier a gate stays closed."""
    generator = torch.Generator().manual_seed(seed)
    a = spread * torch.randn(frames, clips, channels, generator=generator, dtype=torch.float64)
    return a, a + torch.randn(a.shape, generator=generator, dtype=torch.float64)


def as_frames(vectors: Tensor, clip: int) -> list[Tensor]:
    return list(vectors[:, clip])


@pytest.mark.parametrize("frames", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("spread", [0.5, 1.0, 2.0])
def test_gate_decides_as_the_slow_loop_of_the_paper(frames, spread):
    """A wrong sign, a missing normalisation or a swapped direction in the gate would train another network."""
    a, b = frame_vectors(frames, 24, frames, 6, spread)
    expected = [plain.gate_is_open(as_frames(a, clip), as_frames(b, clip)) for clip in range(24)]
    assert temporal_gate(a, b).tolist() == expected


def test_gate_asks_for_both_directions():
    """If only one direction were checked, clips would be gated open that the paper keeps closed."""
    a, b = frame_vectors(0, 200, 3, 4, 1.0)
    forth = [plain.all_return(as_frames(a, clip), as_frames(b, clip)) for clip in range(200)]
    back = [plain.all_return(as_frames(b, clip), as_frames(a, clip)) for clip in range(200)]
    assert {(True, True), (True, False), (False, True), (False, False)} == set(zip(forth, back, strict=True))
    assert temporal_gate(a, b).tolist() == [one and other for one, other in zip(forth, back, strict=True)]


def test_gate_of_equal_frames_is_closed():
    """A still clip has ties everywhere: the first frame counts as nearest, on every device and in every run."""
    still = torch.ones(4, 3, 5)
    assert temporal_gate(still, still).tolist() == [False] * 3


def test_gate_of_one_frame_is_open():
    """A clip pooled to one frame is consistent with itself, whatever the recursion makes of it."""
    assert temporal_gate(*frame_vectors(0, 5, 1, 7, 1.0)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gate_measures_half_precision_vectors_in_float32(dtype):
    """Distances of half precision would close gates by rounding, so that fp16 and fp32 runs differ."""
    a, b = (vectors.to(dtype) for vectors in frame_vectors(3, 2000, 4, 64, 0.5))
    assert torch.equal(temporal_gate(a, b), temporal_gate(a.float(), b.float()))
    assert 0 < temporal_gate(a, b).sum() < 2000


def gated_block(clips: int) -> tuple[SqueezeAndRecursion, Tensor, Tensor]:
    """A gated module, an input of which some clips open the gate and some do not, and which those are."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(16, gates=True).double()
    x = 3 * torch.randn(clips, 16, 3, 4, 2, dtype=torch.float64)
    weights = {f"sar.{name}": parameter for name, parameter in module.state_dict().items()}
    is_open = torch.tensor(
        [not torch.equal(plain.squeeze_and_recursion(weights, "sar", clip[None], True)[0], clip) for clip in x]
    )
    assert 0 < is_open.sum() < clips
    return module, x, is_open


def test_open_gates_multiply_and_closed_ones_pass_through():
    """A closed gate must leave its clip as it was, bit for bit, beside open ones in the same batch."""
    module, x, is_open = gated_block(64)
    weights = {f"sar.{name}": parameter for name, parameter in module.state_dict().items()}
    before = x.clone()
    out = module(x)
    assert torch.equal(x, before)
    assert torch.equal(out[~is_open], x[~is_open])
    torch.testing.assert_close(out, plain.squeeze_and_recursion(weights, "sar", x, gates=True))


def test_gradients_pass_a_closed_gate_unchanged_and_flow_through_an_open_one():
    """The decision itself has no gradient; the product of an open gate has that of both its factors."""
    module, x, is_open = gated_block(64)
    x.requires_grad_()
    out = module(x)
    grad = torch.randn_like(out)
    out.backward(grad)
    assert torch.equal(x.grad[~is_open], grad[~is_open])
    ungated = SqueezeAndRecursion(16).double()
    ungated.load_state_dict(module.state_dict())
    opened = x.detach()[is_open].requires_grad_()
    ungated(opened).backward(grad[is_open])
    torch.testing.assert_close(x.grad[is_open], opened.grad)
    for gated, plain_parameter in zip(module.parameters(), ungated.parameters(), strict=True):
        torch.testing.assert_close(gated.grad, plain_parameter.grad)


def test_recursion_gradients_are_right():
    """Gradients against finite differences."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(2).double()
    x = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def test_open_gates_are_counted_until_reset():
    """The log's share of open gates is of all clips since the last reset, not of the last batch."""
    module, x, is_open = gated_block(64)
    module(x)
    module(x[is_open])
    assert module.gate_counts.tolist() == [2 * is_open.sum(), 64 + is_open.sum()]


def test_open_gate_fractions_are_named_by_block_and_not_saved():
    """Counts in the state dict would make our checkpoints differ from published ones."""
    network = create_network("srtg_r3d_10", 3, gates=True).eval()
    assert [name for name in network.state_dict() if "gate" in name] == []
    assert all(share.isnan() for share in network.open_gate_fractions().values())
    network(torch.randn(2, 3, 1, 16, 16))
    assert {name: float(share) for name, share in network.open_gate_fractions().items()} == {
        f"layer{stage}.0": 1.0 for stage in (1, 2, 3, 4)
    }
    network.reset_open_gate_fractions()
    assert all(share.isnan() for share in network.open_gate_fractions().values())
    assert create_network("srtg_r3d_10", 3).open_gate_fractions() == {}


def test_recursion_runs_in_float32_under_autocast():
    """In half precision the recursion loses what tells frames apart; its output must not widen the activations."""
    module = SqueezeAndRecursion(8, gates=True)
    seen = []
    module.lstm.register_forward_hook(lambda lstm, inputs, output: seen.append((inputs[0].dtype, output[0].dtype)))
    x = torch.randn(2, 8, 3, 4, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(x)
    assert seen == [(torch.float32, torch.float32)]
    assert out.dtype == torch.bfloat16


def test_memory_format_is_kept():
    """A silent change of layout between blocks costs a copy of every activation."""
    x = torch.randn(2, 8, 3, 4, 4).to(memory_format=torch.channels_last_3d)
    for gates in (False, True):
        assert SqueezeAndRecursion(8, gates)(x).is_contiguous(memory_format=torch.channels_last_3d)
