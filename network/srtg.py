"""Squeeze and Recursion Temporal Gates (Stergiou & Poppe, Pattern Recognition Letters 141, 2021).

Shapes: B clips, C channels, T frames, H x W pixels.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

PLACEMENTS = ("start", "top", "mid", "end", "res", "final")
"""Where a residual block applies its SRTG.

start: on the block's input, shortcut included; top: after the first convolution; mid: after the second; end: after the
last, before the addition (in a block of two convolutions this is mid); res: on the shortcut; final: on the output.
"""

# Initial values of an LSTM's cell weights' diagonal and gate biases, before the sigmoid: what lets frames in and out is
# nine tenths open, and a quarter of the past is kept.
COPY_GAIN, OPEN, FORGETFUL = 2.0, 3.0, -1.0


class FrameLSTM(nn.LSTM):
    """nn.LSTM over the frame vectors a (T, B, C) of clips, from a zero state: the hidden states (T, B, C).

    On the CPU one or two frames are run by plain products: PyTorch's kernel there first reorders all weights, which for
    so short a sequence takes three times as long as the recursion. GPUs and longer sequences use PyTorch's kernel.
    """

    SHORT = 2

    def forward(self, frames: Tensor) -> Tensor:  # type: ignore[override]
        """Hidden states (T, B, C) of the last layer."""
        if frames.device.type != "cpu" or len(frames) > self.SHORT:
            return super().forward(frames)[0]
        hidden_states = frames
        for weight_ih, weight_hh, bias_ih, bias_hh in self.all_weights:
            hidden = cell = frames.new_zeros(frames.shape[1:])
            outputs = []
            for inputs in F.linear(hidden_states, weight_ih, bias_ih):
                # Also from the zero state, so that each weight has a gradient whatever the number of frames.
                sums = inputs + F.linear(hidden, weight_hh, bias_hh)
                input_gate, forget_gate, candidate, output_gate = sums.chunk(4, dim=-1)
                cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
                hidden = output_gate.sigmoid() * cell.tanh()
                outputs.append(hidden)
            hidden_states = torch.stack(outputs)
        return hidden_states


class SqueezeAndRecursion(nn.Module):
    """Scales each frame and channel of x (B, C, T, H, W) by what an LSTM makes of the frames up to it.

    x is averaged over H and W to frame vectors a (T, B, C); a two-layer LSTM of width C gives a*; the output is
    x times a*. With `gates` this holds for the clips whose a and a* are cycle-consistent, and the others pass through.

    Nothing here depends on a value, so the host never waits and torch.compile takes all but the LSTM into one graph.
    The LSTM too, and so the whole network with fullgraph=True, where torch._dynamo.config.allow_rnn is set.
    """

    gate_counts: Tensor

    def __init__(self, channels: int, gates: bool = False) -> None:
        super().__init__()
        self.lstm = FrameLSTM(channels, channels, num_layers=2)
        self.gates = gates
        self.counts_gates = gates
        if gates:
            # Open gates and all gates since the last reset. Kept on the device, so that counting waits for nothing.
            self.register_buffer("gate_counts", torch.zeros(2, dtype=torch.int64), persistent=False)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, T, H, W) scaled per frame and channel."""
        # The recursion runs in the precision of its weights, float32 under autocast too: the products of many gate
        # activations in half precision lose what tells one frame from the next, and it costs next to nothing.
        precision = self.lstm.all_weights[0][0].dtype
        if not _may_fuse():
            return x * self._scale(x.mean((3, 4), dtype=precision)).to(x.dtype)[..., None, None]
        shared = _Shared()
        x, squeezed = _Squeeze.apply(x, precision, shared)
        return _Scale.apply(x, self._scale(squeezed).to(x.dtype)[..., None, None], shared)

    def _scale(self, squeezed: Tensor) -> Tensor:
        """The factors (B, C, T) for frame vectors (B, C, T)."""
        frames = squeezed.permute(2, 0, 1)
        with _without_autocast(squeezed.device.type):
            recursed = self.lstm(frames)
        scale = recursed.permute(1, 2, 0)
        if self.gates:
            is_open = temporal_gate(frames.detach(), recursed.detach())
            if self.counts_gates:
                self.gate_counts += torch.stack((is_open.sum(), is_open.new_ones(len(is_open)).sum()))
            # A factor of one passes a clip through exactly, and no gradient reaches the recursion from it.
            scale = torch.where(is_open[:, None, None], scale, 1.0)
        return scale

    def _initialise(self) -> None:
        """Start the recursion as a soft copy of its frames: each layer's output near tanh(tanh(2a)).

        From PyTorch's own initial values the output is near zero, the features are scaled to a fiftieth, and the
        network hardly learns; gates, which let only consistent recursions act, would stay closed for all but single
        frames. A copy is as large as the features and consistent with them.
        """
        channels = self.lstm.hidden_size
        with torch.no_grad():
            for weight, _, bias, _ in self.lstm.all_weights:
                weight[2 * channels : 3 * channels].diagonal().add_(COPY_GAIN)
                input_gate, forget_gate, _, output_gate = bias.chunk(4)
                input_gate.fill_(OPEN)
                forget_gate.fill_(FORGETFUL)
                output_gate.fill_(OPEN)


