"""Whether the fused operations give PyTorch's results on a GPU: tried once, on little data, before they are used."""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from network.fused import folded_conv
from network.kernels.use import HALF, kept_as_they_are
from network.recursion import FrameLSTM
from network.srtg import SqueezeAndRecursion

CLIPS, CHANNELS, FRAMES, SIZE, SPLITS = 4, 72, 3, 9, 2  # more channels than a tile's least, odd sizes
LSTM_CHANNELS, LSTM_FRAMES = (16, 80), 2  # of multiples of 16, as in networks, Triton makes kernels of their own
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.01, torch.float16: 0.002}  # relative, of all values together
LSTM_TOLERANCE = 1e-5  # of float32: with TF32 alone, the error would be thirty times as large
MOMENTUM, EPS = 0.1, 1e-5
FACTOR = 1.25  # of the branches that stochastic depth keeps

Results: TypeAlias = Sequence[Tensor]


class Operation(NamedTuple):
    """Something to try; each form gives results and gradients."""

    name: str
    fused: Callable[[], Results]
    plain: Callable[[], Results]
    tolerance: float


def failure_of(device: torch.device, dtype: torch.dtype) -> str:
    """Why the fused operations are not to be used on a GPU for activations of `dtype`, in a line; empty if they are.

    It names every operation that fails. Neither the random state nor any mode of the caller changes.
    torch.OutOfMemoryError if there is no memory to try. Squeeze and recursion is not among them.
    """
    return _failures(_operations, device, dtype)


def recursion_failure_of(device: torch.device, dtype: torch.dtype) -> str:
    """As `failure_of`, of squeeze and recursion."""
    return _failures(_recursions, device, dtype)


def _failures(
    operations_of: "Callable[[torch.device, torch.dtype], list[Operation]]", device: torch.device, dtype: torch.dtype
) -> str:
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
        return "; ".join(filter(None, map(_failure, operations)))


def _failure(operation: Operation) -> str:
    """Why an operation is not right; empty if it is."""
    try:
        expected = operation.plain()
        # The second call takes the way of a kernel that is compiled already.
        errors = [_error(operation.fused(), expected) for _ in range(2)]
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # whatever a compiler or a driver raises
        return _described(operation.name, error)
    wrong = [error for error in errors if not error <= operation.tolerance]
    return f"{operation.name} is off by {wrong[0]:.2g}" if wrong else ""


