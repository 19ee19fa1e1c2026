"""Forward and backward passes that are recorded once for each shape of clips, and then replayed as CUDA graphs.

A training step launches a thousand small operations. A fast GPU computes them sooner than the host launches them: with
squeeze and recursion, a step took twice the GPU's time. A CUDA graph is launched at once, whatever is in it.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.logs import LOG
from common.ranks import Ranks
from train.passes import Computation, EagerPasses, Outputs, Passes

RECORDED_AT = 4
"""Which step of a shape is recorded. Before, libraries choose their algorithms and allocate what they keep."""
TOLERANCE = 0.01
"""Of the relative difference between a replayed pass and the same one launched operation by operation. Deterministic
operations give none at all; others differ by the rounding of sums in another order."""
MEMORY_SHARE = 0.45
"""Of a GPU's memory, which the recordings may have: what they have is not there for steps of other shapes, the first of
which are made without a recording, nor for validation."""
LATER = "later"
ALIGNMENT = 64  # elements


class Recorder(Protocol):
    """Records operations on a device."""

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """Call `run` so that its operations are recorded and not executed. Returns what executes them."""

    def share_of_memory(self) -> float:
        """Of the device's, what all recordings have."""

    def release(self) -> None:
        """Free the memory of recordings that are gone."""


class CudaRecorder:
    """Records CUDA graphs, which share their memory: one is replayed at a time, and its outputs are used at once."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.pool = torch.cuda.graph_pool_handle()
        self.reserved = 0

    def record(self, run: Callable[[], None]) -> Callable[[], object]:
        """See Recorder."""
        graph = torch.cuda.CUDAGraph()
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()  # what the other steps have cached is needed for the recording
        before = torch.cuda.memory_reserved(self.device)
        stream, draws = torch.cuda.current_stream(self.device), _generator(self.device).clone_state()
        try:
            # Other threads may use the device meanwhile: one writes checkpoints.
            with torch.cuda.graph(graph, pool=self.pool, capture_error_mode="thread_local"):
                run()
        except BaseException:
            # A recording that fails leaves its stream as the current one, and the generator within a recording.
            torch.cuda.set_stream(stream)
            _generator(self.device).graphsafe_set_state(draws)
            raise
        self.reserved += max(0, torch.cuda.memory_reserved(self.device) - before)
        return graph.replay

    def share_of_memory(self) -> float:
        """See Recorder."""
        return self.reserved / torch.cuda.get_device_properties(self.device).total_memory

    def release(self) -> None:
        """See Recorder."""
        torch.cuda.synchronize(self.device)
        torch.cuda.empty_cache()
        self.pool, self.reserved = torch.cuda.graph_pool_handle(), 0


def _generator(device: torch.device) -> torch.Generator:
    return torch.cuda.default_generators[torch.cuda.current_device() if device.index is None else device.index]


class FlatGradients:
    """The gradients of parameters in one piece of memory: one operation clears them, or adds them up over ranks."""

    def __init__(self, parameters: Iterable[nn.Parameter]) -> None:
        self.parameters = [parameter for parameter in parameters if parameter.requires_grad]
        starts = [0]
        for parameter in self.parameters:
            starts.append(starts[-1] + math.ceil(parameter.numel() / ALIGNMENT) * ALIGNMENT)
        self.flat = self.parameters[0].new_zeros(starts[-1])
        self.views = [_like(self.flat, start, each) for start, each in zip(starts, self.parameters, strict=False)]

    def attach(self) -> None:
        """Make them the parameters' `grad`."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view

    @torch.no_grad()
    def take(self, gradients: Iterable[Tensor], adds: bool) -> None:
        """Set or add gradients, one for each parameter, in few operations."""
        (torch._foreach_add_ if adds else torch._foreach_copy_)(self.views, list(gradients))


def _like(flat: Tensor, start: int, parameter: Tensor) -> Tensor:
    """A part of `flat` with the parameter's shape, and its layout if that has no gaps."""
    formats = (torch.contiguous_format, torch.channels_last, torch.channels_last_3d)
    usual = formats[:1] + ((formats[parameter.dim() - 3],) if parameter.dim() in (4, 5) else ())
    is_dense = any(parameter.is_contiguous(memory_format=each) for each in usual)
    stride = parameter.stride() if is_dense else torch.empty(parameter.shape, device="meta").stride()
    return flat.as_strided(parameter.shape, stride, start)


