"""The kernels of squeeze and recursion against plain operations.

On the CPU in Triton's interpreter (TRITON_INTERPRET=1), and with the marker `gpu` the compiled kernels. Without a GPU,
Triton still compiles them to machine code. None of it runs where Triton is not installed.
"""

import os
from itertools import product

import pytest
import torch
from torch import Tensor

from network import srtg
from network.srtg import SqueezeAndRecursion
from tests.network.test_srtg import frame_vectors, plain_gradients

triton = pytest.importorskip("triton")
kernels = pytest.importorskip("network.kernels.srtg")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
needs_interpreter = pytest.mark.skipif(not INTERPRETED, reason="needs TRITON_INTERPRET=1")
DEVICES = (pytest.param("cpu", marks=needs_interpreter), pytest.param("cuda", marks=pytest.mark.gpu))
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# One pixel, fewer and more than a tile; channels that fill no tile, more than a tile; one clip, one frame.
SHAPES = ((1, 8, 1, 1, 1), (2, 16, 3, 7, 7), (1, 72, 2, 9, 9), (3, 40, 1, 20, 15))


def clips(shape: tuple[int, ...], dtype: torch.dtype, device: str, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator) + 0.5
    return x.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)


def vectors(x: Tensor, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(x.shape[2], x.shape[0], x.shape[1], generator=generator).to(x.device)


def spread(factors: Tensor) -> Tensor:
    """(T, B, C) to (B, C, T, 1, 1), in double precision."""
    return factors.double().permute(1, 2, 0)[..., None, None]


def assert_rounded(actual: Tensor, expected: Tensor) -> None:
    """`actual` is `expected` (double precision), rounded no more than once to its own precision.

    Triton's interpreter cuts bits off where a GPU rounds to the nearest.
    """
    step = torch.finfo(actual.dtype).eps * (1 if INTERPRETED else 0.5)
    torch.testing.assert_close(actual.double(), expected, rtol=step + 1e-6, atol=1e-6)
    assert actual.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_squeeze_is_the_mean_in_single_precision(shape, dtype, device):
    """A mean in half precision, or over the wrong pixels, would feed the recursion noise."""
    x = clips(shape, dtype, device)
    frames = kernels.squeeze(x)
    torch.testing.assert_close(frames.double(), x.double().mean((3, 4)).permute(2, 0, 1), rtol=1e-6, atol=1e-6)
    assert frames.is_contiguous() and frames.dtype == torch.float32


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("gated", [False, True])
def test_scale_and_its_gradients_are_rounded_once(shape, dtype, gated, device):
    """A wrong factor or gradient would still train, but worse; a closed clip must stay as it is, bit for bit."""
    x, gradient = clips(shape, dtype, device), clips(shape, dtype, device, seed=2)
    factors, of_means = vectors(x), vectors(x, seed=3)
    is_open = torch.tensor([clip % 2 for clip in range(shape[0])], dtype=torch.int8, device=device) if gated else None
    opened = torch.ones(shape[0], dtype=torch.bool, device=device) if is_open is None else is_open.bool()
    kept = torch.where(opened[:, None], factors, 1.0)
    assert_rounded(kernels.scale(x, factors, is_open), x.double() * spread(kept))

    of_factors = kernels.scale_gradient(gradient, x, is_open)
    expected = (gradient.double() * x.double()).sum((3, 4)).permute(2, 0, 1) * opened[:, None]
    torch.testing.assert_close(of_factors.double(), expected, rtol=1e-5, atol=1e-5 * shape[3] * shape[4])

    of_x = kernels.input_gradient(gradient, factors, is_open, of_means)
    pixels = shape[3] * shape[4]
    assert_rounded(of_x, gradient.double() * spread(kept) + spread(of_means * opened[:, None]) / pixels)
    assert torch.equal(of_x[~opened], gradient[~opened])


@pytest.mark.gpu
@pytest.mark.parametrize("frames", [1, 8])
def test_tensors_of_more_elements_than_an_int32_counts(frames):
    """Offsets that overflow would read and write other memory."""
    x = torch.zeros(1030 * 8 // frames, 64, frames, 64, 64, dtype=torch.float16, device="cuda")
    x = x.contiguous(memory_format=torch.channels_last_3d)
    assert x.numel() > 2**31
    x[-1] = 2
    means = kernels.squeeze(x)
    assert means[:, -1].eq(2).all() and not means[:, :-1].any()
    out = kernels.scale(x, means, None)
    assert out[-1].eq(4).all() and not out[:-1].any()
    assert kernels.scale_gradient(x, out, None)[:, -1].eq(8 * 64 * 64).all()
    del out
    assert kernels.input_gradient(x, means, None, means)[-1].eq(4).all()


def decisions(a: Tensor, b: Tensor, device: str) -> tuple[Tensor, Tensor]:
    """Whether each gate is open by the kernel, and by the plain operations on the CPU."""
    found = kernels.temporal_gate(a.to(device), b.to(device), None)
    return found.bool().cpu(), srtg.temporal_gate(a, b)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [2, 3, 5, 8, 16, 20])
@pytest.mark.parametrize("width", [8, 72])
def test_gate_decides_as_the_plain_operations(frames, width, device):
    """A gate that decides otherwise on a GPU trains another network there."""
    open_gates = 0
    for spread_ in (0.5, 1.0, 2.0):
        a, b = (one.float() for one in frame_vectors(frames, 16, frames, width, spread_))
        found, expected = decisions(a, b, device)
        assert torch.equal(found, expected)
        open_gates += int(found.sum())
    assert 0 < open_gates < 48 or frames > 3


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("frames", [2, 8])
def test_gate_of_frames_that_are_alike(frames, device):
    """Frames of a video are nearly equal: TF32, or distances by the product formula, would decide at random."""
    generator = torch.Generator().manual_seed(0)
    scene = 3 * torch.randn(1, 64, 24, generator=generator)
    a = scene + (0.15 if frames == 8 else 0.05) * torch.randn(frames, 64, 24, generator=generator)
    b = a + 0.02 * torch.randn(a.shape, generator=generator)
    found, expected = decisions(a, b, device)
    assert torch.equal(found, expected) and 0 < found.sum() < 64
    still = torch.ones(frames, 3, 24)
    assert not decisions(still, still, device)[0].any(), "of equally near frames the first counts"
    assert not decisions(still * float("nan"), still, device)[0].any()


@pytest.mark.parametrize("device", DEVICES)
def test_open_gates_are_counted_in_the_kernel(device):
    """The logged fraction of open gates is over all clips since the last reset."""
    a, b = (one.float().to(device) for one in frame_vectors(0, 24, 3, 8, 1.0))
    counts = torch.tensor([2, 3], device=device)
    is_open = kernels.temporal_gate(a, b, counts)
    assert counts.tolist() == [2 + int(is_open.sum()), 3 + 24]


@pytest.fixture
def interpreted(monkeypatch, request):
    """On the CPU, kernels are used as on a GPU."""
    if request.getfixturevalue("device") == "cpu":
        monkeypatch.setattr(srtg, "may_use_kernels", lambda x: srtg.is_eager())
        monkeypatch.setattr(srtg, "recursion_failure", lambda device, dtype: "")


def module_and_clips(frames: int, gates: bool, dtype: torch.dtype, device: str) -> tuple[SqueezeAndRecursion, Tensor]:
    torch.manual_seed(frames)
    module = SqueezeAndRecursion(24, gates).to(device)
    x = torch.randn(6, 24, frames, 4, 5)
    x += torch.linspace(0, 3, 6)[:, None, None, None, None] * torch.randn(6, 24, frames, 1, 1)
    x = x.to(device, dtype).contiguous(memory_format=torch.channels_last_3d)
    assert srtg._weights_for_kernels(module, x) is not None
    return module, x


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("frames", "gates"), product((1, 2, 4), (False, True)))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("interpreted")
def test_output_and_gradients_are_those_of_the_plain_formulation(frames, gates, dtype, device):
    """The kernels and the order in which they are called: an error would train another network."""
    module, x = module_and_clips(frames, gates, dtype, device)
    gradient = torch.randn(x.shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last_3d)
    twin = SqueezeAndRecursion(24, gates).double()
    twin.load_state_dict(module.state_dict())
    expected, (of_x, *of_weights) = plain_gradients(twin, x.cpu().double(), gradient.cpu().double())
    x.requires_grad_()
    with torch.autocast(device, dtype=torch.bfloat16, enabled=dtype != torch.float32):
        out = module(x)
    kept = gradient.clone()
    found, *found_of_weights = torch.autograd.grad(out, [x, *module.parameters()], gradient, retain_graph=True)
    again = torch.autograd.grad(out, [x, *module.parameters()], gradient)
    error = 2 * torch.finfo(dtype).eps + 1e-5
    torch.testing.assert_close(out.cpu().double(), expected, rtol=error, atol=error)
    torch.testing.assert_close(found.cpu().double(), of_x, rtol=error, atol=4 * error)
    for one, other in zip(found_of_weights, of_weights, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.cpu().double(), other, rtol=1e-4, atol=1e-4 * float(other.abs().max()) + 1e-6)
    assert all(map(torch.equal, (found, *found_of_weights), again)), "a backward pass may run again"
    assert torch.equal(gradient, kept), "others use the output's gradient too"
    if gates:
        with torch.no_grad():
            torch.testing.assert_close(module(x), out, rtol=error, atol=error, msg="evaluation")
        is_open = (expected != x.detach().cpu().double()).flatten(1).any(dim=1)
        assert module.gate_counts.tolist() == [2 * int(is_open.sum()), 12]
        assert frames == 1 or 0 < is_open.sum() < 6
        assert torch.equal(out.cpu()[~is_open], x.cpu()[~is_open])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("interpreted")