def _described(name: str, error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{name}: {type(error).__name__}: {first}"


class _Data:
    """Random numbers on a device; clips are in channels_last_3d."""

    def __init__(self, device: torch.device, dtype: torch.dtype) -> None:
        self.device, self.dtype = device, dtype
        self.x, self.shortcut, self.gradient = (self.clips(CHANNELS, SIZE) for _ in range(3))
        self.weight, self.bias = (torch.randn(CHANNELS).to(device) for _ in range(2))

    def clips(self, channels: int, size: int) -> Tensor:
        """Clips (B, channels, T, size, size)."""
        x = torch.randn(CLIPS, channels, FRAMES, size, size).to(self.device, self.dtype)
        return x.contiguous(memory_format=torch.channels_last_3d)

    def results(self, function: Callable[..., Tensor], *inputs: Tensor, buffers: Results = ()) -> Results:
        """The function's result for inputs and buffers, the gradients of the inputs, and the buffers."""
        free = [each.detach().requires_grad_() for each in inputs]
        y = function(*free, *buffers)
        gradient = self.gradient[:, :, : y.shape[2], : y.shape[3], : y.shape[4]].to(y.device, y.dtype)
        return [y, *torch.autograd.grad(y, free, gradient), *buffers]

    def norm_results(self, function: Callable[..., Tensor], *inputs: Tensor) -> Results:
        """The same of a batch norm, whose running statistics are its buffers."""
        shape = SPLITS, CHANNELS
        buffers = torch.zeros(shape, device=self.device), torch.ones(shape, device=self.device)
        return self.results(function, *inputs, buffers=buffers)


def _operations(device: torch.device, dtype: torch.dtype) -> list[Operation]:
    """All operations but squeeze and recursion."""
    data = _Data(device, dtype)
    operations = [_norm(data, False), _norm(data, True), _pool(data), _norm_and_pool(data)]
    if dtype in HALF:
        operations += [_stem(data, size) for size in (SIZE, SIZE + 1)]  # odd and even widths have different kernels
    return operations


def _norm(data: _Data, drops: bool) -> Operation:
    from network.kernels.norm import norm_add_relu  # not at import: Triton is not everywhere

    inputs = data.x, data.shortcut, data.weight, data.bias
    kept = (torch.arange(CLIPS) % 3 > 0).float().to(data.device) if drops else None
    fused = partial(norm_add_relu, tracked=None, momentum=MOMENTUM, eps=EPS, relu=True, kept=kept, factor=FACTOR)
    return Operation(
        "batch norm" + " with stochastic depth" * drops,
        lambda: data.norm_results(fused, *inputs),
        lambda: data.norm_results(partial(_plain_norm, kept=kept), *inputs),
        TOLERANCE[data.dtype],
    )


def _pool(data: _Data) -> Operation:
    from network.kernels import pool

    return Operation(
        "max-pool",
        lambda: data.results(lambda x: pool.max_pool(x, 3), data.x),
        lambda: data.results(_plain_pool, data.x.float().cpu()),  # on some GPUs not deterministic
        TOLERANCE[data.dtype],
    )


def _norm_and_pool(data: _Data) -> Operation:
    from network.kernels.norm_pool import norm_relu_pool

    inputs = data.x, data.weight, data.bias
    fused = partial(norm_relu_pool, tracked=None, momentum=MOMENTUM, eps=EPS, frames=3)
    return Operation(
        "batch norm and max-pool",
        lambda: data.norm_results(fused, *inputs),
        lambda: data.norm_results(_plain_norm_and_pool, *inputs),
        TOLERANCE[data.dtype],
    )


def _stem(data: _Data, size: int) -> Operation:
    colours = data.clips(3, size)
    weight = torch.randn(CHANNELS, 3, 3, 7, 7).to(data.device, data.dtype)

    def plain(weight: Tensor) -> Tensor:
        return F.conv3d(colours.double(), weight.double(), stride=(1, 2, 2), padding=(1, 3, 3))

    return Operation(
        f"stem, {size} pixels wide",
        lambda: data.results(partial(folded_conv, colours), weight),
        lambda: data.results(plain, weight),
        TOLERANCE[data.dtype],
    )


def _recursions(device: torch.device, dtype: torch.dtype) -> list[Operation]:
    """The LSTM, at a width for each of its kernels, and all of squeeze and recursion."""
    data = _Data(device, dtype)
    of_lstm = [_lstm(device, channels) for channels in LSTM_CHANNELS]
    return [*of_lstm, *(_squeeze_and_recursion(data, gates) for gates in (False, True))]


def _lstm(device: torch.device, channels: int) -> Operation:
    from network.kernels.lstm import recurse, recurse_back

    lstm = FrameLSTM(channels, channels, num_layers=2)
    frames, gradient = torch.randn(2, LSTM_FRAMES, CLIPS, channels)

    def fused() -> Results:
        weights = [weight.detach().to(device) for weight in lstm.parameters()]
        x = frames.to(device)
        recursed, kept = recurse(x, weights, is_training=True)
        of_frames, of_weights = recurse_back(gradient.to(device), x, kept, weights, of_x=True, of_weights=True)
        assert of_frames is not None and of_weights is not None
        return [recursed, of_frames, *of_weights]

    def plain() -> Results:
        exact, free = copy.deepcopy(lstm).double(), frames.double().requires_grad_()
        recursed = exact(free)
        return [recursed, *torch.autograd.grad(recursed, [free, *exact.parameters()], gradient.double())]

    return Operation(f"LSTM of {channels} channels", fused, plain, LSTM_TOLERANCE)


def _squeeze_and_recursion(data: _Data, gates: bool) -> Operation:
    module = SqueezeAndRecursion(CHANNELS, gates).to(data.device)
    frames = torch.randn(CLIPS, CHANNELS, FRAMES, 1, 1)  # differ as much as opens the gates
    x = (data.x + frames.to(data.x)).contiguous(memory_format=torch.channels_last_3d)
    x[0] = x[0, :, :1]  # equal frames, whose gate is closed

    def results(module: SqueezeAndRecursion, x: Tensor, form: Callable[[Tensor], Tensor]) -> Results:
        free = x.detach().requires_grad_()
        y = form(free)
        return [y, *torch.autograd.grad(y, [free, *module.parameters()], data.gradient.to(y.dtype))]

    def fused() -> Results:
        return results(module, x, lambda x: module.fused(x, module.lstm._flat_weights))

    def plain() -> Results:
        exact = copy.deepcopy(module).double()
        return results(exact, x.double(), exact.plain)

    name = "squeeze and recursion" + " with gates" * gates
    return Operation(name, fused, plain, TOLERANCE[data.dtype])


def _plain_norm(
    x: Tensor, shortcut: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor, kept: Tensor | None = None
) -> Tensor:
    x = x.float()  # so that it rounds no sooner than the fused operation
    parts = [F.batch_norm(x[s::SPLITS], mean[s], var[s], weight, bias, True, MOMENTUM, EPS) for s in range(SPLITS)]
    normed = torch.stack(parts, 1).flatten(0, 1)
    return F.relu((normed if kept is None else normed * kept.view(-1, 1, 1, 1, 1) * FACTOR) + shortcut)


def _plain_pool(x: Tensor) -> Tensor:
    return F.max_pool3d(x, 3, 2, 1)


def _plain_norm_and_pool(x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    return _plain_pool(_plain_norm(x, torch.zeros_like(x), weight, bias, mean, var))


def _error(ours: Results, expected: Results) -> float:
    """The largest relative error of a result, by the Euclidean norm; not a number if one is not finite."""
    errors = [_relative(a.float().cpu(), b.float().cpu()) for a, b in zip(ours, expected, strict=True)]
    return sum(errors) if math.isnan(sum(errors)) else max(errors)


def _relative(a: Tensor, b: Tensor) -> float:
    return ((a - b).norm() / b.norm().clamp(min=1e-30)).item()  # zeros are expected where nothing has a gradient
