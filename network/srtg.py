"""Squeeze and Recursion Temporal Gates (Stergiou & Poppe, Pattern Recognition Letters 141, 2021).

Shapes: B clips, C channels, T frames, H x W pixels.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from network.kernels.use import has_hooks, is_eager, may_use_kernels, recursion_failure
from network.recursion import FrameLSTM

PLACEMENTS = ("start", "top", "mid", "end", "res", "final")
"""Where a residual block applies its SRTG.

start: on the block's input, also for the shortcut; top: after the first convolution; mid: after the second; end: after
the last, before the addition (the same as mid in a block of two convolutions); res: on the shortcut; final: on the
block's output.
"""

# Initial values of an LSTM: the diagonal of the cell's input weights, and the biases of its gates. The input and output
# gates start at sigmoid(3) = 0.95, the forget gate at sigmoid(-1) = 0.27.
CELL_DIAGONAL, INPUT_OUTPUT_BIAS, FORGET_BIAS = 2.0, 3.0, -1.0


class SqueezeAndRecursion(nn.Module):
    """Squeeze and recursion, with or without a temporal gate: x (B, C, T, H, W) to a tensor of the same shape.

    x is averaged over H and W to frame vectors a (T, B, C); a two-layer LSTM of width C computes a* from a; the output
    is x times a*, per frame and channel. With `gates`, only clips whose a and a* are cycle-consistent are multiplied;
    the others are returned unchanged.

    On a GPU, x in channels_last_3d goes through the kernels of network/kernels (srtg.py and lstm.py). Elsewhere, and in
    torch.compile and torch.func, the operations are PyTorch's; the kernels do the same.

    No control flow depends on a tensor's values, so the host never waits for the GPU, and torch.compile captures
    everything but the LSTM in one graph (with torch._dynamo.config.allow_rnn, the LSTM too).
    """

    gate_counts: Tensor

    def __init__(self, channels: int, gates: bool = False) -> None:
        super().__init__()
        self.lstm = FrameLSTM(channels, channels, num_layers=2)
        self.gates = gates
        self.counts_gates = gates
        if gates:
            # Open gates and all gates since the last reset. On the device, so that counting needs no synchronisation.
            self.register_buffer("gate_counts", torch.zeros(2, dtype=torch.int64), persistent=False)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Multiply x (B, C, T, H, W) per frame and channel, in clips whose gate is open."""
        weights = _weights_for_kernels(self, x)
        return self.plain(x) if weights is None else self.fused(x, weights)

    def fused(self, x: Tensor, weights: list[Tensor]) -> Tensor:
        """The forward pass by network.kernels.srtg and network.kernels.lstm, with the LSTM's weights."""
        if torch.is_grad_enabled():
            return _Kernels.apply(x, self, *weights)
        return _run_kernels(x, self, weights, is_training=False)[0]

    def plain(self, x: Tensor) -> Tensor:
        """The forward pass without kernels."""
        # The recursion runs in the precision of its weights, float32 also under autocast: in half precision, repeated
        # products of gate activations lose the differences between frames. The extra cost is negligible.
        precision = self.lstm.all_weights[0][0].dtype
        if not torch.is_grad_enabled() or not is_eager():
            return x * self._scale(x.mean((3, 4), dtype=precision)).to(x.dtype)[..., None, None]
        shared = _Shared()
        x, squeezed = _Squeeze.apply(x, precision, shared)
        return _Scale.apply(x, self._scale(squeezed).to(x.dtype)[..., None, None], shared)

    def _scale(self, squeezed: Tensor) -> Tensor:
        """The factors (B, C, T) for frame vectors (B, C, T)."""
        frames = squeezed.permute(2, 0, 1)
        with without_autocast(squeezed.device.type):
            recursed = self.lstm(frames)
        scale = recursed.permute(1, 2, 0)
        if self.gates:
            is_open = temporal_gate(frames.detach(), recursed.detach())
            if self.counts_gates:
                self.gate_counts += torch.stack((is_open.sum(), is_open.new_ones(len(is_open)).sum()))
            # A factor of one returns the clip unchanged and sends no gradient to the recursion.
            scale = torch.where(is_open[:, None, None], scale, 1.0)
        return scale

    def _initialise(self) -> None:
        """Start the recursion near a copy of its input: the output of a layer is about tanh(tanh(2a)).

        PyTorch's default initialisation gives outputs near zero: features shrink to a fiftieth, the network hardly
        learns, and gates stay closed for all clips but single frames. A copy is as large as the features and
        consistent with them.
        """
        channels = self.lstm.hidden_size
        with torch.no_grad():
            for weight, _, bias, _ in self.lstm.all_weights:
                weight[2 * channels : 3 * channels].diagonal().add_(CELL_DIAGONAL)
                input_gate, forget_gate, _, output_gate = bias.chunk(4)
                input_gate.fill_(INPUT_OUTPUT_BIAS)
                forget_gate.fill_(FORGET_BIAS)
                output_gate.fill_(INPUT_OUTPUT_BIAS)


