"""Write networks for other programs: ONNX, torch.export programs (.pt2), safetensors.

ONNX files and programs compute what the network computes in evaluation mode.
"""

import copy
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.errors import NetworkError
from network.base import VideoNetwork
from network.srtg import SqueezeAndRecursion, temporal_gate
from network.weights.onnx_checksum import CHECKSUM, EMPTY, seal
from network.weights.safetensors_file import write_safetensors

OPSET = 20
ONNX_LIMIT = 2**31 - 2**20
"""Most bytes of weights in one ONNX file: 2 GiB less some room for the graph."""

# Frames, height and width of the example are traced as unknown sizes. torch.export treats a size of one as a constant,
# so no stage may come down to one. The ONNX graph has no such bound: it takes single frames too.
EXAMPLE = (2, 3, 64, 64, 64)
SMALLEST = 33


@torch.library.custom_op("srtg::lstm", mutates_args=())
def onnx_lstm(x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor) -> Tensor:
    """One layer of an LSTM over x (T, B, C) with weights as ONNX lays them out: (T, B, C).

    A placeholder that the exporter replaces by ONNX's LSTM. PyTorch's own LSTM would be unrolled for a fixed number of
    frames.
    """
    raise NotImplementedError("only for tracing")


@onnx_lstm.register_fake
def _(x: Tensor, weight: Tensor, recurrence: Tensor, bias: Tensor) -> Tensor:
    return x.new_empty(x.shape[0], x.shape[1], recurrence.shape[-1])


class _OnnxLSTM(nn.Module):
    """The layers of an LSTM, with the gates in ONNX's order: input, output, forget, cell."""

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
    """SqueezeAndRecursion in plain operations, without the gate counts."""

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


def export_onnx(network: VideoNetwork, path: Path, metadata: Mapping[str, str]) -> None:
    """Write an ONNX file: input `clips` (batch, 3, frames, height, width) of any sizes, output `logits`, opset 20.

    Its metadata are `metadata` and a checksum of the file.
    NetworkError if onnx or onnxscript is not installed or the file would be larger than 2 GB.
    """
    size = sum(tensor.nbytes for tensor in network.state_dict().values())
    if size > ONNX_LIMIT:
        raise NetworkError(f"{network.name} has {size / 1e9:.1f} GB, an ONNX file holds at most 2: write .pt2 instead")
    try:
        from onnxscript import opset20 as op
    except ImportError as error:
        raise NetworkError("ONNX needs two more packages: pip install onnx onnxscript") from error

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
    program.model.metadata_props.update({**metadata, CHECKSUM: EMPTY})
    program.save(path)
    seal(path)


def export_program(network: VideoNetwork, path: Path, shape: tuple[int, int, int], metadata: Mapping[str, str]) -> None:
    """Write a torch.export program (.pt2) for clips (B, 3, *shape) of any B; shape is frames, height, width.

    The number of frames is fixed because torch.export unrolls the LSTM. `metadata` is the extra file facts.json.
    """
    example = torch.zeros(2, 3, *shape)
    batch = {0: torch.export.Dim("batch")}
    with warnings.catch_warnings():
        # PyTorch's LSTM also has its weights in a list. The program does not use it.
        warnings.filterwarnings("ignore", ".*_flat_weights.*were assigned during export")
        program = torch.export.export(_exportable(network, _TorchLSTM), (example,), dynamic_shapes=(batch,))
    # torch's writer would end the process if the file took no more bytes.
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={"facts.json": json.dumps(dict(metadata))})
    path.write_bytes(content.getbuffer())


def export_safetensors(
    network: VideoNetwork,
    path: Path,
    facts: Mapping[str, Any],
    classes: Sequence[str] | None,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write the weights with the network's facts, class names and `training_facts`; `read_checkpoint` reads all."""
    write_safetensors(path, network.state_dict(), facts, classes, training)


def _exportable(network: VideoNetwork, make_lstm: type[_OnnxLSTM] | type[_TorchLSTM]) -> VideoNetwork:
    """A copy in evaluation mode whose LSTMs can be traced."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, SqueezeAndRecursion):
                setattr(module, name, _Recursion(make_lstm(child.lstm), child.gates))
    return network


def _reordered(gates: Tensor) -> Tensor:
    """Gates in PyTorch's order (input, forget, cell, output) to ONNX's order."""
    input_gate, forget_gate, cell, output_gate = gates.detach().chunk(4)
    return torch.cat([input_gate, output_gate, forget_gate, cell])