class _Kind(NamedTuple):
    """Clips that are computed by the same operations on memory of the same size."""

    shape: torch.Size
    strides: tuple[int, ...]
    dtype: torch.dtype
    labels: tuple[torch.Size, torch.dtype]
    batch_size: int  # of all parts of the batch
    adds: bool  # to the gradients of other parts

    @classmethod
    def of(cls, clips: Tensor, labels: Tensor, batch_size: int, adds: bool) -> "_Kind":
        return cls(clips.shape, clips.stride(), clips.dtype, (labels.shape, labels.dtype), batch_size, adds)


class _Recording:
    """The passes of one shape of clips: inputs that stay where they are, and two recordings."""

    def __init__(
        self, recorder: Recorder, computation: Computation, gradients: FlatGradients, inputs: "_Inputs", kind: "_Kind"
    ) -> None:
        self.computation, self.gradients, self.inputs, self.kind = computation, gradients, inputs, kind
        self._loss: Tensor | None = None
        self._forward = recorder.record(self._run_forward)
        self._backward = recorder.record(self._run_backward)

    def replay(self, clips: Tensor, labels: Tensor, between: Callable[[], None]) -> Outputs:
        """The passes of other clips."""
        self.inputs.clips.copy_(clips)
        self.inputs.labels.copy_(labels)
        self._forward()
        between()
        self._backward()
        return self.outputs

    def _run_forward(self) -> None:
        inputs, computation = self.inputs, self.computation
        # With autocast's cache, weights that were converted before would be used, and not those of the step.
        loss_sum, logits = computation.forward(computation.network, inputs.clips, inputs.labels, caches=False)
        self.outputs = Outputs(loss_sum.detach(), logits.detach())
        self._loss = computation.optimizer_step.scaler.scale(loss_sum / self.kind.batch_size)

    def _run_backward(self) -> None:
        assert self._loss is not None
        gradients = torch.autograd.grad(self._loss, self.gradients.parameters)
        self.gradients.take(gradients, self.kind.adds)
        self._loss = None


class _Inputs:
    """Clips and labels that recordings read."""

    def __init__(self, clips: Tensor, labels: Tensor, memory: Tensor) -> None:
        """The clips lie in `memory`, which several recordings share."""
        self.clips = memory[: clips.numel()].as_strided(clips.shape, clips.stride())
        self.labels = labels.clone()


