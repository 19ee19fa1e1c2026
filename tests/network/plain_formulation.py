"""A second implementation of the networks, written from their description: functional, slow, from a state dict.

It shares no code with the package, so that the two can disagree. Evaluation mode only.
"""

import math
import zlib

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def fill(state_dict: Weights) -> Weights:
    """Weights in float64 that depend only on names and shapes, scaled so that activations stay near one."""
    filled = {}
    for name, tensor in state_dict.items():
        values = noise(zlib.crc32(name.encode()), *tensor.shape)
        if name.endswith("num_batches_tracked"):
            filled[name] = tensor.clone()
        elif "lstm" in name:
            filled[name] = values / math.sqrt(tensor.shape[-1]) if tensor.dim() > 1 else 1 + 0.3 * values
        elif tensor.dim() > 1:
            filled[name] = values * math.sqrt(2 / tensor[0].numel())
        elif name.endswith(("running_var", "weight")):
            filled[name] = 1 + 0.1 * values
        else:
            filled[name] = 0.1 * values
    return filled


def clips(*shape: int) -> Tensor:
    """Clips in float64 of mean 0 and variance 1."""
    return noise(1, *shape)


def noise(seed: int, *shape: int) -> Tensor:
    """Uniform numbers of mean 0 and variance 1 from an integer hash: the same with every version of torch."""
    bits = (torch.arange(math.prod(shape)) + seed) * 0x9E3779B1 & 0xFFFFFFFF
    bits = (bits ^ bits >> 15) * 0x85EBCA77 & 0xFFFFFFFF
    bits = (bits ^ bits >> 13) * 0xC2B2AE3D & 0xFFFFFFFF
    return ((bits ^ bits >> 16).double() / 2**31 - 1).reshape(shape) * math.sqrt(3)


POOLS = {
    "halving": lambda x: F.max_pool3d(x, kernel_size=3, stride=2, padding=1),
    "frames": lambda x: F.max_pool3d(x, kernel_size=(1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)),
    "none": lambda x: x,
}


def logits(w: Weights, x: Tensor, gates: bool = False, placement: str = "final", pool: str = "halving") -> Tensor:
    """Clips (B, 3, T, H, W) to logits (B, classes). The weights do not tell the pool, so it is an argument."""
    if "stem.3.weight" in w:
        x = norm(w, "stem.1", F.conv3d(x, w["stem.0.weight"], stride=(1, 2, 2), padding=(0, 3, 3))).relu()
        x = norm(w, "stem.4", F.conv3d(x, w["stem.3.weight"], padding=(1, 0, 0))).relu()
    else:
        frames = w["stem.0.weight"].shape[2] // 2
        x = norm(w, "stem.1", F.conv3d(x, w["stem.0.weight"], stride=(1, 2, 2), padding=(frames, 3, 3))).relu()
    x = POOLS[pool](x)
    for stage in (1, 2, 3, 4):
        index = 0
        while f"layer{stage}.{index}.conv1.0.weight" in w or f"layer{stage}.{index}.conv1.0.0.weight" in w:
            stride = 2 if stage > 1 and index == 0 else 1
            x = residual_block(w, f"layer{stage}.{index}", x, stride, gates, placement)
            index += 1
    return x.mean(dim=(2, 3, 4)) @ w["fc.weight"].T + w["fc.bias"]


def residual_block(w: Weights, name: str, x: Tensor, stride: int, gates: bool, placement: str) -> Tensor:
    def here(place: str, value: Tensor) -> Tensor:
        recursed = f"{name}.sar.lstm.weight_ih_l0" in w and place == placement
        return squeeze_and_recursion(w, f"{name}.sar", value, gates) if recursed else value

    x = here("start", x)
    if f"{name}.conv3.0.weight" in w:
        out = norm(w, f"{name}.conv1.1", F.conv3d(x, w[f"{name}.conv1.0.weight"])).relu()
        out = here("top", out)
        out = norm(w, f"{name}.conv2.1", convolution(w, f"{name}.conv2.0", out, stride)).relu()
        out = here("mid", out)
        out = norm(w, f"{name}.conv3.1", F.conv3d(out, w[f"{name}.conv3.0.weight"]))
    else:
        out = norm(w, f"{name}.conv1.1", convolution(w, f"{name}.conv1.0", x, stride)).relu()
        out = here("top", out)
        out = norm(w, f"{name}.conv2.1", convolution(w, f"{name}.conv2.0", out, 1))
        out = here("mid", out)
    out = here("end", out)
    shortcut = x
    if f"{name}.downsample.0.weight" in w:
        shortcut = F.conv3d(x, w[f"{name}.downsample.0.weight"], stride=stride)
        shortcut = norm(w, f"{name}.downsample.1", shortcut)
    return here("final", (out + here("res", shortcut)).relu())