class _Shared:
    """Tensors that the backward pass of `_Scale` passes to the backward pass of `_Squeeze`."""

    def put(self, scale: Tensor, buffer: Tensor) -> None:
        """Keep the factor and a tensor of x's size that may be overwritten."""
        self.tensors = scale, buffer

    def take(self) -> tuple[Tensor, Tensor]:
        """Return what was put and release it."""
        tensors = self.tensors
        del self.tensors
        return tensors


class _Squeeze(torch.autograd.Function):
    """x (B, C, T, H, W) to x itself and its average (B, C, T) over H and W.

    `_Squeeze` and `_Scale` are two halves of one operation around the recursion. Autograd would compute the gradient of
    the product, spread the gradient of the average over all pixels and add the two, each in a new tensor of x's size.
    Here, `_Scale` passes the output's gradient on unchanged, and `_Squeeze` does all three steps in the tensor that
    `_Scale` needs anyway. The gradients have no second derivatives; those of PyTorch's LSTM kernels have none either.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, precision: torch.dtype, shared: _Shared) -> tuple[Tensor, Tensor]:
        ctx.shared, ctx.pixels = shared, x.shape[3] * x.shape[4]
        return x, x.mean((3, 4), dtype=precision)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, unscaled: Tensor, squeezed_gradient: Tensor) -> tuple[Tensor, None, None]:
        scale, buffer = ctx.shared.take()
        spread = (squeezed_gradient / ctx.pixels).to(unscaled.dtype)[..., None, None]
        if unscaled.device.type == "cpu":  # there, addcmul with broadcasting is slower than two passes
            gradient = torch.mul(unscaled, scale, out=buffer).add_(spread)
        else:
            gradient = torch.addcmul(spread, unscaled, scale, out=buffer)
        return gradient, None, None


class _Scale(torch.autograd.Function):
    """x (B, C, T, H, W) times scale (B, C, T, 1, 1). `_Squeeze` multiplies the gradient of x by the scale."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, shared: _Shared) -> Tensor:
        ctx.shared = shared
        ctx.save_for_backward(x, scale)
        return x * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, scale = ctx.saved_tensors
        product = gradient * x
        scale_gradient = product.sum((3, 4), keepdim=True)
        ctx.shared.put(scale, product)
        return gradient, scale_gradient, None


