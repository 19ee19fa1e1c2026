"""A training step of a network in one of the forms that are compared."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from benchmarks.network_cost import DTYPES, TORCHVISION, Setting, build
from common.kernels.switch import use_kernels
from common.layout import LAYOUTS
from common.precision import autocast
from common.ranks import Ranks
from network import recursion, srtg
from network.sub_batch_norm import use_sub_batch_norm
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep
from train.passes import Computation, EagerPasses, Passes
from train.recorder import CudaRecorder
from train.step_graphs import RecordedPasses

CLASSES = 700
LR = 1e-4  # of steps whose result does not matter: the weights stay near those of the start


@dataclass(frozen=True)
class Form:
    """A network and the way in which it is trained.

    `original` is the way of the original authors' code, as far as this project has its parts: clips in single
    precision, autocast over the recursion too, squeeze and recursion in plain operations, torch's own scaler, which
    waits for the device at each step, and an optimiser that is not fused. Its temporal gates are not among the parts.
    """

    network: str
    precision: str
    layout: str = "contiguous"
    gates: bool = False
    original: bool = False
    fused: bool = True
    graphs: bool = False  # the passes are replayed

    @property
    def name(self) -> str:
        """What the tables call it."""
        extras = ["gates"] * self.gates + ["as the original"] * self.original + ["not fused"] * (not self.fused)
        extras += ["CUDA graphs"] * self.graphs
        return ", ".join([self.network, self.layout, *extras])

    @property
    def twin(self) -> "Form":
        """The same without squeeze and recursion."""
        name = self.network.removeprefix("srtg_")
        return Form(name, self.precision, self.layout, fused=self.fused, graphs=self.graphs)

    def setting(self, clip: tuple[int, int, int], batch: int, device: torch.device) -> Setting:
        """What benchmarks.network_cost calls it."""
        fields = (CLASSES, device.type, self.precision, self.layout, self.gates, "final", False)
        return Setting(clip, batch, *fields)


class FormStep:
    """A network on the device with clips and an optimiser; calling it makes a training step."""

    def __init__(self, form: Form, clip: tuple[int, int, int], batch: int, device: torch.device) -> None:
        torch.manual_seed(0)
        self.form, self.device = form, device
        layout = LAYOUTS[form.layout]
        with device:  # initial values are made on the device, in less time
            self.network = build(form.network, form.setting(clip, batch, device)).train()
        if not form.original and form.network not in TORCHVISION:
            use_sub_batch_norm(self.network)  # as a run on a GPU
        self.network.to(device, memory_format=layout)
        dtype = torch.float32 if form.original else DTYPES[form.precision]
        self.clips = torch.randn(batch, 3, *clip, device=device).to(dtype).contiguous(memory_format=layout)
        self.labels = torch.randint(CLASSES, (batch,), device=device)
        if form.original:
            self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
                self.network.parameters(), lr=LR, momentum=0.9, weight_decay=1e-4, nesterov=True
            )
            self.scaler = torch.amp.GradScaler(device.type, enabled=form.precision == "fp16")
        else:
            optimizer = make_optimizer(self.network, OptimizerOptions())
            alone = Ranks(0, 0, 1)
            self.update = OptimizerStep(self.network.parameters(), optimizer, device, alone, form.precision, 0.0)
            computation = Computation(self.network, self._loss_sum, self.update, device, form.precision)
            self.passes: Passes = EagerPasses(computation, alone)
            if form.graphs:
                self.passes = RecordedPasses(computation, alone, CudaRecorder(device))

    def __call__(self) -> None:
        """A forward and a backward pass, and an update."""
        before = use_kernels(self.form.fused and not self.form.original)
        try:
            if self.form.original:
                self._original()
                return
            outputs = self.passes(self.clips, self.labels, len(self.clips), True, lambda: None)
            self.passes.finish()
            self.update.update(outputs.loss_sum / len(self.clips), LR, 0)
        finally:
            use_kernels(before)

    @property
    def is_replayed(self) -> bool:
        """Whether the passes are replayed from a recording."""
        return isinstance(self.passes, RecordedPasses) and bool(self.passes.recordings)

    def _original(self) -> None:
        with plain_formulation():
            loss = self.loss()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    @staticmethod
    def _loss_sum(logits: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(logits, labels, reduction="sum")

    def loss(self) -> Tensor:
        """A forward pass."""
        with autocast(self.device, self.form.precision):
            logits = self.network(self.clips).float()
        return cross_entropy(logits, self.labels)


@contextmanager
def plain_formulation() -> Iterator[None]:
    """Squeeze and recursion by autograd's own backward pass, and under autocast."""
    with (
        patch.object(srtg, "is_eager", lambda: False),
        patch.object(recursion, "is_eager", lambda: False),
        patch.object(srtg, "without_autocast", lambda _: nullcontext()),
    ):
        yield
