"""The LSTM of squeeze and recursion: PyTorch's, and for the fused operations cuDNN's and that of own kernels.

Shapes: B clips, C channels, T frames.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from network.kernels.use import is_eager, kept_as_they_are, lstm_failure

MAY_USE_TF32 = False
"""Whether cuDNN's recursions may use TF32, whose products have 10 bits, where the process allows TF32 (it is a choice
of training's settings). If not, they are in float32, forward and backward, whatever the process allows."""

OWN_KERNELS = True
"""Whether the fused operations use the LSTM of network/kernels/lstm.py in place of cuDNN's: of any width, of float32's
precision whatever is allowed, and in T + 1 launches forward and T + 2 backward where cuDNN needs up to a hundred."""

Weights: TypeAlias = list[Tensor] | tuple[Tensor, ...]  # in nn.LSTM's order
Recursed: TypeAlias = tuple[Tensor, tuple[Tensor, ...]]  # hidden states (T, B, C), what the backward pass needs
Gradients: TypeAlias = tuple[Tensor | None, Sequence[Tensor | None]]  # of the frames, of each weight

LAYERS = 2
# As cuDNN and PyTorch number and count: the mode of an LSTM, and the weights and biases of a layer.
_LSTM_MODE, _WEIGHTS = 2, 4
_FEWER_BITS = hasattr(torch._C, "_set_fp32_precision_setter")  # torch >= 2.9; before, one switch for all of cuDNN
# True if a backward pass may run again: then it must leave what the forward pass kept as it is.
_keeps_graph = getattr(torch._C._autograd, "_get_current_graph_task_keep_graph", lambda: True)


class FrameLSTM(nn.LSTM):
    """nn.LSTM from frame vectors a (T, B, C) to the last layer's hidden states (T, B, C), starting from zero.

    On the CPU, one or two frames are computed by plain matrix products: PyTorch's CPU kernel first reorders all
    weights, which takes three times as long as so short a recursion. On a GPU, cuDNN is called without TF32. The fused
    operations do not call this module: see `recursion_for`.
    """

    SHORT = 2
    _flat_weights: list[Tensor]  # type: ignore[assignment]
    _flat: tuple[list[int], Tensor | None] | None = None

    def forward(self, frames: Tensor) -> Tensor:  # type: ignore[override]
        """Frame vectors (T, B, C) to hidden states (T, B, C)."""
        if frames.device.type == "cpu" and len(frames) <= self.SHORT:
            return self._short(frames)
        if not (frames.is_cuda and is_eager()):
            return self._hidden_states(frames)
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

    def weight_buffer(self) -> Tensor | None:
        """The memory of all weights, one piece as cuDNN arranges them; None if cuDNN is not to be called with it.

        Looked for again only when a weight is at another address.
        """
        self._update_flat_weights()
        addresses = [weight.data_ptr() for weight in self._flat_weights]
        if self._flat is None or self._flat[0] != addresses:
            buffer = self._find_buffer()
            self._flat = [weight.data_ptr() for weight in self._flat_weights], buffer
        return self._flat[1] if torch._C._get_cudnn_enabled() else None

    def _find_buffer(self) -> Tensor | None:
        """The weights' memory if it is in cuDNN's order, into which it is brought if need be."""
        weights = self._flat_weights
        first = weights[0]
        if torch.version.hip or not all(_is_plain(weight) and weight.device == first.device for weight in weights):
            return None
        if not torch.backends.cudnn.is_acceptable(first):
            return None
        with torch.inference_mode(False), torch.no_grad():
            copies = [torch.empty_like(weight) for weight in weights]
            arranged = torch._cudnn_rnn_flatten_weight(
                copies, _WEIGHTS, self.input_size, _LSTM_MODE, self.hidden_size, 0, LAYERS, False, False
            )
            expected = [copy.data_ptr() - arranged.data_ptr() for copy in copies]
            for _ in range(2):
                storage = first.untyped_storage()
                addresses = [weight.data_ptr() - storage.data_ptr() for weight in weights]
                if addresses == expected and storage.nbytes() >= arranged.numel() * arranged.element_size():
                    return first.new_empty(0).set_(storage, 0, arranged.shape, arranged.stride())
                self.flatten_parameters()
        return None

    def _apply(self, *args: Any, **kwargs: Any) -> "FrameLSTM":
        self._flat = None  # it would keep the memory of weights that are moved elsewhere
        return super()._apply(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__getstate__().items() if name != "_flat"}


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