class _Kernels(torch.autograd.Function):
    """Squeeze, recursion, gate and scale of x (B, C, T, H, W) with the weights of the module's LSTM.

    One function, since the host's part of each costs as much as a kernel. Forward: squeeze, the LSTM, the gate, scale;
    backward: the gradient of the factors, the LSTM's, the gradient of x.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, module: SqueezeAndRecursion, *weights: Tensor) -> Tensor:
        out, *saved, kept = _run_kernels(x, module, weights, is_training=any(ctx.needs_input_grad))
        ctx.kept = len(kept)
        ctx.save_for_backward(x, *saved, *kept, *weights)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        from network.kernels import lstm, srtg  # not at import: Triton is not everywhere

        x, frames, recursed, is_open, *others = ctx.saved_tensors
        kept, weights = others[: ctx.kept], others[ctx.kept :]
        gradient = gradient.contiguous(memory_format=torch.channels_last_3d)
        of_factors = srtg.scale_gradient(gradient, x, is_open)
        wanted = ctx.needs_input_grad[0], any(ctx.needs_input_grad[2:])
        of_frames, of_weights = lstm.recurse_back(of_factors, frames, kept, weights, *wanted)
        of_x = None if of_frames is None else srtg.input_gradient(gradient, recursed, is_open, of_frames)
        return of_x, None, *([None] * len(weights) if of_weights is None else of_weights)


def _run_kernels(
    x: Tensor, module: SqueezeAndRecursion, weights: Sequence[Tensor], is_training: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, tuple[Tensor, ...]]:
    """The output for x and, for its backward pass, frames, recursed, the gates that are open, what the LSTM keeps."""
    from network.kernels import lstm, srtg  # not at import: Triton is not everywhere

    frames = srtg.squeeze(x)
    recursed, kept = lstm.recurse(frames, weights, is_training)
    counts = module.gate_counts if module.counts_gates else None
    is_open = None
    if module.gates and len(frames) > 1:
        is_open = srtg.temporal_gate(frames, recursed, counts)
    elif counts is not None:
        counts += len(x)  # the gate of one frame is open
    return srtg.scale(x, recursed, is_open), frames, recursed, is_open, kept


def _weights_for_kernels(module: SqueezeAndRecursion, x: Tensor) -> list[Tensor] | None:
    """The weights of the module's LSTM if the kernels can be used for x, else None."""
    if not may_use_kernels(x) or not _is_made_for_kernels(x, module.gates):
        return None
    if has_hooks(module.lstm):  # the kernels do not call the LSTM
        return None
    return None if recursion_failure(x.device, x.dtype) else module.lstm.plain_weights(x.device)


def _is_made_for_kernels(x: Tensor, gates: bool) -> bool:
    """Whether layout, precision and size of x are those of the kernels; 8 channels are what one load reads."""
    return (
        type(x) is Tensor
        and x.dtype in (torch.bfloat16, torch.float16, torch.float32)
        and x.is_contiguous(memory_format=torch.channels_last_3d)
        and x.shape[1] % 8 == 0
        and x.numel() > 0
        and not (gates and x.shape[2] > 64)
    )


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast switched off; the meta device has none."""
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def temporal_gate(a: Tensor, b: Tensor) -> Tensor:
    """The temporal gate: whether each clip's frame vectors a and b, both (T, B, C), are cycle-consistent: bool (B,).

    The soft nearest neighbour of frame t of a is the mean of b, weighted by a softmax over frames of minus the squared
    distance to a_t. Frame t is consistent if the frame of a nearest to that neighbour is t again; of equally near
    frames, the first counts. A clip is consistent if all its frames are, from a to b and from b to a.
    """
    if a.shape[0] == 1:  # always consistent; len(a) would fix the number of frames of an exported network
        return torch.ones(a.shape[1], dtype=torch.bool, device=a.device)
    # Half precision is too coarse to find the nearest frame. Autocast would compute the matrix product in it.
    precision = torch.promote_types(a.dtype, torch.float32)
    a, b = a.transpose(0, 1).to(precision), b.transpose(0, 1).to(precision)
    with without_autocast(a.device.type):
        distances = _squared_distances(a, b)
        # Both directions at once: (2, B, T, ...).
        soft_neighbours = _means(torch.softmax(-torch.stack((distances, distances.mT)), dim=-1), torch.stack((b, a)))
        nearest = _squared_distances(soft_neighbours, torch.stack((a, b))).argmin(dim=-1)
    return (nearest == torch.arange(a.shape[1], device=a.device)).all(dim=-1).all(dim=0)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances (..., T, T) of each frame of a (..., T, C) to each of b (..., T, C).

    Computed from differences: |a|^2 - 2ab + |b|^2 loses precision for similar frames, as neighbours in a video are.
    """
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(dim=-1)


def _means(weights: Tensor, frames: Tensor) -> Tensor:
    """Means (..., T, C) of frames (..., T, C) with weights (..., T, T).

    On a GPU without a matrix product: in TF32 it rounds to 10 bits, and the nearest frame is another one.
    """
    if frames.device.type == "cuda":
        return (weights.unsqueeze(-1) * frames.unsqueeze(-3)).sum(dim=-2)
    return weights @ frames
