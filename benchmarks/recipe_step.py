"""What the parts of the modern recipe cost in a training step.

    python -m benchmarks.recipe_step [--network srtg_r3d_18] [--clip 8x112x112] [--batch 8] [--steps 7] [--device cpu]

A step is the Trainer's: augmentation, mixing, forward and backward pass, update, average. Its clips are noise in
memory, so that reading is not in it. Prints the time of a step with each part, of all in turns, and how it compares to
the step of `--recipe paper` with the defaults of the datasets' scripts: the median of the ratios to the paper's step of
the same turn. On the CPU it is processor time, on a GPU that between CUDA events.
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor

import train_custom
from benchmarks.gpu.training import train_step
from common.cli import CommandParser, positive_integer, run_command
from common.device import tune_device
from common.errors import DataError
from common.layout import moved
from common.options import part
from common.ranks import Ranks
from data.clips.types import ClipShape
from data.loading.loader import Batch
from network import create_network
from network.regularisation import zero_init_residual
from network.sub_batch_norm import use_sub_batch_norm
from train.averaging import AveragingOptions, make_average
from train.checkpoint.files import FORMAT, CheckpointFolder
from train.checkpoint.progress import Progress
from train.clip_sampling import training_clips
from train.losses import LossOptions, make_loss
from train.mixing import MixingOptions, make_mixing
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep
from train.options import TrainOptions, parse_options
from train.recipe import MODERN, PAPER
from train.regularisation import RegularisationOptions, make_draws, regularise
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.step_graphs import REPLAYED_FROM
from train.trainer import Trainer, TrainerOptions

CLASSES = 400
PARTS = {
    PAPER: (),
    "dropout, drop path": ("--dropout", "0.5", "--drop-path", "0.1"),
    "EMA": ("--ema", "0.9999"),
    "mixup, CutMix": ("--mixup", "0.8", "--cutmix", "1"),
    "erase": ("--erase", "0.25"),
    "RandAugment": ("--randaugment", "2x9"),
    MODERN: ("--recipe", "modern"),
}
"""The flags of each part; where RandAugment is not on, with --augment full, the default of the datasets' scripts."""


def options_of(flags: Sequence[str], clip: ClipShape, batch: int) -> TrainOptions:
    """The options of a script with these flags."""
    augment = () if {"--randaugment", "--recipe"} & set(flags) else ("--augment", "full")
    words = (
        "--dataset", ".", "--clip-length", str(clip.frames), "--clip-size", str(clip.height),
        "--batch-size", str(batch), "--lr-base", "1e-4", "--lr-steps", "90", *augment, *flags,
    )  # fmt: skip
    return parse_options("", train_custom.DEFAULTS, None, words)


class RecipeStep:
    """A network with a Trainer and a batch on the device; calling it makes a training step."""

    def __init__(self, network: str, options: TrainOptions, device: torch.device, precision: str, folder: Path) -> None:
        torch.manual_seed(0)
        alone, schedule = Ranks(0, 0, 1), part(options, ScheduleOptions)
        self.plan = make_plan(schedule, num_videos=1000)
        with device:
            trained = create_network(network, CLASSES)
        if options.zero_init_residual:
            zero_init_residual(trained)
        if device.type == "cuda":
            use_sub_batch_norm(trained)  # as a run on a GPU
        regularise(trained, part(options, RegularisationOptions))
        trained = moved(trained, device)
        optimizer = make_optimizer(trained, part(options, OptimizerOptions))
        self.trainer = Trainer(
            trained,
            make_loss(part(options, LossOptions)),
            OptimizerStep(trained.parameters(), optimizer, device, alone, precision, 0.0),
            self.plan,
            device,
            alone,
            TrainerOptions(precision=precision),
            CheckpointFolder(folder, network, keep=1),
            {"format": FORMAT},
            [],
            Progress(),
            draws=make_draws(part(options, RegularisationOptions), 1, 0, device),
            average=make_average(trained, part(options, AveragingOptions)),
            mixing=make_mixing(part(options, MixingOptions), 1, 0, CLASSES, device),
        )
        self.batch = _batch(options, device)

    def __call__(self) -> None:
        """A step, outside of the Trainer's loop, at the rate of the first one."""
        self.trainer.progress.step = 0
        train_step(self.trainer, self.batch, self.plan.full_spec)


def _batch(options: TrainOptions, device: torch.device) -> Batch:
    """Noise, with the augmentation that the options draw."""
    rng, clips = np.random.default_rng(0), training_clips(options)
    shape = (options.batch_size, options.clip_length, options.clip_size, options.clip_size, 3)
    frames = torch.from_numpy(rng.integers(0, 256, shape, np.uint8)).to(device)
    labels = torch.arange(options.batch_size, device=device) % CLASSES
    params = np.stack([clips.augmentation_params(rng) for _ in range(options.batch_size)])
    return Batch(
        frames.permute(0, 4, 1, 2, 3), labels, torch.arange(options.batch_size), 0, (), torch.from_numpy(params)
    )


def square_clip(text: str) -> ClipShape:
    """The shape of a text such as 8x112x112; DataError if it is not square."""
    numbers = text.split("x")
    if (
        len(numbers) != 3
        or not all(number.isdecimal() and int(number) for number in numbers)
        or numbers[1] != numbers[2]
    ):
        raise DataError(f"--clip {text}: give frames, height and width, which are the same, such as 8x112x112")
    return ClipShape(*map(int, numbers))


def seconds_of(step: RecipeStep, device: torch.device) -> float:
    """Of one step."""
    if device.type == "cpu":
        started = time.process_time()
        step()
        return time.process_time() - started
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda.synchronize()
    begin.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return float(begin.elapsed_time(end)) / 1000


def in_turns(steps: dict[str, RecipeStep], device: torch.device, turns: int) -> dict[str, Tensor]:
    """The seconds (turns,) of a step with each part, after steps that warm it up."""
    for step in steps.values():
        for _ in range(REPLAYED_FROM + 1 if device.type == "cuda" else 1):
            step()
    seconds = [[seconds_of(step, device) for step in steps.values()] for _ in range(turns)]
    return dict(zip(steps, torch.tensor(seconds, dtype=torch.float64).T, strict=True))


def ratio(seconds: Tensor, of_paper: Tensor) -> float:
    """The median over the turns."""
    return float(median((seconds / of_paper).tolist()))


def main() -> int:
    """Measure and print; exit status 0."""
    parser = CommandParser(prog="python -m benchmarks.recipe_step", description=__doc__)
    parser.add_argument("--network", default="srtg_r3d_18")
    parser.add_argument("--clip", default="8x112x112", help="frames x height x width (default: 8x112x112)")
    parser.add_argument("--batch", type=positive_integer, default=8)
    parser.add_argument("--steps", type=positive_integer, default=7)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    tune_device(device.type)
    clip = square_clip(arguments.clip)
    with tempfile.TemporaryDirectory() as folder:
        precision = "bf16" if device.type == "cuda" else "fp32"
        steps = {
            name: RecipeStep(
                arguments.network, options_of(flags, clip, arguments.batch), device, precision, Path(folder)
            )
            for name, flags in PARTS.items()
        }
        seconds = in_turns(steps, device, arguments.steps)
    for name, times in seconds.items():
        print(f"{name}: {1000 * float(times.median()):.1f} ms, {ratio(times, seconds[PAPER]):.3f} of the paper's")
    return 0


if __name__ == "__main__":
    run_command(main)
