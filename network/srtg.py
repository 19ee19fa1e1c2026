"""Squeeze and Recursion Temporal Gates (Stergiou & Poppe, Pattern Recognition Letters 141, 2021).

Shapes: B clips, C channels, T frames, H x W pixels.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

PLACEMENTS = ("start", "top", "mid", "end", "res", "final")
"""Where a residual block applies its SRTG.

start: on the block's input, shortcut included; top: after the first convolution; mid: after the second; end: after the
last, before the addition (in a block of two convolutions this is mid); res: on the shortcut; final: on the output.
"""

# Initial values of an LSTM's cell weights' diagonal and gate biases, before the sigmoid: what lets frames in and out is
# nine tenths open, and a quarter of the past is kept.
COPY_GAIN, OPEN, FORGETFUL = 2.0, 3.0, -1.0


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
        self.lstm = nn.LSTM(channels, channels, num_layers=2)
        self.gates = gates
        if gates:
            # Open gates and all gates since the last reset. Kept on the device, so that counting waits for nothing.
            self.register_buffer("gate_counts", torch.zeros(2, dtype=torch.int64), persistent=False)
        self._initialise()

    def forward(self, x: Tensor) -> Tensor:
        """Return x (B, C, T, H, W) scaled per frame and channel."""
        # The recursion runs in the precision of its weights, float32 under autocast too: the products of many gate
        # activations in half precision lose what tells one frame from the next, and it costs next to nothing.
        frames = x.mean((3, 4), dtype=self.lstm.all_weights[0][0].dtype).permute(2, 0, 1)
        with _without_autocast(x.device.type):
            recursed, _ = self.lstm(frames)
        scale = recursed.permute(1, 2, 0)
        if self.gates:
            is_open = temporal_gate(frames.detach(), recursed.detach())
            self.gate_counts += torch.stack((is_open.sum(), is_open.new_ones(len(is_open)).sum()))
            # A factor of one passes a clip through exactly, and no gradient reaches the recursion from it.
            scale = torch.where(is_open[:, None, None], scale, 1.0)
        return x * scale.to(x.dtype)[..., None, None]

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
                enter, forget, _, leave = bias.chunk(4)
                enter.fill_(OPEN)
                forget.fill_(FORGETFUL)
                leave.fill_(OPEN)


def _without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Autocast switched off; nothing on devices that have none, such as meta."""
    if torch.amp.is_autocast_available(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def temporal_gate(a: Tensor, b: Tensor) -> Tensor:
    """Whether each clip's frame vectors a and b, both (T, B, C), are consistent both ways: bool (B,).

    All frames of a must return to themselves through b, and all of b through a (section 3.2 of the paper).
    """
    # Distances of half precision are too coarse to find the nearest frame.
    precision = torch.promote_types(a.dtype, torch.float32)
    a, b = a.transpose(0, 1).to(precision), b.transpose(0, 1).to(precision)
    return _returns(a, b) & _returns(b, a)


def _returns(a: Tensor, b: Tensor) -> Tensor:
    """Whether every frame of a (B, T, C) is the one nearest to its soft nearest neighbour in b (B, T, C): bool (B,).

    Of frames equally near, the first counts as nearest.
    """
    soft_neighbours = torch.softmax(-_squared_distances(a, b), dim=-1) @ b
    nearest = _squared_distances(soft_neighbours, a).argmin(dim=-1)
    return (nearest == torch.arange(a.shape[1], device=a.device)).all(dim=-1)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """Squared Euclidean distances (B, T, T) of each frame of a (B, T, C) to each of b (B, T, C).

    By differences: the usual |a|^2 - 2ab + |b|^2 by a matrix product cancels where frames are alike, as in a video.
    """
    return (a[:, :, None] - b[:, None]).square().sum(dim=-1)


class VideoNetwork(nn.Module):
    """A network from clips (B, 3, T, H, W) to logits (B, classes), whose temporal gates can be read out."""

    name: str = ""
    """What create_network knows it as; empty if it was built in another way."""

    def open_gate_fractions(self) -> dict[str, Tensor]:
        """The share of clips whose gate was open since the last reset, by block: tensors (), left on the device.

        Empty for a network without gates; NaN for a block that saw no clip.
        """
        return {
            name.removesuffix(".sar"): module.gate_counts[0] / module.gate_counts[1]
            for name, module in self.named_modules()
            if isinstance(module, SqueezeAndRecursion) and module.gates
        }

    def reset_open_gate_fractions(self) -> None:
        """Count open gates from zero again."""
        for module in self.modules():
            if isinstance(module, SqueezeAndRecursion) and module.gates:
                module.gate_counts.zero_()
