"""Forward and backward passes that are recorded once for each shape of clips, and then replayed as CUDA graphs.

A training step launches a thousand small operations. A fast GPU computes them sooner than the host launches them: with
squeeze and recursion, a step took twice the GPU's time. A CUDA graph is launched at once, whatever is in it.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from common.logs import LOG
from common.ranks import Ranks
from train.flat_gradients import FlatGradients
from train.passes import Computation, EagerPasses, Outputs, Passes
from train.recorder import CudaRecorder, Recorder

RECORDED_AT, REPLAYED_FROM = 4, 6
"""Which pass of a kind is recorded, and from which one on the recording is used. Libraries choose their algorithms, and
allocate what they keep, before the first; between both, passes are compared."""
TOLERANCE = 0.01
"""Of the relative difference between a replayed pass and the same one launched operation by operation. Deterministic
operations give none at all; others differ by the rounding of sums in another order."""
PARAMETER_TOLERANCE, NOISE = 0.05, 1e-5
"""The same of one parameter's gradient; and the share of the whole gradient that is rounding."""
MEMORY_SHARE = 0.9
"""Of a GPU's memory: recordings and a step without one must have room in it beside each other."""


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
    """The passes of a kind of clips: inputs that stay where they are, and two recordings."""

    def __init__(
        self, recorder: Recorder, computation: Computation, gradients: FlatGradients, inputs: "_Inputs", kind: _Kind
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
    """Passes that are replayed from recordings, one for each kind of clips. One object of a network at a time.

    The first passes of a kind are made operation by operation. Then one of them is also recorded; it and the next are
    replayed too, and compared. If they differ, or cannot be recorded, no pass is replayed from then on, and a warning
    says why. Ranks average the gradients after the backward pass, in one transfer.
    """

    def __init__(self, computation: Computation, ranks: Ranks, recorder: Recorder) -> None:
        self.computation, self.ranks, self.recorder = computation, ranks, recorder
        self.is_recording = True
        self.problem = ""  # of this rank alone, until the others know it
        self.seen: Counter[_Kind] = Counter()  # since the last change of the network's buffers
        self.on_trial: dict[_Kind, _Recording] = {}
        self.agreed: set[_Kind] = set()  # which kinds all ranks have recorded
        self.recordings: dict[_Kind, _Recording] = {}  # of these, unless this rank had to drop them
        self.memory: Tensor | None = None  # of the clips of all recordings
        self.told: set[str] = set()
        self._begin_batch()
        network = computation.network
        ranks.broadcast([*network.parameters(), *network.buffers()])
        self._start()

    def __call__(
        self, clips: Tensor, labels: Tensor, batch_size: int, is_last: bool, between: Callable[[], None]
    ) -> Outputs:
        """See Passes."""
        try:
            return self._pass(clips, labels, batch_size, is_last, between)
        except BaseException:
            self._begin_batch()
            self.gradients.detach()
            raise

    def finish(self) -> None:
        """See Passes."""
        if self.ranks.world_size > 1:
            self._flatten()
        if self.is_flat:
            self.gradients.attach()
        self._begin_batch()
        if self.ranks.world_size > 1:
            self.gradients.average(self.ranks)

    def forget(self) -> None:
        """See Passes."""
        self.seen.clear()
        self.agreed.clear()
        self._drop()
        self._start()

    def begin_epoch(self) -> None:
        """See Passes."""
        if any(self.ranks.gather(self.tensors != _tensors(self.computation.network))):
            self.forget()
        hooked = any(self.ranks.gather(bool(self.recordings) and _has_hooks(self.computation.network)))
        if hooked:
            self._give_up(HOOKS)

    def _pass(
        self, clips: Tensor, labels: Tensor, batch_size: int, is_last: bool, between: Callable[[], None]
    ) -> Outputs:
        adds = self.parts > 0 or not is_last  # the only part of a batch overwrites the gradients
        kind = _Kind.of(clips, labels, batch_size, adds)
        self.parts += 1
        if (recording := self.recordings.get(kind)) is not None:
            if adds:
                self._flatten()
            self.is_flat = True
            return recording.replay(clips, labels, between)
        self.seen[kind] += 1
        is_compared = self.is_recording and kind not in self.agreed and self.seen[kind] >= RECORDED_AT
        if is_compared:
            outputs = self._compare(kind, clips, labels, between)
        else:
            outputs = self._eager(clips, labels, batch_size, between)
        if self.is_flat:
            self._flatten()
        return outputs

    def _begin_batch(self) -> None:
        self.parts = 0
        self.is_flat = False  # whether the parts' gradients are in `gradients`, and not in each parameter's `grad`

    def _flatten(self) -> None:
        """Add the parameters' `grad` to those of the batch, in the order in which the parts came."""
        if not self.is_flat:
            self.gradients.flat.zero_()
            self.is_flat = True
        self.gradients.take(self.gradients.detach(), adds=True)

    def _eager(self, clips: Tensor, labels: Tensor, batch_size: int, between: Callable[[], None]) -> Outputs:
        """Passes operation by operation. If recordings leave no memory for them, these are dropped."""
        if self.memory is None:
            return self._launched(clips, labels, batch_size, between)
        before, parameters = _State(self.computation.network, clips.device), self.gradients.parameters
        earlier = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
        is_to_come = iter((between,))

        def once() -> None:
            for call in is_to_come:
                call()

        try:
            return self._launched(clips, labels, batch_size, once)
        except torch.OutOfMemoryError:
            pass  # not within: the error holds the tensors of the pass
        before.restore()
        for parameter, gradient in zip(parameters, earlier, strict=True):
            parameter.grad = gradient
        self._drop()
        self.problem = "recordings leave too little memory for steps of other shapes"
        if self.ranks.world_size == 1:
            self._give_up(self.problem)
        return self._launched(clips, labels, batch_size, once)

    def _launched(self, clips: Tensor, labels: Tensor, batch_size: int, between: Callable[[], None]) -> Outputs:
        computation = self.computation
        loss_sum, logits = computation.forward(computation.network, clips, labels)
        between()
        computation.optimizer_step.backward(loss_sum / batch_size)
        return Outputs(loss_sum.detach(), logits.detach())

    def _compare(self, kind: _Kind, clips: Tensor, labels: Tensor, between: Callable[[], None]) -> Outputs:
        """Make the passes operation by operation, record them if they are not yet, and replay them.

        All that is left are the results of the first, and a recording, on trial or for good.
        """
        flat, earlier = self.gradients.flat.clone() if self.is_flat else None, self.gradients.detach()
        before = _State(self.computation.network, clips.device)
        outputs = self._eager(clips, labels, kind.batch_size, between)
        after = _State(self.computation.network, clips.device)
        expected = self.gradients.detach()
        # Numbers that are not finite, as under a new scaler, cannot be compared: the next pass is tried.
        present = [gradient for gradient in expected if gradient is not None]
        is_finite = all(map(_is_finite, [outputs.loss_sum, *present, *after.values]))
        if self.is_recording and all(self.ranks.gather(is_finite)):
            before.restore()
            try:
                problem = self._problem(
                    kind, clips, labels, before, _Expected(outputs.loss_sum, expected, after.values)
                )
            except Exception as error:  # whatever a library refuses to record
                problem = f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"
            after.restore()
            self._take(kind, next(filter(None, self.ranks.gather(problem)), ""))
        if flat is not None:
            self.gradients.flat.copy_(flat)
        for parameter, gradient, more in zip(self.gradients.parameters, earlier, expected, strict=True):
            parameter.grad = more if gradient is None else gradient if more is None else gradient.add_(more)
        return outputs

    def _problem(self, kind: _Kind, clips: Tensor, labels: Tensor, before: "_State", expected: "_Expected") -> str:
        """Why a recording is not to be used; nothing if it does what is expected. Makes it, if there is none."""
        network = self.computation.network
        if self.problem:
            return self.problem
        if _has_hooks(network):
            return HOOKS
        if any(gradient is None for gradient in expected.gradients):
            return "a parameter has no gradient"
        recording = self.on_trial.get(kind)
        if kind.adds:
            self.gradients.flat.zero_()
        if recording is None:
            if self.memory is None or self.memory.numel() < clips.numel() or self.memory.dtype != clips.dtype:
                self.memory = clips.new_empty(clips.numel())
            inputs = _Inputs(clips, labels, self.memory)
            recording = _Recording(self.recorder, self.computation, self.gradients, inputs, kind)
            self.on_trial[kind] = recording
            if kind.adds:
                self.gradients.flat.zero_()
            before.restore_draws()
        replayed = recording.replay(clips, labels, lambda: None)
        if problem := expected.difference(replayed, self.gradients.views, list(network.buffers())):
            return problem
        if self.recorder.share_of_memory() > MEMORY_SHARE:
            return f"recordings and a step do not fit {MEMORY_SHARE:.0%} of the GPU's memory beside each other"
        return ""

    def _take(self, kind: _Kind, problem: str) -> None:
        """Take a recording that has been compared, if no rank has a problem."""
        if problem:
            self._give_up(problem)
        elif kind not in self.tried:
            self.tried.add(kind)  # with other weights and clips, the next pass shows what the recording keeps of these
        else:
            self.recordings[kind] = self.on_trial.pop(kind)
            self.agreed.add(kind)
            text = "x".join(map(str, kind.shape))
            if text not in self.told:
                self.told.add(text)
                LOG.info("recorded the passes of %s as CUDA graphs", text)

    def _give_up(self, problem: str) -> None:
        self.is_recording = False
        self._drop()
        LOG.warning("from now on no CUDA graphs are used: %s", problem)

    def _drop(self) -> None:
        """Drop all recordings, once nothing replays them."""
        if self.memory is not None:
            self.recorder.release()
            self.recordings.clear()
            self.on_trial.clear()
            self.memory = None
            self.recorder.release()

    def _start(self) -> None:
        network = self.computation.network
        self.tensors = _tensors(network)
        self.tried: set[_Kind] = set()
        self.gradients = FlatGradients(network.parameters())


def make_passes(computation: Computation, ranks: Ranks, graphs: bool) -> Passes:
    """The passes of a run; with `graphs`, on a GPU they are recorded."""
    if graphs and computation.device.type == "cuda":
        return RecordedPasses(computation, ranks, CudaRecorder(computation.device))
    return EagerPasses(computation, ranks)


class _Expected(NamedTuple):
    """What the passes of a recording should give."""

    loss_sum: Tensor
    gradients: list[Tensor | None]
    buffers: list[Tensor]

    def difference(self, outputs: Outputs, gradients: list[Tensor], buffers: list[Tensor]) -> str:
        """What is otherwise; nothing if all is right. Waits for the device."""
        present = [gradient for gradient in self.gradients if gradient is not None]
        apart = _norms([one - other for one, other in zip(gradients, present, strict=True)])
        own = _norms(present)
        if not bool(apart.norm() <= TOLERANCE * own.norm()):
            return "the replayed gradient is not that of the step"
        if not bool((apart <= PARAMETER_TOLERANCE * own + NOISE * own.norm()).all()):
            return "the replayed gradient of a parameter is not that of the step"
        for name, value, right in [
            ("loss", outputs.loss_sum, self.loss_sum),
            *(("buffer", *pair) for pair in zip(buffers, self.buffers, strict=True)),
        ]:
            if not bool((value - right).double().norm() <= TOLERANCE * right.double().norm()):
                return f"a replayed {name} is not that of the step"
        return ""


def _norms(tensors: list[Tensor]) -> Tensor:
    return torch.stack(torch._foreach_norm(tensors))


class _State:
    """Values of a network's buffers, and the draws of a device, at some time."""

    def __init__(self, network: nn.Module, device: torch.device) -> None:
        self.buffers, self.device = list(network.buffers()), device
        self.values = [buffer.clone() for buffer in self.buffers]
        self.draws = torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    def restore(self) -> None:
        """Set both."""
        for buffer, value in zip(self.buffers, self.values, strict=True):
            buffer.copy_(value)
        self.restore_draws()

    def restore_draws(self) -> None:
        """Set what is drawn next."""
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(self.draws, self.device)
        else:
            torch.set_rng_state(self.draws)


HOOKS = "the network has hooks, which would not be called"


def _has_hooks(network: nn.Module) -> bool:
    """Whether something of Python is to be called in the passes, which a replay does not."""
    of_modules = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    of_parameters = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return (
        any(getattr(nn.modules.module, f"_global{name}", None) for name in of_modules)
        or any(getattr(module, name) for module in network.modules() for name in of_modules)
        or any(getattr(parameter, name, None) for parameter in network.parameters() for name in of_parameters)
    )


def _tensors(network: nn.Module) -> list[Any]:
    """Where parameters and buffers are, their shapes, and which are trained."""
    both = *network.parameters(), *network.buffers()
    return [(tensor.data_ptr(), tensor.shape, tensor.requires_grad) for tensor in both]


def _is_finite(tensor: Tensor) -> bool:
    return not tensor.is_floating_point() or bool(tensor.isfinite().all())