class _Shared:
    """What the backward pass of `_Scale` hands to that of `_Squeeze`."""

    def put(self, scale: Tensor, buffer: Tensor) -> None:
        """Keep the factor, and a tensor of x's size that may be overwritten."""
        self.tensors = scale, buffer

    def take(self) -> tuple[Tensor, Tensor]:
        """What was put, once."""
        tensors = self.tensors
        del self.tensors
        return tensors


class _Squeeze(torch.autograd.Function):
    """x (B, C, T, H, W) as it is, and averaged over H and W.

    `_Squeeze` and `_Scale` are two halves of one operation around the recursion. Written plainly, the backward pass
    makes the product's gradient, spreads the average's over all pixels and adds the two, each in a new tensor of x's
    size. Here `_Scale` passes the output's gradient on as it is, and `_Squeeze` does all of that in the one tensor that
    `_Scale` had to make anyway. The gradients cannot be differentiated again, nor can those of PyTorch's LSTM kernels.
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
        if unscaled.device.type == "cpu":  # whose addcmul with broadcasting is slower than two passes
            gradient = torch.mul(unscaled, scale, out=buffer).add_(spread)
        else:
            gradient = torch.addcmul(spread, unscaled, scale, out=buffer)
        return gradient, None, None


class _Scale(torch.autograd.Function):
    """x (B, C, T, H, W) times scale (B, C, T, 1, 1); its gradient for x lacks the factor, see `_Squeeze`."""

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


def _may_fuse() -> bool:
    """Whether the backward pass by hand applies: torch.compile fuses by itself, torch.func needs plain operations."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled():
        return False
    return not torch._C._are_functorch_transforms_active()


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast switched off; nothing on the device that has none."""
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)


def temporal_gate(a: Tensor, b: Tensor) -> Tensor:
    """Whether each clip's frame vectors a and b, both (T, B, C), are consistent both ways: bool (B,).

    All frames of a must return to themselves through b, and all of b through a (section 3.2 of the paper): each is the
    one nearest to its soft nearest neighbour among the others. Of frames equally near, the first counts as nearest.
    """
    if a.shape[0] == 1:  # nearest to anything; len(a) would make an exported number of frames a constant
        return torch.ones(a.shape[1], dtype=torch.bool, device=a.device)
    # Distances of half precision are too coarse to find the nearest frame.
    precision = torch.promote_types(a.dtype, torch.float32)
    a, b = a.transpose(0, 1).to(precision), b.transpose(0, 1).to(precision)
    distances = _squared_distances(a, b)
    # Both directions at once: (2, B, T, ...).
    soft_neighbours = torch.softmax(-torch.stack((distances, distances.mT)), dim=-1) @ torch.stack((b, a))
    nearest = _squared_distances(soft_neighbours, torch.stack((a, b))).argmin(dim=-1)
    return (nearest == torch.arange(a.shape[1], device=a.device)).all(dim=-1).all(dim=0)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances (..., T, T) of each frame of a (..., T, C) to each of b (..., T, C).

    By differences: the usual |a|^2 - 2ab + |b|^2 by a matrix product cancels where frames are alike, as in a video.
    """
    return (a.unsqueeze(-2) - b.unsqueeze(-3)).square().sum(dim=-1)
