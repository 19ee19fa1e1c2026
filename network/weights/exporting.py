"""Networks for other runtimes: ONNX and torch.export programs that answer as the network does in evaluation mode."""

import copy
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import NetworkError
from network.base import VideoNetwork
from network.srtg import SqueezeAndRecursion, temporal_gate

OPSET = 20
ONNX_LIMIT = 2**31 - 2**20
"""Bytes of weights that a single ONNX file can hold, with some room for its graph."""

# The example's frames, height and width are traced as unknown. A stage's smallest size must stay above one, which
# torch.export would take for a constant; the ONNX graph holds no such bound and takes single frames as well.
EXAMPLE = (2, 3, 64, 64, 64)
SMALLEST = 33


@torch.library.custom_op("srtg::lstm", mutates_args=())
def onnx_lstm(x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor) -> Tensor:
    """One layer of an LSTM over x (T, B, C) with weights as ONNX lays them out: (T, B, C).

    A placeholder that becomes ONNX's LSTM. PyTorch's own would be unrolled, for one number of frames.
    """
    raise NotImplementedError("for tracing alone")


@onnx_lstm.register_fake
def _(x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], recurrence.shape[-1])


class _OnnxLSTM(nn.Module):
    """The layers of an LSTM, their gates in ONNX's order: input, output, forget, cell."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.num_layers = lstm.num_layers
        for layer, (weight, recurrence, *biases) in enumerate(lstm.all_weights):
            self.register_buffer(f"weight{layer}", _reordered(weight)[None])
            self.register_buffer(f"recurrence{layer}", _reordered(recurrence)[None])
            self.register_buffer(f"bias{layer}", torch.cat([_reordered(bias) for bias in biases])[None])

    def forward(self, x: Tensor) -> Tensor:
        for layer in range(self.num_layers):
            parts = (self.get_buffer(f"{part}{layer}") for part in ("weight", "recurrence", "bias"))
            x = onnx_lstm(x, *parts)
        return x


class _TorchLSTM(nn.Module):
    """PyTorch's LSTM without its states."""

    def __init__(self, lstm: nn.LSTM) -> None:
        super().__init__()
        self.lstm = nn.LSTM(lstm.input_size, lstm.hidden_size, lstm.num_layers)
        self.lstm.load_state_dict(lstm.state_dict())

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm(x)[0]


class _Recursion(nn.Module):
    """SqueezeAndRecursion in plain operations, without the counting of gates."""

    def __init__(self, lstm: nn.Module, gates: bool) -> None:
        super().__init__()
        self.lstm = lstm
        self.gates = gates

    def forward(self, x: Tensor) -> Tensor:
        frames = x.mean((3, 4)).permute(2, 0, 1)
        recursed = self.lstm(frames)
        scale = recursed.permute(1, 2, 0)
        if self.gates:
            scale = torch.where(temporal_gate(frames, recursed)[:, None, None], scale, 1.0)
        return x * scale[..., None, None]


def export_onnx(network: VideoNetwork, path: Path, facts: Mapping[str, str]) -> None:
    """Write an ONNX file: input `clips` (batch, 3, frames, height, width) of any sizes, output `logits`, opset 20.

    `facts` are kept in its metadata. NetworkError if the packages for it are missing or the file would be too large.
    """
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > ONNX_LIMIT:
        raise NetworkError(f"an ONNX file holds 2 GB at most, {network.name} has {size / 1e9:.1f}: write .pt2 instead")
    try:
        from onnxscript import opset20 as op
    except ImportError as error:
        raise NetworkError("ONNX needs two packages more: pip install onnx onnxscript") from error

    def lstm(x: Any, weight: Any, recurrence: Any, bias: Any) -> Any:
        states, _, _ = op.LSTM(x, weight, recurrence, bias, hidden_size=recurrence.shape[-1])
        axes: Any = op.Constant(value_ints=[1])
        return op.Squeeze(states, axes)

    sizes = {"batch": None, "frames": SMALLEST, "height": SMALLEST, "width": SMALLEST}
    dims = [torch.export.Dim(name, min=smallest) for name, smallest in sizes.items()]
    program = torch.onnx.export(
        _exportable(network, _OnnxLSTM),
        (torch.zeros(EXAMPLE),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["clips"],
        output_names=["logits"],
        dynamic_shapes=({0: dims[0], 2: dims[1], 3: dims[2], 4: dims[3]},),
        custom_translation_table={torch.ops.srtg.lstm.default: lstm},
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(facts)
    program.save(path)


def export_program(network: VideoNetwork, path: Path, shape: tuple[int, int, int], facts: Mapping[str, str]) -> None:
    """Write a torch.export program (.pt2) for clips (B, 3, *shape), shape = frames, height, width, and any B.

    torch.export unrolls an LSTM, so the number of frames is fixed: one program for each.
    """
    example = torch.zeros(2, 3, *shape)
    batch = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        # PyTorch's LSTM lists its weights a second time, which is of no matter to the program.
        warnings.filterwarnings("ignore", ".*_flat_weights.*were assigned during export")
        program = torch.export.export(_exportable(network, _TorchLSTM), (example,), dynamic_shapes=(batch,))
    with path.open("wb") as file:
        torch.export.save(program, file, extra_files={"facts.json": json.dumps(dict(facts))})


def _exportable(network: VideoNetwork, make_lstm: type[_OnnxLSTM] | type[_TorchLSTM]) -> VideoNetwork:
    """A copy in evaluation mode whose recursions can be traced."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, SqueezeAndRecursion):
                setattr(module, name, _Recursion(make_lstm(child.lstm), child.gates))
    return network


def _reordered(gates: Tensor) -> Tensor:
    """PyTorch's order of gates (input, forget, cell, output) to ONNX's."""
    enter, forget, candidate, leave = gates.detach().chunk(4)
    return torch.cat([enter, leave, forget, candidate])
