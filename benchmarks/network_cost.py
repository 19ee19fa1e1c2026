"""The cost of a network: parameters, multiply-accumulates, time and memory. `benchmarks.networks` is the command."""

import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.device import tune_device
from common.layout import LAYOUTS
from network import create_network
from network.activation_checkpointing import checkpoint_activations
from train.optim import OptimizerOptions, make_optimizer, set_lr

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
TORCHVISION = {"torchvision r3d_18": "r3d_18", "torchvision r2plus1d_18": "r2plus1d_18"}


@dataclass(frozen=True)
class Setting:
    """What the networks are timed with."""

    clip: tuple[int, int, int]  # frames, height, width
    batch: int
    classes: int
    device: str
    precision: str
    layout: str
    gates: bool
    placement: str
    checkpointing: bool


@dataclass
class Cost:
    """A row of the table."""

    parameters: int
    macs: int  # per clip
    inference: float  # clips per second
    training: float
    memory: int  # bytes
    share: float  # of the measured matrix peak, in training
    ratio: float | None  # a training step's time over the plain twin's


def build(name: str, setting: Setting) -> nn.Module:
    """A network of this project or, if it is installed, of torchvision."""
    if name in TORCHVISION:
        from torchvision.models import video

        return getattr(video, TORCHVISION[name])(num_classes=setting.classes)
    gates, placement = (setting.gates, setting.placement) if name.startswith("srtg_") else (False, "final")
    network = create_network(name, setting.classes, gates, placement)
    if setting.checkpointing:
        checkpoint_activations(network)
    return network


def count_macs(name: str, setting: Setting) -> int:
    """Multiply-accumulates of one clip's forward pass.

    Counted on the meta device, where an LSTM consists of matrix products; elsewhere it is one kernel, which the counter
    does not know.
    """
    with torch.device("meta"):
        network = build(name, setting).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, *setting.clip))
    return counter.get_total_flops() // 2


class Stepper:
    """A network on the device, with an input and an optimiser, to be timed."""

    def __init__(self, name: str, setting: Setting) -> None:
        torch.manual_seed(0)
        self.setting = setting
        self.device = torch.device(setting.device)
        layout = LAYOUTS[setting.layout]
        self.network = build(name, setting).to(self.device, memory_format=layout)
        self.clips = torch.randn(setting.batch, 3, *setting.clip, device=self.device).contiguous(memory_format=layout)
        self.labels = torch.zeros(setting.batch, dtype=torch.long, device=self.device)
        self.optimizer = make_optimizer(self.network, OptimizerOptions())
        set_lr(self.optimizer, 1e-4)

    def forward(self) -> Tensor:
        """Logits."""
        dtype = DTYPES[self.setting.precision]
        with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
            return self.network(self.clips)

    def train(self) -> None:
        """A training step."""
        self.network.train()
        nn.functional.cross_entropy(self.forward().float(), self.labels).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)

    @torch.no_grad()
    def infer(self) -> None:
        """A forward pass in evaluation mode."""
        self.network.eval()
        self.forward()


def seconds(run: Callable[[], object], device: str) -> float:
    """The time of one call, until the device has finished."""
    if device == "cuda":
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        torch.cuda.synchronize()
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        return start.elapsed_time(end) / 1000
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def matrix_peak(setting: Setting) -> float:
    """Multiply-accumulates per second of a large matrix product in the setting's precision: the best of six."""
    size = 8192 if setting.device == "cuda" else 1536
    a, b = torch.randn(2, size, size, device=setting.device, dtype=DTYPES[setting.precision])
    return size**3 / min(seconds(lambda: a @ b, setting.device) for _ in range(6))


def peak_memory(name: str, setting: Setting) -> int:
    """Peak bytes of training steps, in a separate process."""
    arguments = json.dumps([name, asdict(setting)])
    command = [sys.executable, "-m", "benchmarks.networks", "--memory-of", arguments]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure_memory(arguments: str) -> int:
    """What `peak_memory` runs: peak bytes of two training steps; on a GPU, what torch allocated."""
    name, fields = json.loads(arguments)
    setting = Setting(**{**fields, "clip": tuple(fields["clip"])})
    tune_device(setting.device)
    stepper = Stepper(name, setting)
    for _ in range(2):
        stepper.train()
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # on Linux, ru_maxrss starts at the value of the parent process
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # in bytes on macOS


def measure(names: list[str], setting: Setting, repeats: int) -> dict[str, Cost]:
    """The costs of networks that are timed in turns; the others are compared with the first, their plain twin."""
    steppers = {name: Stepper(name, setting) for name in names}
    training: dict[str, list[float]] = {name: [] for name in names}
    inference: dict[str, list[float]] = {name: [] for name in names}
    peaks = []
    for turn in range(repeats + 1):
        peak = matrix_peak(setting)
        for name in names if turn % 2 else names[::-1]:
            step, pass_ = seconds(steppers[name].train, setting.device), seconds(steppers[name].infer, setting.device)
            if turn:  # the first turn warms up
                training[name].append(step)
                inference[name].append(pass_)
                peaks.append(peak)
    costs = {}
    for name in names:
        macs = count_macs(name, setting)
        ratios = [own / twin for own, twin in zip(training[name], training[names[0]], strict=True)]
        costs[name] = Cost(
            parameters=sum(parameter.numel() for parameter in steppers[name].network.parameters()),
            macs=macs,
            inference=setting.batch / median(inference[name]),
            training=setting.batch / median(training[name]),
            memory=0,
            share=3 * macs * setting.batch / median(training[name]) / median(peaks),
            ratio=median(ratios) if name != names[0] else None,
        )
    del steppers
    if setting.device == "cuda":
        torch.cuda.empty_cache()  # for the processes that measure memory
    for name, cost in costs.items():
        cost.memory = peak_memory(name, setting)
    return costs
