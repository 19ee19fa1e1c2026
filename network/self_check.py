"""Whether the fused operations give PyTorch's results on a GPU: tried once, on little data, before they are used."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from common.errors import NetworkError
from network.fused import folded_conv
from network.kernels.use import HALF, kept_as_they_are
from network.recursion import CudnnRecursion, FrameLSTM, OwnRecursion
from network.srtg import SqueezeAndRecursion

CLIPS, CHANNELS, FRAMES, SIZE, SPLITS = 4, 72, 3, 9, 2  # more channels than a tile's least, odd sizes
LSTM_CHANNELS, LSTM_FRAMES = (16, 80), 2  # of multiples of 16, as in networks, Triton makes kernels of their own
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.01, torch.float16: 0.002}  # relative, of all values together
LSTM_TOLERANCE = 1e-5  # of float32: with TF32 alone, the error would be thirty times as large


def failure_of(device: torch.device, dtype: torch.dtype) -> str:
    """Why the fused operations are not to be used on a GPU for activations of `dtype`, in a line; empty if they are.

    It names every operation that fails. Neither the random state nor any mode of the caller changes.
    torch.OutOfMemoryError if there is no memory to try.
    """
    return _failures(_operations, device, dtype, TOLERANCE[dtype])


def lstm_failure_of(device: torch.device, dtype: torch.dtype) -> str:
    """As `failure_of`, of the LSTM's own kernels alone."""
    return _failures(_recursions, device, dtype, LSTM_TOLERANCE)


def _failures(
    operations_of: "Callable[[torch.device, torch.dtype], list[Named]]", device: torch.device, dtype: torch.dtype,
    tolerance: float,
) -> str:  # fmt: skip
    with (
        torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False),
        torch.random.fork_rng([]), torch.device("cpu"), kept_as_they_are(),
    ):  # fmt: skip
        torch.random.default_generator.manual_seed(0)  # of the CPU alone: nothing is drawn on the GPU
        try:
            operations = operations_of(device, dtype)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # Triton cannot be imported
            return _described("Triton", error)
        reasons = [_failure(*operation, tolerance) for operation in operations]
    return "; ".join(filter(None, reasons))


Results = Sequence[Tensor]
Operation = Callable[[], Results]
Named = tuple[str, Operation, Operation]  # its fused and its plain form; each gives results and gradients