class RecordedPasses:
    """Passes that are replayed from recordings, one for each shape.

    The first steps of a shape are made operation by operation. Then its passes are recorded, replayed, and compared
    with those of the step that is made. If they differ, or cannot be recorded, no step is replayed from then on, and a
    warning says why. Ranks average the gradients after the backward pass, in one transfer.
    """

    def __init__(self, computation: Computation, ranks: Ranks, recorder: Recorder) -> None:
        self.computation, self.ranks, self.recorder = computation, ranks, recorder
        self.is_recording = True
        self.seen: Counter[_Kind] = Counter()  # since the last change of the network's buffers
        self.recordings: dict[_Kind, _Recording] = {}
        self.memory: Tensor | None = None  # of the clips of all recordings
        self.told: set[str] = set()
        self.is_first_part = True
        network = computation.network
        ranks.broadcast([*network.parameters(), *network.buffers()])
        self._start()

    def __call__(
        self, clips: Tensor, labels: Tensor, batch_size: int, is_last: bool, between: Callable[[], None]
    ) -> Outputs:
        """See Passes."""
        is_first, self.is_first_part = self.is_first_part, False
        adds = not (is_first and is_last)  # the only part of a batch overwrites the gradients
        kind = _Kind.of(clips, labels, batch_size, adds)
        recording = self.recordings.get(kind)
        if is_first and (adds or recording is None):
            self.gradients.flat.zero_()
        if recording is not None:
            return recording.replay(clips, labels, between)
        self.seen[kind] += 1
        if not self.is_recording or self.seen[kind] < RECORDED_AT:
            return self._eager(clips, labels, batch_size, between)
        return self._record(kind, clips, labels, between)

    def finish(self) -> None:
        """See Passes."""
        self.gradients.attach()
        self.is_first_part = True
        if self.ranks.world_size > 1:
            self.gradients.flat.div_(self.ranks.world_size)
            dist.all_reduce(self.gradients.flat)

    def forget(self) -> None:
        """See Passes."""
        self.seen.clear()
        self.addresses = _addresses(self.computation.network)
        if self.recordings:
            self.recordings.clear()
            self.memory = None
            self.recorder.release()

    def begin_epoch(self) -> None:
        """See Passes."""
        if self.addresses != _addresses(self.computation.network):
            self.forget()
            self._start()

    def _start(self) -> None:
        network = self.computation.network
        self.addresses = _addresses(network)
        self.gradients = FlatGradients(network.parameters())
        self.is_first_part = True

    def _eager(self, clips: Tensor, labels: Tensor, batch_size: int, between: Callable[[], None]) -> Outputs:
        computation = self.computation
        self.gradients.attach()
        loss_sum, logits = computation.forward(computation.network, clips, labels)
        between()
        computation.optimizer_step.backward(loss_sum / batch_size)
        return Outputs(loss_sum.detach(), logits.detach())

    def _record(self, kind: "_Kind", clips: Tensor, labels: Tensor, between: Callable[[], None]) -> Outputs:
        """Make the passes operation by operation, and record them, which changes nothing else."""
        started = time.perf_counter()
        flat, earlier = self.gradients.flat, None
        if kind.adds:
            earlier = flat.clone()
            flat.zero_()
        before = self._state(clips.device)
        outputs = self._eager(clips, labels, kind.batch_size, between)
        after = self._state(clips.device)
        expected = [flat.clone(), outputs.loss_sum, *after.buffers]
        recording, problem = None, LATER  # numbers that are not finite, as under a new scaler, cannot be compared
        if all(map(_is_finite, expected)):
            before.restore()
            try:
                recording = self._recording(kind, clips, labels)
                before.restore_draws()
                replayed = recording.replay(clips, labels, lambda: None)
                problem = _difference([flat, replayed.loss_sum, *self.computation.network.buffers()], expected)
                if self.recorder.share_of_memory() > MEMORY_SHARE:
                    problem = f"recordings have more than {MEMORY_SHARE:.0%} of the GPU's memory"
            except Exception as error:  # whatever a library refuses to record
                problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            flat.copy_(expected[0])
            after.restore()
        if earlier is not None:
            flat.add_(earlier)
        problems = list(filter(None, self.ranks.gather(problem)))
        self._take(kind, recording, sorted(problems, key=lambda each: each == LATER), started)
        return outputs

    def _recording(self, kind: "_Kind", clips: Tensor, labels: Tensor) -> _Recording:
        """A recording; it leaves gradients and buffers as it likes."""
        if self.memory is None or self.memory.numel() < clips.numel() or self.memory.dtype != clips.dtype:
            self.memory = clips.new_empty(clips.numel())
        if kind.adds:
            self.gradients.flat.zero_()
        inputs = _Inputs(clips, labels, self.memory)
        return _Recording(self.recorder, self.computation, self.gradients, inputs, kind)

    def _take(self, kind: "_Kind", recording: _Recording | None, problems: list[str], started: float) -> None:
        """Keep a recording if no rank has a problem; the first is the worst."""
        if not problems:
            assert recording is not None
            self.recordings[kind] = recording
            text = "x".join(map(str, kind.shape))
            if text not in self.told:
                self.told.add(text)
                LOG.info("recorded the passes of %s as CUDA graphs in %.1f s", text, time.perf_counter() - started)
        elif problems[0] != LATER:
            self.is_recording = False
            self.forget()
            LOG.warning("from now on no CUDA graphs are used: %s", problems[0])

    def _state(self, device: torch.device) -> "_State":
        return _State(list(self.computation.network.buffers()), device)


def make_passes(computation: Computation, ranks: Ranks, graphs: bool) -> Passes:
    """The passes of a run; with `graphs`, on a GPU they are recorded."""
    if graphs and computation.device.type == "cuda":
        return RecordedPasses(computation, ranks, CudaRecorder(computation.device))
    return EagerPasses(computation, ranks)


class _State:
    """Values of buffers, and the draws of a device, at some time."""

    def __init__(self, tensors: list[Tensor], device: torch.device) -> None:
        self.tensors, self.device = tensors, device
        self.buffers = [tensor.clone() for tensor in tensors]
        self.draws = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    def restore(self) -> None:
        """Set both."""
        for tensor, value in zip(self.tensors, self.buffers, strict=True):
            tensor.copy_(value)
        self.restore_draws()

    def restore_draws(self) -> None:
        """Set what is drawn next."""
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.draws, self.device)
        else:
            torch.set_rng_state(self.draws)


def _addresses(network: nn.Module) -> list[tuple[int, bool]]:
    """Where parameters and buffers are, and which are trained."""
    return [(tensor.data_ptr(), tensor.requires_grad) for tensor in (*network.parameters(), *network.buffers())]


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())


def _difference(replayed: list[Tensor], expected: list[Tensor]) -> str:
    """What a recording does otherwise; nothing if it is right."""
    names = ["gradient", "loss"] + ["buffer"] * (len(expected) - 2)
    for name, value, right in zip(names, replayed, expected, strict=True):
        if not value.is_floating_point():
            value, right = value.double(), right.double()
        if not float((value - right).norm()) <= TOLERANCE * float(right.norm()):
            return f"a replayed {name} is not that of the step"
    return ""
