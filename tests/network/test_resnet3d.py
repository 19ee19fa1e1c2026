import re
from itertools import combinations

import pytest
import torch
from torch import Tensor

from common.errors import NetworkError
from network import VideoNetwork, create_network, network_names
from network.resnet3d import FAMILIES, BlockConvs, Recursion, ResidualBlock, basic_convs, bottleneck_convs
from network.srtg import PLACEMENTS
from tests.network import plain_formulation as plain
from tests.network.plain_formulation import Weights

# The first logits of each clip of plain.clips(2, 3, 5, 25, 18), for 400 classes with the weights of plain.fill, as
# the plain formulation computes them.
LOGITS = {
    "r3d_50": [
        [-25.985101, -3.5034953, 0.87597411, -18.333032, 145.14962, 43.321469],
        [-28.414608, -2.2151023, 0.76079898, -21.655082, 155.58462, 45.797779],
    ],
    "srtg_r3d_10": [
        [0.10631344, 0.21814051, 0.85145685, 0.14973052, 0.72693768, 0.091881802],
        [0.2046283, 0.13340177, 0.61991507, 0.24835937, 0.6608691, 0.050582065],
    ],
    "srtg_r2plus1d_10": [
        [-0.46816655, 0.79274322, 1.1297311, -0.023659888, 0.14027689, -0.19555187],
        [-0.61576057, 0.89704677, 1.3781137, 0.27812531, 0.046330784, -0.042923465],
    ],
}


def filled_network(name: str, num_classes: int = 7, **arguments: object) -> tuple[VideoNetwork, Weights]:
    """A network in float64 and evaluation mode, and its weights, which come from a formula."""
    network = create_network(name, num_classes, **arguments).double().eval()
    weights = plain.fill(network.state_dict())
    network.load_state_dict(weights)
    return network, weights


