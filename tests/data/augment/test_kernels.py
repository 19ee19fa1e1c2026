"""The kernels of augmentation against PyTorch's operations on the CPU, and compiled for an H100."""

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from common.normalisation import NORMALISATIONS, SRTG
from data.augment import plain
from data.augment.params import (
    KINDS,
    NAMED_DTYPE,
    identity_params,
    named_params,
    random_params,
    random_params_of_kind,
)
from data.augment.table import FIRST_COLUMN
from data.augment.use import error_of, samples_of_params
from tests.network.kernels.devices import DEVICES, DTYPES, INTERPRETED, compiled

pytest.importorskip("triton")
kernels = pytest.importorskip("data.augment.kernels")
on_devices = pytest.mark.parametrize("device", DEVICES)
FORMATS = (torch.contiguous_format, torch.channels_last_3d)
TOLERANCE = 0.02  # grey levels
SHAPE = (3, 5, 9, 15)  # channels, frames, height, width: more than a tile of pixels, and of frames


def pixels(clips: int, shape: tuple[int, ...] = SHAPE) -> torch.Tensor:
    """Random uint8 clips (clips, 3, T, h, w), as the loader gives them: (clips, T, h, w, 3) in memory."""
    _, *size = shape
    levels = np.random.default_rng(1).integers(0, 256, (clips, *size, 3), dtype=np.uint8)
    return torch.from_numpy(levels).permute(0, 4, 1, 2, 3)


