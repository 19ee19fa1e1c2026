import pytest
import torch
from torch import Tensor

from network import create_network
from network.srtg import FrameLSTM, SqueezeAndRecursion, temporal_gate
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
    """All distances of a still clip are equal: the first frame counts as nearest, on every device and in every run."""
    still = torch.ones(4, 3, 5)
    assert temporal_gate(still, still).tolist() == [False] * 3


def test_gate_of_one_frame_is_open():
    """A clip pooled to one frame is always consistent."""
    assert temporal_gate(*frame_vectors(0, 5, 1, 7, 1.0)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_gate_measures_half_precision_vectors_in_float32(dtype):
    """Distances of half precision would close gates by rounding, so that fp16 and fp32 runs differ."""
    a, b = (vectors.to(dtype) for vectors in frame_vectors(3, 2000, 4, 64, 0.5))
    assert torch.equal(temporal_gate(a, b), temporal_gate(a.float(), b.float()))
    assert 0 < temporal_gate(a, b).sum() < 2000


def test_gate_decides_under_autocast_as_in_float32():
    """Frames of a video are alike: rounded to half precision, a frame's neighbour is found at another frame."""
    generator = torch.Generator().manual_seed(0)
    scene = 3 * torch.randn(1, 1000, 64, generator=generator)
    a = scene + 0.1 * torch.randn(8, 1000, 64, generator=generator)
    b = a + 0.02 * torch.randn(a.shape, generator=generator)
    expected = temporal_gate(a, b)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(temporal_gate(a, b), expected)
    assert 0 < expected.sum() < 1000


def gated_block(clips: int) -> tuple[SqueezeAndRecursion, Tensor, Tensor]:
    """A gated module, an input x for which some gates open and some do not, and whether each clip's is open."""
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
    """A closed gate must not change its clip, bit for bit, also if other gates of the batch are open."""
    module, x, is_open = gated_block(64)
    weights = {f"sar.{name}": parameter for name, parameter in module.state_dict().items()}
    before = x.clone()
    out = module(x)
    assert torch.equal(x, before)
    assert torch.equal(out[~is_open], x[~is_open])
    torch.testing.assert_close(out, plain.squeeze_and_recursion(weights, "sar", x, gates=True))


def test_gradients_pass_a_closed_gate_unchanged_and_flow_through_an_open_one():
    """The gate's decision has no gradient; for an open gate, both factors of the product have one."""
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
    """A wrong gradient would still train, but worse. Compared with finite differences."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(2).double()
    x = torch.randn(2, 2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(module, (x,))


def plain_gradients(module: SqueezeAndRecursion, x: Tensor, grad: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Output, and gradients of x and all parameters, of the plain formulation."""
    x = x.detach().clone().requires_grad_()
    parameters = {f"sar.{name}": p.detach().clone().requires_grad_() for name, p in module.named_parameters()}
    out = plain.squeeze_and_recursion(parameters, "sar", x, module.gates)
    gradients = torch.autograd.grad(out, [x, *parameters.values()], grad, materialize_grads=True)
    return out.detach(), gradients


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 3])
def test_gradients_are_those_of_the_plain_formulation(frames, gates, channels_last):
    """The backward pass is hand-written; a network with an error in it would still train, but worse."""
    torch.manual_seed(frames)
    module = SqueezeAndRecursion(64, gates).double()
    x = torch.randn(12, 64, frames, 4, 5, dtype=torch.float64)
    x += torch.linspace(0, 2, 12)[:, None, None, None, None] * torch.randn(12, 64, frames, 1, 1, dtype=torch.float64)
    grad = torch.randn_like(x)
    expected, expected_gradients = plain_gradients(module, x, grad)
    if gates and frames > 1:
        is_closed = (expected == x).flatten(1).all(dim=1)
        assert 0 < is_closed.sum() < 12
    layout = torch.channels_last_3d if channels_last else torch.contiguous_format
    x = x.contiguous(memory_format=layout).requires_grad_()
    grad = grad.contiguous(memory_format=layout)
    kept = grad.clone()
    out = module(x)
    gradients = torch.autograd.grad(out, [x, *module.parameters()], grad, retain_graph=True)
    again = torch.autograd.grad(out, [x, *module.parameters()], grad)
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(gradients, expected_gradients)
    torch.testing.assert_close(again, expected_gradients)
    assert torch.equal(grad, kept), "others use the output's gradient too"
    assert out.is_contiguous(memory_format=layout)
    assert gradients[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("frames", [1, 2, 3, 5])
def test_recursion_is_the_lstm_of_pytorch(frames):
    """Short sequences do not use PyTorch's kernel; weights trained with it must give the same outputs."""
    torch.manual_seed(frames)
    ours = FrameLSTM(7, 7, num_layers=2).double()
    theirs = torch.nn.LSTM(7, 7, num_layers=2).double()
    theirs.load_state_dict(ours.state_dict())
    a, grad = torch.randn(2, frames, 3, 7, dtype=torch.float64)
    a.requires_grad_()
    out, expected = ours(a), theirs(a)[0]
    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(
        torch.autograd.grad(out, [a, *ours.parameters()], grad),
        torch.autograd.grad(expected, [a, *theirs.parameters()], grad),
    )


def test_frozen_parts_get_no_gradient_and_do_not_affect_the_others():
    """Fine-tuning may freeze the first blocks, or only the recursion."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(4)
    x = torch.randn(2, 4, 3, 2, 2)
    free = x.clone().requires_grad_()
    expected = torch.autograd.grad(module(free).square().sum(), [free, *module.parameters()])
    module(x).square().sum().backward()
    for parameter, gradient in zip(module.parameters(), expected[1:], strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    module.requires_grad_(False)
    module(free).square().sum().backward()
    torch.testing.assert_close(free.grad, expected[0])


def test_functional_transforms_and_second_derivatives():
    """torch.func uses plain operations; a second derivative is refused, never wrong."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(4).double()
    x = torch.randn(2, 4, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x).square().sum(), x, create_graph=True)
    torch.testing.assert_close(torch.func.grad(lambda x: module(x).square().sum())(x), gradient)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_gradients_under_autocast_stay_near_float32():
    """The gradients of the recursion's weights must be in float32, also for half-precision features."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(8)
    x = torch.randn(2, 8, 3, 6, 6)
    grad = torch.randn_like(x)
    wide = (x.clone().requires_grad_(), *module.parameters())
    expected = torch.autograd.grad(module(wide[0]), wide, grad)
    half = (x.bfloat16().requires_grad_(), *module.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(half[0])
    gradients = torch.autograd.grad(out, half, grad.bfloat16())
    assert [gradient.dtype for gradient in gradients] == [torch.bfloat16] + [torch.float32] * 8
    for gradient, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient.float(), other, rtol=0.05, atol=0.05 * float(other.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["srtg_r3d_18", "srtg_r2plus1d_18"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
def test_on_a_gpu_the_host_never_waits(name, layout):
    """A synchronisation in a block happens in every block, and each time the GPU idles."""
    network = create_network(name, 10, gates=True).cuda().to(memory_format=layout)
    clips = torch.randn(4, 3, 8, 64, 64, device="cuda").contiguous(memory_format=layout)

    def step():
        with torch.autocast("cuda", dtype=torch.bfloat16):
            loss = network(clips).float().square().mean()
        loss.backward()
        network.zero_grad(set_to_none=True)

    step()  # the first step loads libraries and chooses algorithms
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.gpu
@pytest.mark.parametrize("gates", [False, True])
def test_on_a_gpu_the_gradients_are_those_of_the_cpu(gates):
    """GPU and CPU use different code for the backward pass and for the LSTM."""
    torch.manual_seed(0)
    module = SqueezeAndRecursion(16, gates).double()
    x = 3 * torch.randn(8, 16, 4, 5, 6, dtype=torch.float64)
    grad = torch.randn_like(x)
    expected, expected_gradients = plain_gradients(module, x, grad)
    module.cuda()
    x = x.cuda().requires_grad_()
    out = module(x)
    gradients = torch.autograd.grad(out, [x, *module.parameters()], grad.cuda())
    torch.testing.assert_close(out.cpu(), expected)
    torch.testing.assert_close([gradient.cpu() for gradient in gradients], list(expected_gradients))


def test_open_gates_are_counted_until_reset():
    """The logged fraction is over all clips since the last reset, not over the last batch."""
    module, x, is_open = gated_block(64)
    module(x)
    module(x[is_open])
    assert module.gate_counts.tolist() == [2 * is_open.sum(), 64 + is_open.sum()]


def test_open_gate_fractions_are_named_by_block_and_not_saved():
    """Counts in the state dict would make checkpoints differ from the published ones."""
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
    """In half precision the recursion loses the differences between frames; the activations must stay in it."""
    module = SqueezeAndRecursion(8, gates=True)
    seen = []
    module.lstm.register_forward_hook(lambda lstm, inputs, output: seen.append((inputs[0].dtype, output.dtype)))
    x = torch.randn(2, 8, 3, 4, 4, dtype=torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(x)
    assert seen == [(torch.float32, torch.float32)]
    assert out.dtype == torch.bfloat16


def test_memory_format_is_kept():
    """A change of layout between blocks costs a copy of every activation."""
    x = torch.randn(2, 8, 3, 4, 4).to(memory_format=torch.channels_last_3d)
    for gates in (False, True):
        assert SqueezeAndRecursion(8, gates)(x).is_contiguous(memory_format=torch.channels_last_3d)