@pytest.mark.parametrize("name", LOGITS)
def test_logits_are_those_of_the_published_networks(name):
    """A change that moves the logits would make the published weights useless."""
    network, weights = filled_network(name, 400)
    clips = plain.clips(2, 3, 5, 25, 18)
    with torch.no_grad():
        logits = network(clips)
    torch.testing.assert_close(logits, plain.logits(weights, clips), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(logits[:, :6], torch.tensor(LOGITS[name], dtype=torch.float64), rtol=1e-5, atol=1e-6)


def filled_block(convs: BlockConvs, family: str, stride: int, recursion: Recursion) -> tuple[ResidualBlock, Weights]:
    """A narrow block in float64 and evaluation mode, and its weights under the name `block`."""
    block = ResidualBlock(6, 8, stride, convs(6, 8, stride, FAMILIES[family]), recursion).double().eval()
    weights = plain.fill(block.state_dict())
    block.load_state_dict(weights)
    return block, {f"block.{name}": tensor for name, tensor in weights.items()}


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("gates", [False, True])
@pytest.mark.parametrize("convs", [basic_convs, bottleneck_convs])
@pytest.mark.parametrize(("family", "stride"), [("r3d", 1), ("r2plus1d", 2)])
def test_placements_and_gates(family, stride, convs, gates, placement):
    """In both kinds of block, SRTG is applied at the place that its placement names, and gets gradients."""
    block, weights = filled_block(convs, family, stride, Recursion(gates, placement))
    weights = {name: tensor.requires_grad_(tensor.is_floating_point()) for name, tensor in weights.items()}
    x = plain.clips(3, 6, 5, 9, 8).relu().requires_grad_()
    out = block(x)
    expected = plain.residual_block(weights, "block", x, stride, gates, placement)
    torch.testing.assert_close(out, expected)
    names = [name for name, _ in block.named_parameters()]
    gradients = torch.autograd.grad(out.square().sum(), [x, *block.parameters()])
    expected_inputs = [x, *(weights[f"block.{name}"] for name in names)]
    # If all gates are closed, the plain formulation does not use the parameters of the recursion.
    expected_gradients = torch.autograd.grad(expected.square().sum(), expected_inputs, materialize_grads=True)
    torch.testing.assert_close(gradients, expected_gradients)
    if not gates:
        assert [name for name, gradient in zip(names, gradients[1:], strict=True) if not gradient.any()] == []


@pytest.mark.parametrize("convs", [basic_convs, bottleneck_convs])
def test_placements_differ(convs):
    """Else the option would have no effect. In a block of two convolutions `mid` and `end` are one place."""
    clips = plain.clips(1, 6, 4, 8, 8).relu()
    results = {}
    for placement in PLACEMENTS:
        block, _ = filled_block(convs, "r3d", 1, Recursion(False, placement))
        results[placement] = block(clips)
    same = {(one, other) for one, other in combinations(PLACEMENTS, 2) if torch.allclose(results[one], results[other])}
    assert same == ({("mid", "end")} if convs is basic_convs else set())


def depth_of(name: str) -> int:
    """34 for srtg_r3d_34, 50 for r2plus1dxt50_32x4d: names have other numbers too."""
    return next(depth for depth in (10, 18, 26, 34, 50, 101, 152, 200) if re.search(rf"(_|xt|d){depth}(_|$)", name))


def sweep() -> list[object]:
    """All names; the deepest are slow tests, as they only have more of the same blocks."""
    return [pytest.param(name, marks=pytest.mark.slow if depth_of(name) > 50 else ()) for name in network_names()]


@pytest.mark.parametrize("name", sweep())
def test_every_network_maps_clips_to_logits(name):
    """On the meta device, where reading a value is an error: no network may make the host wait for the GPU."""
    depth = depth_of(name)
    with torch.device("meta"):
        network = create_network(name, 11, gates=name.startswith("srtg_"))
        logits = network(torch.empty(2, 3, 8 if depth <= 34 else 2, 40, 32))
        assert logits.shape == (2, 11)
        if depth <= 34:
            logits.sum().backward()
            assert [parameter for parameter, value in network.named_parameters() if value.grad is None] == []


@pytest.mark.parametrize("name", ["srtg_r3d_10", "srtg_r2plus1d_10"])
def test_gradients_reach_every_parameter(name):
    """A parameter without gradient is not trained, and distributed training waits for it forever."""
    torch.manual_seed(0)
    network = create_network(name, 4)
    network(torch.randn(2, 3, 9, 32, 32)).square().sum().backward()
    dead = [parameter for parameter, value in network.named_parameters() if not value.grad.abs().sum() > 0]
    # The last stage has a single frame, whose hidden state is zero: recurrent weights have no effect.
    assert dead == [f"layer4.0.sar.lstm.weight_hh_l{layer}" for layer in (0, 1)]


@pytest.mark.parametrize("shape", [(1, 32, 32), (2, 17, 31), (3, 9, 40), (7, 15, 11), (16, 8, 16)])
@pytest.mark.parametrize("name", ["srtg_r3d_10", "srtg_r2plus1d_10"])
def test_any_clip_shape(name, shape):
    """Multigrid changes the shape of clips between steps; odd sizes and single frames must work."""
    network, weights = filled_network(name, gates=True)
    clips = plain.clips(2, 3, *shape)
    with torch.no_grad():
        torch.testing.assert_close(network(clips), plain.logits(weights, clips, gates=True), rtol=1e-7, atol=1e-9)


def test_clips_of_a_batch_are_independent():
    """In evaluation mode a clip's logits must not depend on the rest of its batch, with gates too."""
    network, _ = filled_network("srtg_r3d_10", gates=True)
    clips = plain.clips(3, 3, 8, 24, 24)
    with torch.no_grad():
        torch.testing.assert_close(network(clips), torch.cat([network(clip[None]) for clip in clips]))


@pytest.mark.parametrize("name", ["srtg_r3d_10", "srtg_r2plus1d_10"])
def test_channels_last_clips(name):
    """The memory format, which users choose for speed, must not change the logits."""
    torch.manual_seed(0)
    network = create_network(name, 5, gates=True).eval()
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.no_grad():
        expected = network(clips)
        network.to(memory_format=torch.channels_last_3d)
        logits = network(clips.to(memory_format=torch.channels_last_3d))
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-5)


LAYOUTS = (torch.contiguous_format, torch.channels_last_3d)
IN_LAYOUT = [("srtg_r3d_10", layout) for layout in LAYOUTS] + [("srtg_r2plus1d_10", torch.contiguous_format)]