def _failure(name: str, fused: Operation, plain: Operation, tolerance: float) -> str:
    """Why an operation is not right; empty if it is."""
    try:
        expected = plain()
        # The second call takes the way of a kernel that is compiled already.
        errors = [_error(fused(), expected) for _ in range(2)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver raises
        return _described(name, error)
    wrong = [error for error in errors if not error <= tolerance]
    return f"{name} is off by {wrong[0]:.2g}" if wrong else ""


def _described(name: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{name}: {type(error).__name__}: {first}"


def _recursions(device: torch.device, dtype: torch.dtype) -> list[Named]:
    """The LSTM by its own kernels, at a width for each of them."""

    def recursion(channels: int) -> Named:
        lstm = FrameLSTM(channels, channels, num_layers=2)
        frames, gradient = torch.randn(2, LSTM_FRAMES, CLIPS, channels)

        def fused() -> Results:
            weights = [weight.detach().to(device) for weight in lstm.parameters()]
            x = frames.to(device)
            recursed, kept = OwnRecursion().forward(x, x, weights, True)
            of_frames, of_weights = OwnRecursion().backward(gradient.to(device), x, recursed, kept, weights, True, True)
            return [each for each in (recursed, of_frames, *of_weights) if each is not None]

        def plain() -> Results:
            exact, free = copy.deepcopy(lstm).double(), frames.double().requires_grad_()
            recursed = exact(free)
            return [recursed, *torch.autograd.grad(recursed, [free, *exact.parameters()], gradient.double())]

        return f"LSTM of {channels} channels", fused, plain

    return [recursion(channels) for channels in LSTM_CHANNELS]


def _operations(device: torch.device, dtype: torch.dtype) -> list[Named]:
    """All operations but the LSTM's own kernels."""
    from network.kernels import norm as norms  # not at import: Triton is not everywhere
    from network.kernels import norm_pool, pool, srtg

    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        x = torch.randn(*shape, generator=generator).to(device, dtype)
        return x.contiguous(memory_format=torch.channels_last_3d) if len(shape) == 5 else x

    x, shortcut, gradient = (random(CLIPS, CHANNELS, FRAMES, SIZE, SIZE) for _ in range(3))
    weight, bias = (random(CHANNELS).float() for _ in range(2))

    def with_gradients(y: Tensor, inputs: Results, statistics: Results = ()) -> Results:
        of_result = gradient[:, :, : y.shape[2], : y.shape[3], : y.shape[4]].to(y.device)
        return [y, *torch.autograd.grad(y, inputs, of_result), *statistics]

    def norm(function: Callable[..., Tensor]) -> Results:
        inputs = [each.detach().requires_grad_() for each in (x, shortcut, weight, bias)]
        statistics = [torch.zeros(SPLITS, CHANNELS, device=device), torch.ones(SPLITS, CHANNELS, device=device)]
        return with_gradients(function(*inputs, *statistics), inputs, statistics)

    def norm_and_pool(function: Callable[..., Tensor]) -> Results:
        inputs = [each.detach().requires_grad_() for each in (x, weight, bias)]
        statistics = [torch.zeros(SPLITS, CHANNELS, device=device), torch.ones(SPLITS, CHANNELS, device=device)]
        return with_gradients(function(*inputs, *statistics), inputs, statistics)

    def pooled(function: Callable[[Tensor], Tensor], x: Tensor) -> Results:
        inputs = [x.detach().requires_grad_()]
        return with_gradients(function(*inputs), inputs)

    def recursed(module: SqueezeAndRecursion, is_fused: bool) -> Results:
        if is_fused:
            free, buffer = x.detach().requires_grad_(), module.lstm.weight_buffer()
            if buffer is None:
                raise NetworkError("cuDNN cannot be called with the LSTM's weights")
            return with_gradients(module.fused(free, srtg, CudnnRecursion(buffer)), [free, *module.parameters()])
        free, exact = x.double().requires_grad_(), copy.deepcopy(module).double()
        return with_gradients(exact.plain(free), [free, *exact.parameters()])

    of_stem = random(16, 3, 3, 7, 7)

    def stem(colours: Tensor, is_folded: bool) -> Results:
        weight = of_stem.detach().requires_grad_()
        if is_folded:
            y = folded_conv(colours, weight)
        else:
            y = F.conv3d(colours.double(), weight.double(), stride=(1, 2, 2), padding=(1, 3, 3))
        return [y, *torch.autograd.grad(y, [weight], torch.ones_like(y))]

    operations = [
        (
            "batch norm",
            lambda: norm(partial(norms.norm_add_relu, tracked=None, momentum=0.1, eps=1e-5, relu=True)),
            lambda: norm(_plain_norm),
        ),
        (
            "max-pool",
            lambda: pooled(lambda x: pool.max_pool(x, 3), x),
            lambda: pooled(lambda x: F.max_pool3d(x, 3, 2, 1), x.float().cpu()),  # on some GPUs not deterministic
        ),
    ]
    both = partial(norm_pool.norm_relu_pool, tracked=None, momentum=0.1, eps=1e-5, frames=3)
    operations.append(
        ("batch norm and max-pool", lambda: norm_and_pool(both), lambda: norm_and_pool(_plain_norm_and_pool))
    )
    for size in (SIZE, SIZE + 1) if dtype in HALF else ():  # there is a kernel for odd widths, and one for even ones
        colours = random(CLIPS, 3, FRAMES, size, size)
        operations.append((f"stem, {size} pixels wide", partial(stem, colours, True), partial(stem, colours, False)))
    if device.type == "cuda":  # in Triton's interpreter there is no cuDNN
        for gates in (False, True):
            module = SqueezeAndRecursion(CHANNELS, gates).to(device)
            name = "squeeze and recursion" + " with gates" * gates
            operations.append((name, partial(recursed, module, True), partial(recursed, module, False)))
    return operations


def _plain_norm(x: Tensor, shortcut: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    x = x.float()  # so that it rounds no sooner than the fused operation
    parts = [F.batch_norm(x[s::SPLITS], mean[s], var[s], weight, bias, True, 0.1, 1e-5) for s in range(SPLITS)]
    return F.relu(torch.stack(parts, 1).flatten(0, 1) + shortcut)


def _plain_norm_and_pool(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return F.max_pool3d(_plain_norm(x, torch.zeros_like(x), weight, bias, mean, var), 3, 2, 1)


def _error(ours: Results, expected: Results) -> float:
    """The largest relative error of a result, by the Euclidean norm; not a number if one is not finite."""
    errors = [_relative(a.float().cpu(), b.float().cpu()) for a, b in zip(ours, expected, strict=True)]
    return sum(errors) if math.isnan(sum(errors)) else max(errors)


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()
