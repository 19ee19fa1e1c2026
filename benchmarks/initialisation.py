"""How to initialise SRTG, and what recursion and gates gain on videos whose classes differ in the order of events.

    python -m benchmarks.initialisation [--dataset FOLDER] [--seeds 3] [--epochs 7] [--figure FILE] \
        [--zero-init-residual] [--placement final]

Trains the same network from scratch on synthetic motion videos (data/prepare/synthetic.py): without SRTG, with SRTG,
with temporal gates, and with SRTG from two other initialisations of the LSTMs: PyTorch's default, and one where all
factors start near one. With --zero-init-residual, all residual branches start as zero. Prints the size of
features and gradients by depth and the share of open gates, at the start and after some steps, and the validation top-1
at the end and at equal cost. Cost is the median time of a training step times the number of steps.
"""

import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from rich import box
from rich.table import Table
from torch import Tensor, nn

from common.cli import CommandParser, positive_integer, run_command
from common.device import tune_device
from common.files import atomic_file, check_output
from common.logs import make_console
from data.augment.normalise import Normalise
from data.clips.dataset import ClipDataset
from data.clips.sampling import RandomClips, UniformClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from network import VideoNetwork, create_network
from network.regularisation import zero_init_residual
from network.resnet3d import ResidualBlock
from network.srtg import PLACEMENTS, SqueezeAndRecursion
from train.optim import OptimizerOptions, make_optimizer, set_lr

matplotlib.use("Agg")
from matplotlib import pyplot as plt

SHAPE = ClipShape(8, 44, 44)
INTERVAL = 4
BATCH_SIZE = 16
LR = 0.05
MEASURED_STEPS = (0, 1, 5, 20)  # after so many steps, features and gradients are measured


def start_as_pytorch(lstm: nn.LSTM) -> None:
    """PyTorch's default, uniform within 1/sqrt(width): the output is near zero."""
    lstm.reset_parameters()


def start_near_one(lstm: nn.LSTM) -> None:
    """PyTorch's default with biases that make every output about 0.9 for all frames: almost no SRTG."""
    lstm.reset_parameters()
    with torch.no_grad():
        for _, _, bias, _ in lstm.all_weights:
            for gate, value in zip(bias.chunk(4), (3.0, 0.0, 2.0, 3.0), strict=True):  # input, forget, cell, output
                gate.fill_(value)


class Variant(NamedTuple):
    """A network to compare."""

    network: str
    gates: bool = False
    start: Callable[[nn.LSTM], None] | None = None  # None: the network's own initialisation


VARIANTS = {
    "plain": Variant("r3d_10"),
    "srtg": Variant("srtg_r3d_10"),
    "srtg, gates": Variant("srtg_r3d_10", gates=True),
    "srtg from PyTorch's start": Variant("srtg_r3d_10", start=start_as_pytorch),
    "srtg from near one": Variant("srtg_r3d_10", start=start_near_one),
}


class Depths(NamedTuple):
    """Root mean squares of the blocks, from first to last."""

    features: list[float]
    gradients: list[float]
    branches: list[float]  # gradients of the branches' last batch-norm weights and biases
    open_gates: float  # their share over all blocks; NaN without gates


class Run(NamedTuple):
    """The results of one training."""

    depths: dict[int, Depths]  # by the number of steps before
    top1: list[float]  # validation, in percent, after each epoch
    seconds: list[float]  # training time until then: median step times number of steps


class Start(NamedTuple):
    """What all variants have in common."""

    seed: int
    placement: str = "final"
    zero_branches: bool = False


def build(variant: Variant, num_classes: int, common: Start) -> VideoNetwork:
    """A new network; with the same seed, all variants have the same initial convolutions."""
    torch.manual_seed(common.seed)
    plain = create_network(VARIANTS["plain"].network, num_classes)
    network = create_network(variant.network, num_classes, variant.gates, common.placement)
    network.load_state_dict(plain.state_dict(), strict=False)
    if common.zero_branches:
        zero_init_residual(network)
    if variant.start:
        for module in network.modules():
            if isinstance(module, SqueezeAndRecursion):
                variant.start(module.lstm)
    return network


