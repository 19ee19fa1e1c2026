"""What the networks cost: parameters, multiply-accumulates, clips per second, memory, share of the device's peak.

    python -m benchmarks.networks [--networks PATTERN] [--clip 16x112x112] [--batch 8] [--repeats 5] [--figure FILE]

Multiply-accumulates (MACs) are per clip and count convolutions, linear layers and the matrix products of the LSTM: half
of what torch's FlopCounterMode reports, which counts a multiplication and an addition as two. The share of peak sets
the MACs per second of training, three times those of inference (forward, gradients of inputs, gradients of weights),
against those of a large matrix product in the same precision, timed in the same turns. MACs with the zeros of padding
count; convolutions that skip them can pass 100 % where maps are small.

A network is timed in turn with its plain twin, so that what else the machine does meets both alike, and the ratio is
the median over the turns. A training step is forward, backward and the update by training's own optimiser. Memory is
the peak of two training steps in a process of their own: on a GPU what torch allocated, on a CPU all that the process
held, which is some 250 MiB before it has a network. torchvision's r3d_18 and r2plus1d_18 join in where it is installed.
"""

import argparse
import json
import re
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import matplotlib
import torch
from matplotlib.ticker import LogLocator
from rich import box
from rich.table import Table
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from common.cli import CommandParser, run_command
from common.errors import DataError
from common.files import atomic_file
from network import create_network, network_names
from network.activation_checkpointing import checkpoint_activations
from network.srtg import PLACEMENTS
from train.backend import tune_device
from train.monitor.logs import make_console
from train.optim import OptimizerOptions, make_optimizer, set_lr

matplotlib.use("Agg")
from matplotlib import pyplot as plt

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last_3d}
TORCHVISION = {"torchvision r3d_18": "r3d_18", "torchvision r2plus1d_18": "r2plus1d_18"}


@dataclass(frozen=True)
class Setting:
    """Under what the networks are timed."""

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
    """A network of ours or, where it is installed, of torchvision."""
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

    On the meta device, where an LSTM is taken apart into the products that the counter knows; elsewhere it is one
    kernel that counts as nothing.
    """
    with torch.device("meta"):
        network = build(name, setting).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, *setting.clip))
    return counter.get_total_flops() // 2


class Stepper:
    """A network on the device with its input and optimiser, ready to be timed."""

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
    """How long one call takes, until the device has done it."""
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
    """Multiply-accumulates per second of a large matrix product in the setting's precision: the best of five."""
    size = 8192 if setting.device == "cuda" else 1536
    a, b = torch.randn(2, size, size, device=setting.device, dtype=DTYPES[setting.precision])
    return size**3 / min(seconds(lambda: a @ b, setting.device) for _ in range(6))


def peak_memory(name: str, setting: Setting) -> int:
    """Bytes at the peak of training steps, in a process of its own."""
    arguments = json.dumps([name, asdict(setting)])
    command = [sys.executable, "-m", "benchmarks.networks", "--memory-of", arguments]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def measure_memory(arguments: str) -> int:
    """What `peak_memory` runs: the most that two training steps take, on a GPU of what torch allocated."""
    name, fields = json.loads(arguments)
    setting = Setting(**{**fields, "clip": tuple(fields["clip"])})
    tune_device(setting.device)
    stepper = Stepper(name, setting)
    for _ in range(2):
        stepper.train()
    if setting.device == "cuda":
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():  # Linux, whose ru_maxrss begins with that of the parent process
        return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", status.read_text())[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on a Mac


def measure(names: list[str], setting: Setting, repeats: int) -> dict[str, Cost]:
    """The costs of networks that are timed in turn; the first is the twin that the others are compared with."""
    steppers = {name: Stepper(name, setting) for name in names}
    training: dict[str, list[float]] = {name: [] for name in names}
    inference: dict[str, list[float]] = {name: [] for name in names}
    peaks = []
    for turn in range(repeats + 1):
        peak = matrix_peak(setting)
        for name in names if turn % 2 else names[::-1]:
            step, pass_ = seconds(steppers[name].train, setting.device), seconds(steppers[name].infer, setting.device)
            if turn:  # the first warms up
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


def groups(pattern: str) -> Iterator[list[str]]:
    """The networks that match, each SRTG network beside its plain twin, then torchvision's where it imports."""
    matching = network_names(pattern)
    for name in dict.fromkeys(name.removeprefix("srtg_") for name in matching):
        twin = f"srtg_{name}"
        yield [name, twin] if twin in matching else [name]
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # absent, or built for another torch
        return
    for name, theirs in TORCHVISION.items():
        if theirs in {matched.removeprefix("srtg_") for matched in matching}:
            yield [theirs, name]


def add_row(table: Table, name: str, cost: Cost) -> None:
    """Write a cost with its units."""
    table.add_row(
        name,
        f"{cost.parameters / 1e6:.2f}",
        f"{cost.macs / 1e9:.2f}",
        f"{cost.inference:.2f}",
        f"{cost.training:.2f}",
        f"{cost.memory / 2**20:,.0f}",
        f"{cost.share:.0%}",
        "" if cost.ratio is None else f"{cost.ratio:.3f}",
    )


