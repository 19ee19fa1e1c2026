"""Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) over space and time.

Shapes: T frames of h x w pixels of a clip; C channels, t x y x x positions of a layer.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from network import VideoNetwork


def grad_cam(network: VideoNetwork, clip: Tensor, layer: str, target: int) -> Tensor:
    """The heat of class `target` at a layer for a normalised clip (1, 3, T, h, w): float32 (t, y, x), 0 or more.

    Each channel of the layer's output is weighted by the mean of its gradient of the class's logit over all positions;
    the heat is the weighted sum of the channels where it is positive. The network is in evaluation mode.
    """
    outputs: list[Tensor] = []

    def cut(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """What comes before the layer needs no gradient."""
        outputs.append(output.detach().requires_grad_())
        return outputs[0]

    handle = network.get_submodule(layer).register_forward_hook(cut)
    try:
        with torch.enable_grad():
            logits = network(clip)
            (features,) = outputs
            (gradient,) = torch.autograd.grad(logits[0, target], features)
    finally:
        handle.remove()
    weights = gradient.mean((2, 3, 4), keepdim=True)
    return (weights * features.detach()).sum(dim=1)[0].relu()


def on_frames(heat: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The heat at each pixel of each frame, (T, h, w), between 0 and 1: its maximum is 1, unless it is 0 everywhere."""
    if not heat.max() > 0:
        return heat.new_zeros(size)
    values = F.interpolate(heat[None, None], size, mode="trilinear", align_corners=False)[0, 0]
    return values / values.max()