class CudnnRecursion:
    """cuDNN's LSTM, without autograd, in float32 also under autocast. `buffer`: the memory of its weights.

    The state (layers, B, C) is zero. It stands for the gradients of the last hidden and cell states too, which nothing
    uses.
    """

    states = LAYERS

    def __init__(self, buffer: Tensor) -> None:
        self.buffer = buffer

    def forward(self, frames: Tensor, state: Tensor, weights: Weights, is_training: bool) -> Recursed:
        """Hidden states (T, B, C) of frames (T, B, C) and what the backward pass needs, if `is_training`."""
        is_autocast = torch.is_autocast_enabled("cuda")
        if is_autocast:
            torch.set_autocast_enabled("cuda", False)
        try:
            with _without_tf32():
                # ... hidden and cell state, mode, width, projection, layers, batch first, dropout, training,
                # bidirectional, sizes of packed sequences, state of the dropout.
                recursed, _, _, reserve, _ = torch._cudnn_rnn(
                    frames, weights, _WEIGHTS, self.buffer,
                    state, state, _LSTM_MODE, frames.shape[2], 0, LAYERS, False, 0.0, is_training, False, [], None,
                )  # fmt: skip
        finally:
            if is_autocast:
                torch.set_autocast_enabled("cuda", True)
        return recursed, (state, reserve)

    def backward(
        self, gradient: Tensor, frames: Tensor, recursed: Tensor, kept: Sequence[Tensor], weights: Weights,
        of_frames: bool, of_weights: bool,
    ) -> Gradients:  # fmt: skip
        """The gradients of frames and, if `of_weights`, of all weights, from the gradient (T, B, C) of the output."""
        state, reserve = kept
        if _keeps_graph():
            reserve = reserve.clone()  # cuDNN writes to it
        with _without_tf32():
            of_inputs, _, _, gradients = torch.ops.aten._cudnn_rnn_backward.default(
                frames, weights, _WEIGHTS, self.buffer, state, state, recursed, gradient, state, state,
                _LSTM_MODE, frames.shape[2], 0, LAYERS, False, 0.0, True, False, [], None, reserve,
                [True, False, False, of_weights],
            )  # fmt: skip
        return of_inputs, gradients if of_weights else [None] * len(weights)


class OwnRecursion:
    """The LSTM of network/kernels/lstm.py, as `CudnnRecursion`. It needs no state."""

    states = 0

    def __init__(self) -> None:
        from network.kernels import lstm  # not at import: Triton is not everywhere

        self.kernels = lstm

    def forward(self, frames: Tensor, state: Tensor, weights: Weights, is_training: bool) -> Recursed:
        """Hidden states (T, B, C) of frames (T, B, C) and what the backward pass needs, if `is_training`."""
        return self.kernels.recurse(frames, weights, is_training)

    def backward(
        self, gradient: Tensor, frames: Tensor, recursed: Tensor, kept: Sequence[Tensor], weights: Weights,
        of_frames: bool, of_weights: bool,
    ) -> Gradients:  # fmt: skip
        """The gradients of frames and of all weights, where wanted, from the gradient (T, B, C) of the output."""
        of_inputs, gradients = self.kernels.recurse_back(gradient, frames, kept, weights, of_frames, of_weights)
        return of_inputs, [None] * len(weights) if gradients is None else gradients


def recursion_for(lstm: FrameLSTM, x: Tensor) -> CudnnRecursion | OwnRecursion | None:
    """How the fused operations compute the LSTM for clips x on a GPU; None if they cannot."""
    buffer = lstm.weight_buffer()
    if buffer is None:
        return None
    if OWN_KERNELS and not lstm_failure(x.device, x.dtype):
        return OwnRecursion()
    return CudnnRecursion(buffer)


def _is_plain(weight: Tensor) -> bool:
    return type(weight) in (Tensor, nn.Parameter) and weight.is_cuda and weight.dtype == torch.float32


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