@pytest.mark.parametrize("placement", ["start", "mid", "final"])
@pytest.mark.parametrize(("name", "layout"), IN_LAYOUT)
def test_no_block_changes_the_memory_format(name, layout, placement):
    """A block that changes it costs a copy of its output, and the following blocks use slower kernels.

    (2+1)D networks in channels_last_3d are not tested: PyTorch's 3x1x1 convolution on the CPU always returns the
    contiguous format.
    """
    check_memory_format(name, layout, placement, "cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["srtg_r3d_10", "srtg_r2plus1d_10"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_on_a_gpu_no_block_changes_the_memory_format(layout, name):
    """As above, on the device where a copy costs most."""
    check_memory_format(name, layout, "final", "cuda")


def check_memory_format(name: str, layout: torch.memory_format, placement: str, device: str) -> None:
    """Assert that each block's output, and its gradient, has the memory format of the clips."""
    network = create_network(name, 5, gates=True, placement=placement).to(device, memory_format=layout)
    changed = []

    def check(module: torch.nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        output.register_hook(lambda gradient: check_layout(gradient, "gradient"))
        check_layout(output, "output")

    def check_layout(tensor: Tensor, what: str) -> None:
        if not tensor.is_contiguous(memory_format=layout):
            changed.append(what)

    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.register_forward_hook(check)
    # With 64 pixels, every block's output has several pixels; with one, the formats would be the same.
    clips = torch.randn(2, 3, 8, 64, 64, device=device).contiguous(memory_format=layout)
    network(clips).square().sum().backward()
    # The gradient of the average after the last block is an expanded tensor: one number for all pixels.
    assert changed in ([], ["gradient"])


def test_state_dict_round_trip():
    """Weights saved and loaded give the same logits to the bit."""
    network = create_network("srtg_r2plus1d_10", 5, gates=True)
    network(torch.randn(4, 3, 4, 32, 32))  # moves the batch-norm statistics
    other = create_network("srtg_r2plus1d_10", 5, gates=True)
    other.load_state_dict(network.state_dict())
    clips = torch.randn(2, 3, 4, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(clips), other.eval()(clips))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_precision_logits_stay_near(dtype):
    """Under autocast the logits are the same up to rounding."""
    torch.manual_seed(0)
    network = create_network("srtg_r3d_10", 5).eval()
    clips = torch.randn(4, 3, 4, 32, 32)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        logits = network(clips)
    with torch.no_grad():
        expected = network(clips)
    torch.testing.assert_close(logits, expected, rtol=0.05, atol=0.02)
    assert torch.equal(logits, expected) == (dtype == torch.float32)


@pytest.mark.parametrize(("name", "gates"), [("r2plus1d_10", False), ("srtg_r3d_10", True)])
def test_compiles_to_one_graph(name, gates):
    """Dynamo captures an LSTM only with allow_rnn; nothing else may break the graph."""
    torch.manual_seed(0)
    network = create_network(name, 5, gates=gates)
    clips = torch.randn(2, 3, 4, 32, 32)
    expected = network(clips)
    torch._dynamo.reset()
    with torch._dynamo.config.patch(allow_rnn=True):
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(clips), expected)
    compiled(clips).sum().backward()
    torch._dynamo.reset()


def block_sizes(network: torch.nn.Module, clips: Tensor) -> Tensor:
    """The root mean square of each block's output."""
    sizes = []
    for stage in (network.layer1, network.layer2, network.layer3, network.layer4):
        for block in stage:
            block.register_forward_hook(lambda module, inputs, output: sizes.append(output.square().mean().sqrt()))
    with torch.no_grad():
        network(clips)
    return torch.stack(sizes)


@pytest.mark.parametrize("name", ["r3d_10", "srtg_r2plus1d_10", "ip_csn_26", "srtg_ir_csn_26", "tv_r3d_18"])
def test_logits_of_half_precision_features_are_not_rounded(name):
    """Rounded logits of different classes become equal: top-1 would be decided by the numbers of the classes."""
    torch.manual_seed(0)
    network = create_network(name, 400).eval()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(2, 3, 4, 32, 32))
    assert logits.dtype == torch.float32
    assert not torch.equal(logits, logits.bfloat16().float())


@pytest.mark.parametrize("gates", [False, True])
def test_initial_features_are_as_large_as_without_srtg(gates):
    """If the recursion started near zero, features would vanish and training would not progress."""
    torch.manual_seed(0)
    clips = torch.randn(4, 3, 8, 32, 32)
    ratios = block_sizes(create_network("srtg_r3d_18", 10, gates), clips) / block_sizes(
        create_network("r3d_18", 10), clips
    )
    assert ratios.min() > 0.2
    assert ratios.max() < 1.5


@pytest.mark.parametrize(
    "clips",
    [
        torch.zeros(2, 3, 4, 32, 32, dtype=torch.uint8),  # as a dataset gives them, not normalised
        torch.zeros(3, 4, 32, 32),  # without the batch
        torch.zeros(2, 4, 3, 32, 32),  # frames before channels
    ],
)
def test_clips_that_no_network_takes_are_named(clips):
    """The usual slips in a notebook: an error of the first convolution would not say which."""
    with pytest.raises(NetworkError, match=r"uint8|\(3, 4, 32, 32\)|\(2, 4, 3, 32, 32\)"):
        create_network("r3d_10", 2)(clips)