def test_frozen_parts_and_other_layouts_of_the_gradient(device):
    """Fine-tuning may freeze the first blocks or the recursion; a mean's gradient is one number, expanded."""
    module, x = module_and_clips(2, False, torch.float32, device)
    free = x.clone(memory_format=torch.preserve_format).requires_grad_()
    expected = torch.autograd.grad(module(free).sum(), [free, *module.parameters()])
    module(x).sum().backward()
    for parameter, gradient in zip(module.parameters(), expected[1:], strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    module.requires_grad_(False)
    module(free).sum().backward()
    torch.testing.assert_close(free.grad, expected[0])
    assert not module(x).requires_grad


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("interpreted")
def test_recomputed_clips_are_not_counted_twice(device):
    """Activation checkpointing runs the forward pass again."""
    module, x = module_and_clips(2, True, torch.float32, device)
    module.counts_gates = False
    module(x)
    assert module.gate_counts.tolist() == [0, 0]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.usefixtures("interpreted")
def test_kernels_are_used_for_what_they_are_made_for_alone(device):
    """Where a kernel reads another layout than the tensor's, the network computes nonsense."""
    module, x = module_and_clips(2, True, torch.float32, device)
    assert srtg._weights_for_kernels(module, x.contiguous()) is None
    assert srtg._weights_for_kernels(module, x.double()) is None
    assert srtg._weights_for_kernels(module, x[:, :12].contiguous(memory_format=torch.channels_last_3d)) is None
    assert srtg._weights_for_kernels(module, x[:0]) is None
    assert srtg._weights_for_kernels(module, torch.nn.Parameter(x)) is None
    seen = []
    hook = module.lstm.register_forward_hook(lambda lstm, inputs, output: seen.append(output))
    assert srtg._weights_for_kernels(module, x) is None, "explanations look at the recursion"
    hook.remove()
    with torch.no_grad():
        plain = torch.func.vmap(
            lambda one: torch.zeros(()) if srtg._weights_for_kernels(module, one) is None else one.sum()
        )
        assert not plain(x[None]).any()


SIZES = dict.fromkeys(("clips", "frames", "pixels", "channels"), "i32")
COMPILED = [
    *(("squeeze", dtype, {"TILE_PIXELS": 256, "TILE_CHANNELS": 32}) for dtype in DTYPES),
    *(
        ("scale_gradient", dtype, {"GATED": gated, "TILE_PIXELS": 256, "TILE_CHANNELS": 32})
        for dtype, gated in product(DTYPES, (False, True))
    ),
    *(
        (name, dtype, {"GATED": gated, "TILE_PIXELS": 64, "TILE_CHANNELS": 64})
        for name, dtype, gated in product(("scale", "input_gradient"), DTYPES, (False, True))
    ),
    *(
        (
            "gate",
            torch.float32,
            {"COUNTED": frames != 4, "TILE_T": frames, "TILE_CHANNELS": kernels.gate_channels(frames)},
        )
        for frames in (2, 4, 8, 16, 32)
    ),
]


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize(("name", "dtype", "constants"), COMPILED)
def test_kernels_compile_for_an_h100(name, dtype, constants, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and a kernel that reads two bytes at a time is slow."""
    from triton.backends.compiler import GPUTarget

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, f"{name}_kernel")
    wide = {torch.float32: "*fp32", torch.float16: "*fp16", torch.bfloat16: "*bf16"}[dtype]
    pointers = {"scale": "*fp32", "squeezed_gradient": "*fp32", "counts": "*i64", "x": wide, "gradient": wide}
    pointers["is_open"] = "*i8" if constants.get("GATED") or name == "gate" else "*fp32"
    pointers["out"] = wide if name in ("scale", "input_gradient") else "*fp32"
    signature = {
        argument: "constexpr" if argument in constants else SIZES.get(argument) or pointers.get(argument, "*fp32")
        for argument in kernel.arg_names
    }
    # What Triton sees in a training step: addresses and channels that 16 divides.
    aligned = [index for index, one in enumerate(signature.values()) if one.startswith("*")]
    aligned.append(kernel.arg_names.index("channels"))
    attributes = {(index,): [["tt.divisibility", 16]] for index in aligned}
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert compiled.asm["cubin"]
    if name != "gate":
        assert "ld.global.v4.b32" in compiled.asm["ptx"]
        assert ("st.global.v4.b32" in compiled.asm["ptx"]) == (name in ("scale", "input_gradient"))
