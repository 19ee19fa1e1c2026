"""What the networks cost: parameters, multiply-accumulates, clips per second, memory, share of the device's peak.

    python -m benchmarks.networks [--networks PATTERN] [--clip 16x112x112] [--batch 8] [--repeats 5] [--figure FILE]

Multiply-accumulates (MACs) are per clip and count convolutions, linear layers and the matrix products of the LSTM. They
are half of what torch's FlopCounterMode reports, which counts a multiplication and an addition as two. The share of
peak is the MACs per second of training divided by those of a large matrix product in the same precision, timed in the
same turns. Training has three times the MACs of inference: forward, gradients of inputs, gradients of weights. MACs
with the zeros of padding count; convolutions that skip them can exceed 100 % on small feature maps.

A network and its plain twin are timed in turns, so that other load on the machine affects both; the ratio is the median
over the turns. A training step is forward, backward and an update by the optimiser of training. Memory is the peak of
two training steps in a separate process: on a GPU what torch allocated, on a CPU the memory of the whole process, about
250 MiB of it before there is a network. torchvision's r3d_18 and r2plus1d_18 are added if it is installed.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import matplotlib
import torch
from matplotlib.ticker import LogLocator
from rich import box
from rich.table import Table

from benchmarks.network_cost import DTYPES, TORCHVISION, Cost, Setting, matrix_peak, measure, measure_memory
from common.cli import CommandParser, run_command
from common.device import tune_device
from common.errors import DataError
from common.files import atomic_file, check_output
from common.layout import LAYOUTS
from common.logs import make_console
from network import network_names
from network.srtg import PLACEMENTS

matplotlib.use("Agg")
from matplotlib import pyplot as plt


def groups(pattern: str) -> Iterator[list[str]]:
    """The matching networks, each SRTG network with its plain twin, then torchvision's if it is installed."""
    matching = network_names(pattern)
    for name in dict.fromkeys(name.removeprefix("srtg_") for name in matching):
        twin = f"srtg_{name}"
        yield [name, twin] if twin in matching else [name]
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):  # absent, or built for another torch
        return
    for name, plain in TORCHVISION.items():
        if plain in {matched.removeprefix("srtg_") for matched in matching}:
            yield [plain, name]


def add_row(table: Table, name: str, cost: Cost) -> None:
    """Add a row to the table."""
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
    """Training clips per second over multiply-accumulates: a colour per family, open markers without SRTG."""
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
    """The GPU, or the number of CPU threads."""
    if setting.device == "cuda":
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    return f"{threads} CPU thread" + "s" * (threads > 1)


def parse() -> argparse.Namespace:
    """The command line; DataError on values that make no sense."""
    parser = CommandParser(prog="python -m benchmarks.networks", description="What the networks cost.")
    parser.add_argument(
        "--networks", default="*", help="shell pattern of names, such as 'srtg_r3d_*'; plain twins are added"
    )
    parser.add_argument("--clip", default="16x112x112", metavar="TxHxW", help="frames, height and width of a clip")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5, help="turns after one to warm up")
    parser.add_argument("--classes", type=int, default=400)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--precision", choices=list(DTYPES), default="bf16" if torch.cuda.is_available() else "fp32")
    parser.add_argument("--layout", choices=list(LAYOUTS), default="contiguous", help="memory format")
    parser.add_argument("--gates", action="store_true", help="with temporal gates")
    parser.add_argument("--placement", choices=PLACEMENTS, default="final", help="of the SRTG in its block")
    parser.add_argument("--checkpoint-activations", action="store_true")
    parser.add_argument("--figure", type=Path, help="draw training speed over multiply-accumulates into this PNG")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)  # how network_cost.peak_memory calls this command
    arguments = parser.parse_args()
    if arguments.figure:
        check_output(arguments.figure, [".png"], "--figure")
    if not network_names(arguments.networks):
        raise DataError(f"--networks {arguments.networks}: no name matches; names are {', '.join(network_names())}")
    numbers = arguments.clip.split("x")
    if len(numbers) != 3 or not all(number.isdigit() and int(number) > 0 for number in numbers):
        raise DataError(f"--clip {arguments.clip}: give frames, height and width, such as 16x112x112")
    for name in ("batch", "repeats", "classes"):
        if getattr(arguments, name) < 1:
            raise DataError(f"--{name} {getattr(arguments, name)}: must be 1 or more")
    return arguments


def main() -> int:
    """Measure, print, draw."""
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
            if name not in costs:  # a twin is measured again with torchvision's network
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