def convolution(w: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    """3x3x3; 1x1x1 and depthwise 3x3x3; or 1x3x3 and 3x1x1: the weights' shapes decide."""
    if f"{name}.2.weight" in w:
        x = norm(w, f"{name}.1", F.conv3d(x, w[f"{name}.0.weight"]))
        return grouped(x, w[f"{name}.2.weight"], stride, 1)
    if f"{name}.3.weight" not in w:
        return grouped(x, w[f"{name}.0.weight"], stride, 1)
    x = grouped(x, w[f"{name}.0.weight"], (1, stride, stride), (0, 1, 1))
    return grouped(norm(w, f"{name}.1", x).relu(), w[f"{name}.3.weight"], (stride, 1, 1), (1, 0, 0))


def grouped(x: Tensor, weight: Tensor, stride: int | tuple, padding: int | tuple) -> Tensor:
    """Each group of channels is convolved separately."""
    groups = x.shape[1] // weight.shape[1]
    parts = zip(x.chunk(groups, dim=1), weight.chunk(groups, dim=0), strict=True)
    return torch.cat([F.conv3d(part, kernel, stride=stride, padding=padding) for part, kernel in parts], dim=1)


def norm(w: Weights, name: str, x: Tensor) -> Tensor:
    mean, var, weight, bias = (
        w[f"{name}.{part}"][:, None, None, None] for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (var + 1e-5).sqrt() * weight + bias


def squeeze_and_recursion(w: Weights, name: str, x: Tensor, gates: bool) -> Tensor:
    """Clip by clip and frame by frame."""
    outputs = []
    for clip in x:
        frames = clip.shape[1]
        a = [clip[:, t].mean(dim=(1, 2)) for t in range(frames)]
        b = lstm_layer(w, f"{name}.lstm", "l1", lstm_layer(w, f"{name}.lstm", "l0", a))
        if gates and not gate_is_open(a, b):
            outputs.append(clip)
        else:
            outputs.append(torch.stack([clip[:, t] * b[t][:, None, None] for t in range(frames)], dim=1))
    return torch.stack(outputs)


def lstm_layer(w: Weights, name: str, layer: str, inputs: list[Tensor]) -> list[Tensor]:
    """Hochreiter & Schmidhuber's cell with a forget gate; gates in the order input, forget, cell, output."""
    hidden = cell = torch.zeros_like(inputs[0])
    outputs = []
    for x in inputs:
        sums = w[f"{name}.weight_ih_{layer}"] @ x + w[f"{name}.weight_hh_{layer}"] @ hidden
        sums = sums + w[f"{name}.bias_ih_{layer}"] + w[f"{name}.bias_hh_{layer}"]
        input_gate, forget_gate, candidate, output_gate = sums.chunk(4)
        cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
        hidden = output_gate.sigmoid() * cell.tanh()
        outputs.append(hidden)
    return outputs


def gate_is_open(a: list[Tensor], b: list[Tensor]) -> bool:
    """Whether every frame of a returns to itself through b, and every frame of b through a."""
    return all_return(a, b) and all_return(b, a)


def all_return(a: list[Tensor], b: list[Tensor]) -> bool:
    for t, frame in enumerate(a):
        distances = [squared_distance(frame, other) for other in b]
        weights = [math.exp(min(distances) - distance) for distance in distances]
        soft_neighbour = sum(weight / sum(weights) * other for weight, other in zip(weights, b, strict=True))
        distances = [squared_distance(soft_neighbour, other) for other in a]
        if distances.index(min(distances)) != t:
            return False
    return True


def squared_distance(a: Tensor, b: Tensor) -> float:
    return float(((a - b) ** 2).sum().detach())
