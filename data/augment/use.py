"""When clips are augmented by kernels: on a GPU, if their results are those of plain.py. Tried once, on little data."""

import warnings

import numpy as np
import torch
from torch import Tensor

from common.kernels.switch import are_wanted, has_triton
from common.normalisation import SRTG, Normalisation
from data.augment import plain
from data.augment.params import KINDS, NAMED_DTYPE, identity_params, random_params_of_kind
from data.augment.randaugment import params_of

SHAPE = (3, 5, 13, 15)  # channels, frames and size of a clip: more than a tile of pixels and frames, odd sizes
SEED = 6  # of the tried parameters: both a rotation and a perspective are blurred
TOLERANCE = 0.05  # grey levels: coordinates in float32 are off by less
OF_RANDAUGMENT = (
    ("solarize", "equalize", "posterize", "contrast", "brightness", "autocontrast"),
    ("rotate", "translate x", "equalize", "shear y", "sharpness", "colour"),
    ("shear x", "colour", "autocontrast", "translate y", "identity"),
    ("sharpness", "contrast"),
)
"""Operations of clips that are tried: tables of levels alone, with samples, with weighted pixels, and with both."""
MAGNITUDE = 12  # of these
Key = tuple[torch.device, torch.dtype, torch.memory_format, Normalisation]
_failures: dict[Key, str] = {}


def may_use_kernels(
    clips: Tensor, out: Tensor, memory_format: torch.memory_format, normalisation: Normalisation = SRTG
) -> bool:
    """Whether the kernels take uint8 clips (B, 3, T, h, w) to `out`, which is in a memory format."""
    if not (
        clips.is_cuda
        and clips.dtype == torch.uint8
        and are_wanted()
        and has_triton()
        and not torch.compiler.is_compiling()
        and clips.device.index == torch.cuda.current_device()  # Triton launches there
        and not failure(clips.device, out.dtype, memory_format, normalisation)
    ):
        return False
    from data.augment import kernels  # not at import: Triton is not everywhere

    return kernels.may_take(clips)


def failure(
    device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format, normalisation: Normalisation = SRTG
) -> str:
    """Why a GPU's results of the kernels are not to be used; empty if they are right. Tried once.

    A warning says so. It waits for the GPU, and takes some seconds where the kernels are not compiled yet.
    torch.OutOfMemoryError if there is no memory to try them.
    """
    key = device, dtype, memory_format, normalisation
    if key not in _failures:
        reason = _failures[key] = failure_of(*key)
        if reason:
            warnings.warn(f"augmentation is not fused, since its kernels fail on this GPU: {reason}", stacklevel=2)
    return _failures[key]


def description_of_kernels(
    device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format, normalisation: Normalisation = SRTG
) -> str:
    """Whether a GPU augments by kernels, in a line for the log; tries them."""
    if not has_triton():
        return "fused augmentation: not used, Triton is not installed"
    reason = failure(device, dtype, memory_format, normalisation)
    if reason:
        return f"fused augmentation: not used, {reason}"
    return "fused augmentation: used, its results are right"


def failure_of(
    device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format, normalisation: Normalisation = SRTG
) -> str:
    """As `failure`, tried now and without a warning."""
    try:
        return _wrong(device, dtype, memory_format, normalisation)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver raises, or Triton where it cannot be imported
        first = (str(error).strip().splitlines() or [""])[0]
        return f"{type(error).__name__}: {first}"


@torch.no_grad()
def _wrong(
    device: torch.device, dtype: torch.dtype, memory_format: torch.memory_format, normalisation: Normalisation
) -> str:
    from data.augment import kernels  # not at import: Triton is not everywhere

    params = torch.from_numpy(samples_of_params())
    channels, *size = SHAPE
    levels = np.random.default_rng(0).integers(0, 256, (len(params), *size, channels), dtype=np.uint8)
    clips = torch.from_numpy(levels).permute(0, 4, 1, 2, 3)  # as the loader's
    expected = torch.empty(clips.shape, dtype=torch.float32, device="cpu")
    plain.augment(clips, params, expected, normalisation)
    on_device = torch.empty_like(clips, dtype=dtype, device=device, memory_format=memory_format)
    clips = clips.to(device)
    # The second call takes the way of a kernel that is compiled already.
    for _ in range(2):
        kernels.augment(clips, params, on_device.fill_(float("nan")), normalisation)
        error = error_of(on_device.cpu(), expected, normalisation)
        if not error <= TOLERANCE:
            return f"their results are off by {error:.2g} grey levels"
    return ""


def samples_of_params() -> np.ndarray:
    """Parameters (n, NUM_PARAMS): of no augmentation, of each kind alone, of RandAugment, and of all kinds together."""
    rng = np.random.default_rng(SEED)
    alone = [random_params_of_kind(kind, rng) for kind in KINDS]
    together = identity_params()[None].repeat(2, 0)
    for kind in KINDS:
        drawn = np.stack([random_params_of_kind(kind, rng) for _ in together])
        together = np.where(drawn == identity_params(), together, drawn)
    randaugment = [
        params_of([(name, MAGNITUDE, 1 - 2 * (place % 2)) for place, name in enumerate(names)])
        for names in OF_RANDAUGMENT
    ]
    params = np.stack([identity_params(), *alone, *randaugment, *together])
    sigma = params.view(NAMED_DTYPE)["blur_sigma"]
    sigma[sigma != 0] = 0.3  # a smaller one may be invisible
    return params


def error_of(ours: Tensor, expected: Tensor, normalisation: Normalisation = SRTG) -> float:
    """The largest difference to `expected`, float32, in grey levels, beyond a step of the dtype of `ours`.

    Not a number if a value is not.
    """
    step = torch.finfo(ours.dtype).eps * expected.abs()
    levels = torch.tensor(normalisation.std).view(3, 1, 1, 1)
    return float((((ours.float() - expected).abs() - step) * levels).max())
