"""The LSTM of squeeze and recursion in PyTorch's operations; that of the fused operations is network/kernels/lstm.py.

Shapes: B clips, C channels, T frames.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from network.kernels.use import is_eager, kept_as_they_are

MAY_USE_TF32 = False
"""Whether cuDNN's recursions may use TF32, whose products have 10 bits, where the process allows TF32 (it is a choice
of training's settings). If not, they are in float32, forward and backward, whatever the process allows."""

_FEWER_BITS = hasattr(torch._C, "_set_fp32_precision_setter")  # torch >= 2.9; before, one switch for all of cuDNN


class FrameLSTM(nn.LSTM):
    """nn.LSTM from frame vectors a (T, B, C) to the last layer's hidden states (T, B, C), starting from zero.

    On the CPU, one or two frames are computed by plain matrix products: PyTorch's CPU kernel first reorders all
    weights, which takes three times as long as so short a recursion. On a GPU, cuDNN is called without TF32. The fused
    operations read this module's weights and do not call it.
    """

    SHORT = 2
    _flat_weights: list[Tensor]  # type: ignore[assignment]

    def forward(self, frames: Tensor) -> Tensor:  # type: ignore[override]
        """Frame vectors (T, B, C) to hidden states (T, B, C)."""
        if frames.device.type == "cpu" and len(frames) <= self.SHORT:
            return self._short(frames)
        if not (frames.is_cuda and is_eager()):
            return self._hidden_states(frames)
        self._update_flat_weights()  # they may be others than before, as in torch.func.functional_call
        if torch.is_grad_enabled():
            return _WithoutTF32.apply(self._hidden_states, frames, *self._flat_weights)
        with _without_tf32():
            return self._hidden_states(frames)

    def _hidden_states(self, frames: Tensor) -> Tensor:
        return super().forward(frames)[0]

    def _short(self, frames: Tensor) -> Tensor:
        hidden_states = frames
        for weight_ih, weight_hh, bias_ih, bias_hh in self.all_weights:
            hidden = cell = frames.new_zeros(frames.shape[1:])
            outputs = []
            for inputs in F.linear(hidden_states, weight_ih, bias_ih):
                # The first frame, too, uses the (zero) hidden state, so that every weight gets a gradient.
                sums = inputs + F.linear(hidden, weight_hh, bias_hh)
                input_gate, forget_gate, candidate, output_gate = sums.chunk(4, dim=-1)
                cell = forget_gate.sigmoid() * cell + input_gate.sigmoid() * candidate.tanh()
                hidden = output_gate.sigmoid() * cell.tanh()
                outputs.append(hidden)
            hidden_states = torch.stack(outputs)
        return hidden_states

    def plain_weights(self, device: torch.device) -> list[Tensor] | None:
        """All weights, if they are ordinary ones in float32 on `device`, each in one piece of memory; else None."""
        self._update_flat_weights()
        weights = self._flat_weights
        return weights if all(_is_plain(weight, device) for weight in weights) else None


def _is_plain(weight: Tensor, device: torch.device) -> bool:
    is_ordinary = type(weight) in (Tensor, nn.Parameter) and weight.dtype == torch.float32
    return is_ordinary and weight.device == device and weight.is_contiguous()


class _WithoutTF32(torch.autograd.Function):
    """An LSTM's forward and backward pass without TF32: a backward pass runs outside of the context of its forward."""

    @staticmethod
    def forward(ctx: Any, run: Callable[[Tensor], Tensor], frames: Tensor, *weights: Tensor) -> Tensor:
        ctx.inputs = [frames.detach().requires_grad_(), *(weight for weight in weights if weight.requires_grad)]
        with torch.enable_grad(), _without_tf32(), kept_as_they_are():
            ctx.recursed = run(ctx.inputs[0])
        return ctx.recursed.detach()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        with _without_tf32():
            of_frames, *gradients = torch.autograd.grad(ctx.recursed, ctx.inputs, gradient, retain_graph=True)
        left = iter(gradients)
        return None, of_frames, *(next(left) if needed else None for needed in ctx.needs_input_grad[2:])


class _TF32:
    """How often this process is within `_without_tf32`, in all threads, and what was allowed before."""

    lock = threading.Lock()
    depth = 0
    before: Any = None


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Forbid TF32 to recurrent layers on a GPU, unless MAY_USE_TF32. The setting is of the process.

    A backward pass runs outside of the context of its forward pass, and needs this too.
    """
    if MAY_USE_TF32:
        yield
        return
    with _TF32.lock:
        if _TF32.depth == 0:
            _TF32.before = _tf32()
            _set_tf32("ieee" if _FEWER_BITS else False)
        _TF32.depth += 1
    try:
        yield
    finally:
        with _TF32.lock:
            _TF32.depth -= 1
            if _TF32.depth == 0:
                _set_tf32(_TF32.before)


def _tf32() -> Any:
    if _FEWER_BITS:
        return torch._C._get_fp32_precision_getter("cuda", "rnn")
    return torch._C._get_cudnn_allow_tf32()


def _set_tf32(value: Any) -> None:
    if _FEWER_BITS:
        torch._C._set_fp32_precision_setter("cuda", "rnn", value)
    else:
        torch._C._set_cudnn_allow_tf32(value)