def draw(costs: dict[str, Cost], setting: Setting, output: Path) -> None:
    """Training clips per second over multiply-accumulates, a marker a family; open ones without SRTG."""
    figure, axis = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    families = dict.fromkeys(name.removeprefix("srtg_").rsplit("_", 1)[0] for name in costs)
    for colour, family in enumerate(families):
        for prefix, marker, fill in (("", "o", "none"), ("srtg_", "o", f"C{colour}")):
            points = {name: cost for name, cost in costs.items() if name.rsplit("_", 1)[0] == f"{prefix}{family}"}
            if points:
                axis.plot(
                    [cost.macs / 1e9 for cost in points.values()],
                    [cost.training for cost in points.values()],
                    marker, color=f"C{colour}", markerfacecolor=fill, markersize=7, label=f"{prefix}{family}",
                )  # fmt: skip
            if not prefix:
                for name, cost in points.items():
                    axis.annotate(
                        name.rsplit("_", 1)[1], (cost.macs / 1e9, cost.training), textcoords="offset points",
                        xytext=(6, 5), fontsize=8, color=f"C{colour}",
                    )  # fmt: skip
    axis.set(xscale="log", yscale="log", xlabel="multiply-accumulates per clip (10⁹)", ylabel="training, clips/s")
    shape = "x".join(map(str, setting.clip))
    axis.set_title(f"clips of {shape}, batch {setting.batch}, {setting.precision}, {device_name(setting)}", fontsize=9)
    for scale in (axis.xaxis, axis.yaxis):
        scale.set_major_formatter("{x:g}")
        scale.set_minor_formatter("{x:g}")
        scale.set_minor_locator(LogLocator(subs=(1.5, 2, 3, 5, 7)))
    axis.grid(alpha=0.3, which="both")
    axis.legend(frameon=False)
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def device_name(setting: Setting) -> str:
    """What the figures hold for."""
    if setting.device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{threads} CPU thread" + "s" * (threads > 1)


def parse() -> argparse.Namespace:
    """The command line; DataError on values that make no sense."""
    parser = CommandParser(prog="python -m benchmarks.networks", description="What the networks cost.")
    parser.add_argument("--networks", default="*", help="shell pattern of names, such as 'srtg_r3d_*'; twins join in")
    parser.add_argument("--clip", default="16x112x112", metavar="TxHxW", help="frames, height and width of a clip")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5, help="turns after the one that warms up")
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=list(DTYPES), default="bf16" if torch.cuda.is_available() else "fp32")
    parser.add_argument("--layout", choices=list(LAYOUTS), default="contiguous", help="memory format")
    parser.add_argument("--gates", action="store_true", help="let temporal gates decide")
    parser.add_argument("--placement", choices=PLACEMENTS, default="final", help="of the SRTG in its block")
    parser.add_argument("--checkpoint-activations", action="store_true")
    parser.add_argument("--figure", type=Path, help="draw training speed over multiply-accumulates into this PNG")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not network_names(arguments.networks):
        raise DataError(f"--networks {arguments.networks}: no name matches; there are {', '.join(network_names())}")
    numbers = arguments.clip.split("x")
    if len(numbers) != 3 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise DataError(f"--clip {arguments.clip}: give frames, height and width, such as 16x112x112")
    for name in ("batch", "repeats", "classes"):
        if getattr(arguments, name) < 1:
            raise DataError(f"--{name} {getattr(arguments, name)}: must be 1 or more")
    return arguments


def main() -> int:
    """Measure, print as it goes, draw."""
    arguments = parse()
    if arguments.memory_of:
        print(measure_memory(arguments.memory_of))
        return 0
    frames, height, width = map(int, arguments.clip.split("x"))
    setting = Setting(
        (frames, height, width), arguments.batch, arguments.classes, arguments.device, arguments.precision,
        arguments.layout, arguments.gates, arguments.placement, arguments.checkpoint_activations,
    )  # fmt: skip
    tune_device(setting.device)
    shown = f"{setting.precision}, {setting.layout}, gates {'on' if setting.gates else 'off'}, {setting.placement}"
    title = f"clips of {arguments.clip}, batch {setting.batch}, {shown}, {device_name(setting)}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("network")
    for heading in (
        "parameters\nmillions", "MACs\n10⁹ a clip", "inference\nclips/s", "training\nclips/s", "memory\nMiB",
        "share\nof peak", "time of\nplain twin",
    ):  # fmt: skip
        table.add_column(heading, justify="right")
    costs: dict[str, Cost] = {}
    too_large: list[str] = []
    for names in groups(arguments.networks):
        try:
            measured = measure(names, setting, arguments.repeats)
        except torch.OutOfMemoryError:  # of a GPU
            too_large.append(" with ".join(names))
            print(f"{too_large[-1]}: does not fit", file=sys.stderr)
            continue
        for name, cost in measured.items():
            if name not in costs:  # a twin is measured again beside torchvision's
                add_row(table, name, cost)
                costs[name] = cost
            print(f"{name}: {cost.training:.2f} clips/s in training", file=sys.stderr)
    make_console().print(table)
    if too_large:
        print(f"more than the device's memory: {', '.join(too_large)}")
    peak = matrix_peak(setting)
    print(f"measured matrix peak: {peak / 1e12:.3f} * 10^12 multiply-accumulates per second in {setting.precision}")
    if arguments.figure:
        draw(costs, setting, arguments.figure)
        print(f"drawn to {arguments.figure}")
    return 0


if __name__ == "__main__":
    run_command(main)