def drawn(clips: int, seed: int = 0) -> torch.Tensor:
    """Random parameters (clips, NUM_PARAMS), as in training."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([random_params(rng) for _ in range(clips)]))


def by_kernels(clips, params, device, dtype=torch.float32, memory_format=torch.channels_last_3d, normalisation=SRTG):
    out = torch.empty(clips.shape, dtype=dtype, device=device, memory_format=memory_format).fill_(float("nan"))
    kernels.augment(clips.to(device), params, out, normalisation)
    assert out.is_contiguous(memory_format=memory_format)
    return out.cpu()


def by_pytorch(clips, params, normalisation=SRTG):
    out = torch.empty(clips.shape)
    plain.augment(clips, params, out, normalisation)
    return out


@on_devices
@pytest.mark.parametrize("kind", ["rotation", "perspective", *list(KINDS)[1:]])
def test_each_kind_alone(kind, device):
    """A kind that is wrong, or left out, changes what networks are trained on, and no loss tells of it."""
    rng = np.random.default_rng(2)
    params = identity_params()
    while not is_visible(params, kind):
        params = random_params_of_kind("geometry" if kind in ("rotation", "perspective") else kind, rng)
    params, clips = torch.from_numpy(params)[None], pixels(1)
    expected = by_pytorch(clips, params)
    assert error_of(expected, by_pytorch(clips, torch.from_numpy(identity_params())[None])) > 1, "nothing is tested"
    assert error_of(by_kernels(clips, params, device), expected) < TOLERANCE


def is_visible(params: np.ndarray, kind: str) -> bool:
    """Whether parameters are those of a kind, and change more than a rounding."""
    (fields,) = params.view(NAMED_DTYPE)
    if kind == "Gaussian blur":
        return fields["blur_sigma"] > 0.27
    if kind in ("rotation", "perspective"):
        return bool(fields["rotation"]) == (kind == "rotation") and not np.array_equal(params, identity_params())
    return not np.array_equal(params, identity_params())


@on_devices
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_all_kinds_together_in_each_dtype_and_layout(dtype, memory_format, device):
    """As training asks for them; half precision is rounded only at the end."""
    params, clips = torch.from_numpy(samples_of_params()[-2:]), pixels(2)
    ours = by_kernels(clips, params, device, dtype, memory_format)
    assert error_of(ours, by_pytorch(clips, params)) < TOLERANCE
    if dtype != torch.float32 and device == "cuda":  # the interpreter cuts bits off
        exact = by_kernels(clips, params, device, torch.float32, memory_format)
        assert torch.equal(ours, exact.to(dtype))


@on_devices
@pytest.mark.parametrize("name", ["torchvision", "hara2018"])
def test_each_channel_has_its_deviation(name, device):
    """Weights of other projects would learn from other colours than they know."""
    params, clips = torch.from_numpy(samples_of_params()[-2:]), pixels(2)
    of_name = NORMALISATIONS[name]
    ours, expected = by_kernels(clips, params, device, normalisation=of_name), by_pytorch(clips, params, of_name)
    of_levels = torch.tensor(of_name.std).view(3, 1, 1, 1)
    assert float(((ours - expected) * of_levels).abs().max()) < TOLERANCE


@on_devices
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 2), (1, 4, 5), (5, 11, 5), (2, 2, 150)])
def test_clips_of_any_size(size, device):
    """Frames too small to be mirrored, of less and more than a tile, and any number of frames."""
    params = torch.cat([torch.from_numpy(samples_of_params()[-2:]), drawn(2)])
    clips = pixels(4, (3, *size))
    assert error_of(by_kernels(clips, params, device), by_pytorch(clips, params)) < TOLERANCE


def of_randaugment() -> torch.Tensor:
    """Parameters of clips with tables of levels alone, with samples, and with weighted pixels."""
    params = samples_of_params()
    return torch.from_numpy(params[named_params(params)["operations"].any(1)])


@on_devices
@pytest.mark.parametrize("memory_format", FORMATS)
@pytest.mark.parametrize("size", [(5, 9, 15), (1, 1, 1), (2, 2, 150)])
def test_randaugment(size, memory_format, device):
    """Beside clips that have no table, which must not get that of another clip."""
    params = torch.cat([drawn(1), of_randaugment(), drawn(1, seed=1)])
    clips = pixels(len(params), (3, *size))
    ours = by_kernels(clips, params, device, memory_format=memory_format)
    assert error_of(ours, by_pytorch(clips, params)) < TOLERANCE
    order = torch.tensor([3, 1, 2])
    assert torch.equal(by_kernels(clips[order], params[order], device, memory_format=memory_format), ours[order])
    assert torch.equal(clips, pixels(len(params), (3, *size))), "the pixels of a batch are changed"


@on_devices
@pytest.mark.parametrize("params", [drawn(3, seed=4), of_randaugment()[:3]], ids=["full", "randaugment"])
def test_the_layout_in_memory_does_not_matter(params, device):
    """Batches are views: parts of a batch, of its frames, and of its pixels."""
    clips = pixels(3).to(device)
    expected = by_kernels(clips, params, device)
    padded = torch.zeros(6, 3, 7, 12, 31, dtype=torch.uint8, device=device)
    views = {
        "contiguous": clips.contiguous(),
        "every second clip, some rows, every second column": padded[::2, :, 1:-1, 2:-1, 1:-1:2].copy_(clips),
        "columns first": clips.transpose(3, 4).contiguous().transpose(3, 4),
    }
    for name, view in views.items():
        assert torch.equal(by_kernels(view, params, device), expected), name
    still = clips[:, :, :1].expand(-1, -1, 4, -1, -1)
    assert torch.equal(by_kernels(still, params, device), by_kernels(still.contiguous(), params, device))


@on_devices
def test_a_clip_does_not_depend_on_its_batch(device):
    """Otherwise results would change with --gpus, --accumulate and the batch size."""
    params = torch.from_numpy(samples_of_params()[[0, 1, 3, -2, -1]])
    clips = pixels(len(params), (3, 2, 5, 6))
    together = by_kernels(clips, params, device)
    assert torch.equal(by_kernels(clips, params, device), together)
    order = torch.tensor([4, 1, 3])
    assert torch.equal(by_kernels(clips[order], params[order], device), together[order])


@pytest.mark.gpu
def test_batches_of_more_than_2_to_31_numbers():
    """Offsets in int32 would write to other clips, or anywhere."""
    clips = torch.randint(0, 256, (3, 16, 1536, 1536), dtype=torch.uint8, device="cuda").expand(20, -1, -1, -1, -1)
    params = torch.from_numpy(samples_of_params()[-1:]).repeat(20, 1)
    out = torch.empty(clips.shape, dtype=torch.bfloat16, device="cuda", memory_format=torch.channels_last_3d)
    kernels.augment(clips, params, out)
    assert out.numel() > 2**31 and torch.equal(out[-1], out[0])
    assert torch.equal(out[:1].cpu(), by_kernels(clips[:1], params[:1], "cuda", torch.bfloat16))


def test_what_the_kernels_do_not_take():
    """There is no message of an offset that is too large, but wrong pixels."""
    clips = torch.empty(2, 3, 4, 8, 8, dtype=torch.uint8, device="meta")
    assert kernels.may_take(clips)
    assert not kernels.may_take(clips[:0]) and not kernels.may_take(clips[:, :, :0])
    assert not kernels.may_take(clips[:1].expand(2**16, -1, -1, -1, -1))
    large = torch.empty(2, 3, 16, 2**13, 2**13, dtype=torch.uint8, device="meta")
    assert not kernels.may_take(large) and not kernels.may_take(large[:, :, ::15, :5, :5])
    apart = torch.empty_strided((2, 3, 4, 8, 8), (2**33, 256, 64, 8, 1), dtype=torch.uint8, device="meta")
    assert kernels.may_take(apart), "a clip may begin anywhere"
    assert not kernels.may_take(clips[:, :, :1, :1, :1].expand(-1, -1, 16, 2**13, 2**13)), "the result is large"


def test_the_kernels_know_the_columns_of_the_table():
    """A column that is taken for another one would be a wrong picture."""
    for name, column in FIRST_COLUMN.items():
        assert getattr(kernels, name.upper()).value == column


POINTERS = dict.fromkeys(("samples", "table", "taps"), torch.float32)
POINTERS |= {"clips": torch.uint8, "changed": torch.uint8, "levels": torch.uint8, "sampled": torch.int32}


@pytest.mark.skipif(INTERPRETED, reason="the interpreter compiles nothing")
@pytest.mark.parametrize("frames", [1, 2, 4])
@pytest.mark.parametrize(
    ("name", "dtype", "normalisation"),
    [
        ("_look_up_kernel", torch.uint8, "srtg"), ("_sample_kernel", torch.float32, "srtg"),
        *(("_augment_kernel", dtype, "srtg") for dtype in DTYPES),
        ("_augment_kernel", torch.bfloat16, "torchvision"),
    ],
)  # fmt: skip
def test_kernels_compile_for_an_h100(name, dtype, normalisation, frames, tmp_path, monkeypatch):
    """The interpreter accepts what the compiler refuses; and registers that do not suffice make a kernel slow."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel = getattr(kernels, name)
    pointers = {name: of for name, of in (POINTERS | {"out": dtype}).items() if name in kernel.arg_names}
    of_normalisation = kernels.constants_of(NORMALISATIONS[normalisation])
    constants = {"PIXELS": kernels.PIXELS, "FRAMES": frames}
    if name == "_augment_kernel":
        constants |= dict(zip(kernel.arg_names[-len(of_normalisation) :], of_normalisation, strict=True))
    result = compiled(kernel, pointers, constants, kernels.WARPS)
    assert len(result.asm["ptx"].splitlines()) < 5000, "long code takes long to compile, and does not fit a GPU's cache"
    layouts = [line for line in result.asm["ttgir"].splitlines() if line.startswith("#blocked")]
    for layout in layouts:
        assert "threadsPerWarp = [32, 1]" in layout, "neighbouring threads do not have neighbouring pixels"
    assert layouts and "local_alloc" not in result.asm["ttgir"]
    registers, stack = resources(result.asm["cubin"], tmp_path / "kernel.cubin")
    assert registers <= 64, "half of the threads that a multiprocessor may have"
    assert stack <= 32, "registers are spilled; cos and sin take 32 bytes, for angles that there are none of"


def resources(cubin: bytes, path: Path) -> tuple[int, int]:
    """Registers of a thread, and bytes of its stack."""
    path.write_bytes(cubin)
    tool = kernels.triton.knobs.nvidia.cuobjdump.path
    report = subprocess.run([tool, "-res-usage", path], capture_output=True, text=True, check=True).stdout
    (found,) = re.findall(r"REG:(\d+) STACK:(\d+)", report)
    return int(found[0]), int(found[1])