def batches(dataset: ClipDataset, order: np.ndarray, draw: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Normalised clips (B, 3, T, h, w) and labels (B,) in the given order, without an incomplete last batch."""
    normalise = Normalise()
    for start in range(0, len(order) - BATCH_SIZE + 1, BATCH_SIZE):
        clips = [dataset[ClipRequest(int(i), SHAPE, draw)] for i in order[start : start + BATCH_SIZE]]
        assert not any(clip.bad_videos for clip in clips)
        frames = torch.cat([clip.frames for clip in clips]).permute(0, 4, 1, 2, 3)
        yield normalise(frames), torch.tensor([clip.label for clip in clips])


def measure_depths(network: VideoNetwork, clips: Tensor, labels: Tensor) -> Depths:
    """Sizes of the blocks' outputs and of their gradients; the network is not changed."""
    outputs: list[Tensor] = []

    def keep(_: nn.Module, __: tuple[Tensor, ...], output: Tensor) -> None:
        output.retain_grad()
        outputs.append(output)

    state = {name: value.clone() for name, value in network.state_dict().items()}
    blocks = [module for module in network.modules() if isinstance(module, ResidualBlock)]
    handles = [block.register_forward_hook(keep) for block in blocks]
    network.reset_open_gate_fractions()
    F.cross_entropy(network(clips), labels).backward()
    for handle in handles:
        handle.remove()
    norms = [(block.conv2 if block.conv3 is None else block.conv3)[1] for block in blocks]
    of_norms = [
        torch.cat([parameter.grad for parameter in norm.parameters() if parameter.grad is not None]) for norm in norms
    ]
    network.zero_grad()
    network.load_state_dict(state)  # the batch-norm statistics of before
    gates = [float(share) for share in network.open_gate_fractions().values()]
    gradients = [output.grad for output in outputs]
    return Depths(
        [float(output.detach().square().mean().sqrt()) for output in outputs],
        [float(gradient.square().mean().sqrt()) for gradient in gradients if gradient is not None],
        [float(gradient.square().mean().sqrt()) for gradient in of_norms],
        statistics.fmean(gates) if gates else math.nan,
    )


def train(variant: Variant, train_set: ClipDataset, val_set: ClipDataset, epochs: int, common: Start) -> Run:
    """SGD with one epoch of warm-up, then a cosine to zero."""
    network = build(variant, len(train_set.videos.classes), common)
    optimizer = make_optimizer(network, OptimizerOptions())
    steps_an_epoch = len(train_set) // BATCH_SIZE
    depths: dict[int, Depths] = {}
    top1: list[float] = []
    step_seconds: list[float] = []
    for epoch in range(epochs):
        network.train()
        order = np.random.default_rng((common.seed, epoch)).permutation(len(train_set))
        for clips, labels in batches(train_set, order, epoch):
            step = len(step_seconds)
            if step in MEASURED_STEPS:
                depths[step] = measure_depths(network, clips, labels)
            started = time.perf_counter()
            warm_up = min(1.0, (step + 1) / steps_an_epoch)
            lr = LR * warm_up * (1 + np.cos(np.pi * step / (epochs * steps_an_epoch))) / 2
            set_lr(optimizer, lr)
            F.cross_entropy(network(clips), labels).backward()
            optimizer.step()
            optimizer.zero_grad()
            step_seconds.append(time.perf_counter() - started)
        top1.append(evaluate(network, val_set))
    epoch_seconds = steps_an_epoch * statistics.median(step_seconds)
    return Run(depths, top1, [epoch_seconds * (epoch + 1) for epoch in range(epochs)])


@torch.no_grad()
def evaluate(network: VideoNetwork, val_set: ClipDataset) -> float:
    """Top-1 in percent."""
    network.eval()
    assert len(val_set) % BATCH_SIZE == 0, len(val_set)
    right = [
        (network(clips).argmax(1) == labels).sum() for clips, labels in batches(val_set, np.arange(len(val_set)), 0)
    ]
    return 100 * float(sum(right)) / len(val_set)


def load(folder: Path) -> tuple[ClipDataset, ClipDataset]:
    """The training and validation videos of a dataset folder."""
    splits = load_splits(folder, DatasetSpec("custom", "train.csv", "val.csv"), None)
    recipe = RandomClips((INTERVAL, INTERVAL), flip=True)
    return ClipDataset(splits.train, recipe, 0), ClipDataset(splits.val, UniformClips(INTERVAL), 0)


def make_dataset(folder: Path) -> None:
    """384 training and 96 validation videos."""
    size = ("--videos", "480", "--val-videos", "96", "--size", "48x48")
    for command in (
        ("data.prepare.synthetic", str(folder), *size),
        ("data.prepare.convert", str(folder / "videos"), str(folder)),
    ):
        subprocess.run([sys.executable, "-m", *command], check=True)


def depth_table(runs: dict[str, list[Run]]) -> Table:
    """Sizes in the first and the last block: means over the seeds."""
    table = Table(title="Root mean square by depth", title_justify="left", box=box.SIMPLE_HEAD)
    headings = ("features: first block", "last", "gradients: first block", "last", "of branches: first block", "last")
    for heading in ("network", "steps", *headings, "open gates"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name, seeds in runs.items():
        for step in seeds[0].depths:
            depths = [run.depths[step] for run in seeds]
            sizes = (
                np.mean([[part[0], part[-1]] for part in parts], axis=0)
                for parts in zip(*((depth.features, depth.gradients, depth.branches) for depth in depths), strict=True)
            )
            gates = np.mean([depth.open_gates for depth in depths])
            shown = "-" if np.isnan(gates) else f"{gates:.0%}"
            table.add_row(name, str(step), *(f"{value:.2g}" for pair in sizes for value in pair), shown)
    return table


def score_table(runs: dict[str, list[Run]]) -> Table:
    """Top-1 by seed, at the end and at the cost of the cheapest run."""
    budget = min(run.seconds[-1] for seeds in runs.values() for run in seeds)
    plain = np.median([run.seconds[-1] for run in runs["plain"]])
    table = Table(title="Validation top-1 (%), a number a seed", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("network", "cost of plain's", "half-way", "at the end", "mean", "at equal cost, mean"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for name, seeds in runs.items():
        half = " ".join(f"{run.top1[(len(run.top1) - 1) // 2]:.1f}" for run in seeds)
        last = " ".join(f"{run.top1[-1]:.1f}" for run in seeds)
        equal = np.mean([np.interp(budget, run.seconds, run.top1) for run in seeds])
        cost = np.median([run.seconds[-1] for run in seeds]) / plain
        mean = np.mean([run.top1[-1] for run in seeds])
        table.add_row(name, f"{cost:.2f}", half, last, f"{mean:.1f}", f"{equal:.1f}")
    return table


def draw(runs: dict[str, list[Run]], output: Path) -> None:
    """Sizes by depth at the start, and top-1 over epochs: means and ranges over the seeds."""
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    for number, (name, seeds) in enumerate(runs.items()):
        colour = f"C{number}"
        first = [run.depths[MEASURED_STEPS[0]] for run in seeds]
        blocks = range(1, len(first[0].features) + 1)
        axes[0].semilogy(blocks, np.mean([depths.features for depths in first], axis=0), f"{colour}o-", markersize=3)
        axes[1].semilogy(blocks, np.mean([depths.gradients for depths in first], axis=0), f"{colour}o-", markersize=3)
        top1 = np.array([run.top1 for run in seeds])
        epochs = range(1, top1.shape[1] + 1)
        axes[2].plot(epochs, top1.mean(axis=0), f"{colour}o-", markersize=3, label=name)
        axes[2].fill_between(epochs, top1.min(axis=0), top1.max(axis=0), color=colour, alpha=0.12, linewidth=0)
    axes[0].set(xlabel="block", ylabel="root mean square", title="features at the start")
    axes[1].set(xlabel="block", title="gradients at the start")
    axes[2].set(xlabel="epoch", ylabel="validation top-1 (%)", ylim=(0, 102), title="training from scratch")
    axes[2].legend(frameon=False, loc="center right", fontsize=8)
    for axis in axes:
        axis.grid(alpha=0.3)
        axis.xaxis.get_major_locator().set_params(integer=True)
    with atomic_file(output) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def main() -> int:
    """Train, print, draw."""
    parser = CommandParser(prog="python -m benchmarks.initialisation", description="How the recursion starts.")
    parser.add_argument("--dataset", type=Path, help="converted synthetic videos; made if not given")
    parser.add_argument("--seeds", type=positive_integer, default=3)
    parser.add_argument("--epochs", type=positive_integer, default=7)
    parser.add_argument("--zero-init-residual", action="store_true", help="let all residual branches start as zero")
    parser.add_argument("--placement", choices=PLACEMENTS, default="final", help="of SRTG in a block")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the curves into this PNG")
    arguments = parser.parse_args()
    if arguments.figure:
        check_output(arguments.figure, [".png"], "--figure")
    tune_device("cpu")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.dataset or Path(temporary)
        if not arguments.dataset:
            make_dataset(folder)
        train_set, val_set = load(folder)
        runs: dict[str, list[Run]] = {name: [] for name in VARIANTS}
        for seed in range(arguments.seeds):
            for name, variant in VARIANTS.items():
                common = Start(seed, arguments.placement, arguments.zero_init_residual)
                runs[name].append(train(variant, train_set, val_set, arguments.epochs, common))
                print(f"{name}, seed {seed}: top-1 {runs[name][-1].top1[-1]:.1f} %", flush=True)
    console = make_console()
    console.print(depth_table(runs))
    console.print(score_table(runs))
    if arguments.figure:
        draw(runs, arguments.figure)
        print(f"curves in {arguments.figure}")
    return 0


if __name__ == "__main__":
    run_command(main)
