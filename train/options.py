"""All flags of the training scripts: parsed, checked and frozen here, and not passed below `train.main`.

A part of the training declares its flags beside itself (ScheduleOptions, OptimizerOptions, LossOptions,
TrainerOptions). The others are the fields of TrainOptions, which inherits from all of them.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from common.cli import CommandParser
from common.errors import DataError, UserError
from common.options import add_options, option, read_options
from common.processes import available_cpus
from data.labels.dataset_spec import DatasetSpec
from network import network_names
from network.registry import check_name
from network.srtg import PLACEMENTS
from train.distributed.process_group import is_launched
from train.losses import LossOptions
from train.optim import OptimizerOptions
from train.schedule.options import ScheduleOptions
from train.trainer import TrainerOptions

GROUPS = ("data", "network and weights", "schedule", "optimisation", "machine", "output")
PLAIN_NETWORKS = ", ".join(name for name in network_names() if not name.startswith("srtg_"))


class DatasetChoice(NamedTuple):
    """Datasets of one script, and the flag that chooses among them."""

    flag: str
    specs: Mapping[str, DatasetSpec]
    default: str
    help: str


@dataclass(frozen=True)
class TrainOptions(TrainerOptions, LossOptions, OptimizerOptions, ScheduleOptions):
    """All that a run is told; a script sets its dataset's defaults by an instance."""

    dataset: Path = option(
        Path(), "folder that holds jpg/<class>/<video>/frames.db", "data", metavar="DIR", required=True
    )
    labels: Path | None = option(None, "label file or folder; else DATASET/labels, then DATASET/../../labels", "data")
    variant: str = ""  # by --variant or --split, where a script has several datasets
    train_frame_interval: tuple[int, ...] = option(
        (2,), "distance between sampled frames, or lowest and highest to draw it from", "data",
        spellings=("--train-frame-inteval",), is_compared=True,
    )  # fmt: skip
    val_frame_interval: int = option(
        2, "distance between sampled frames in validation", "data",
        spellings=("--val-frame-inteval",), metavar="N", least=1,
    )  # fmt: skip
    val_clips: int = option(1, "evenly spaced clips of each video in validation", "data", least=1)
    val_batch_size: int = option(0, "videos of a validation batch, over all GPUs; 0: --batch-size", "data", least=0)
    augment: str = option(
        "full", "random changes to training clips beside their crop: none, mirrored with probability 1/2, or all",
        "data", choices=("none", "flip", "full"), is_compared=True,
    )  # fmt: skip
    random_seed: int = option(1, "of weights, order of videos and choice of clips", "data", least=0, is_compared=True)
    workers: int = option(-1, "processes that read clips, each rank; -1: by the cores", "data")
    network: str = option(
        "srtg_r3d_34", f"one of {PLAIN_NETWORKS}, or one of these after srtg_: with SRTG", "network and weights"
    )
    gates: bool = option(False, "let temporal gates decide for each clip and block", "network and weights")
    placement: str = option("final", "where in a block its SRTG is", "network and weights", choices=PLACEMENTS)
    pretrained_3d: Path | None = option(
        None, "checkpoint to start from", "network and weights", spellings=("--pretrained_3d",), metavar="FILE"
    )
    fine_tune: bool = option(False, "loaded weights learn slower than new ones", "network and weights")
    resume_epoch: str = option(
        "", "go on with epoch N from the checkpoint of N-1, or from the newest one", "network and weights",
        metavar="N|auto",
    )  # fmt: skip
    evaluate: bool = option(
        False, "validate the weights of --pretrained-3d or --resume-epoch, train nothing", "network and weights"
    )
    device: str = option("auto", "auto: GPUs if there are any", "machine", choices=("auto", "cuda", "cpu"))
    gpus: int = option(0, "GPUs of this machine, or processes on the CPU; 0: all, or one", "machine", least=0)
    sync_bn: bool = option(
        False, "batch statistics over all GPUs instead of each one's own", "machine", is_compared=True
    )
    checkpoint_activations: bool = option(
        False, "keep the input of each residual block alone and compute its inside again: less memory, more time",
        "machine",
    )  # fmt: skip
    model_dir: Path | None = option(None, "folder of runs; results/<DATASET> by default", "output")
    task_name: str = option("", "label of the run, appended to the name of its folder", "output")
    log_file: str = option("train.log", "in the run's folder unless it is a path", "output")
    keep: int = option(10, "newest epochs' checkpoints to keep beside best and last; 0: all", "output", least=0)
    debug_mode: bool = option(False, "log all, and look for values that are not finite at each block", "output")


def parse_options(
    description: str, defaults: TrainOptions, choice: DatasetChoice | None = None, argv: Sequence[str] | None = None
) -> TrainOptions:
    """Options from a command line; a mistake ends the program with one line and status 2."""
    parser = make_parser(description, defaults, choice)
    namespace = parser.parse_args(argv)
    try:
        options = read_options(TrainOptions, namespace)
        check_options(options)
    except UserError as error:
        parser.error(str(error))
    return options


def make_parser(description: str, defaults: TrainOptions, choice: DatasetChoice | None = None) -> CommandParser:
    """The parser of a script. `choice` is among the datasets of a script, where it has several."""
    parser = CommandParser(description=description)
    groups = add_options(parser, defaults, GROUPS)
    if choice:
        groups["data"].add_argument(
            choice.flag, dest="variant", choices=list(choice.specs), default=choice.default, help=choice.help
        )
    return parser


def check_options(options: TrainOptions) -> None:
    """UserError naming the flag if two values together make no sense, or one that no bound describes."""
    if options.random_seed >= 2**63:
        raise DataError(f"--random-seed {options.random_seed}: must be below 2**63")
    intervals = options.train_frame_interval
    if len(intervals) not in (1, 2) or min(intervals) < 1 or intervals[0] > intervals[-1]:
        raise DataError(
            f"--train-frame-interval {' '.join(map(str, intervals))}: give one interval, or lowest and highest"
        )
    check_name(options.network)
    resume = options.resume_epoch
    if resume not in ("", "auto") and not (resume.isdigit() and int(resume) > 1):
        raise DataError(f"--resume-epoch {resume}: give the epoch to go on with, from 2 on, or auto")
    if options.fine_tune and not options.pretrained_3d:
        raise DataError("--fine-tune needs the weights to start from: --pretrained-3d FILE")
    if options.fine_tune and resume not in ("", "auto"):
        raise DataError("--fine-tune starts a new run, --resume-epoch N goes on with one: give one of them")
    if options.evaluate and not (options.pretrained_3d or resume):
        raise DataError("--evaluate needs weights: --pretrained-3d FILE, or --resume-epoch auto for those of the run")
    if options.device == "cpu" and options.precision == "fp16":
        raise DataError("--precision fp16 needs a GPU: on the CPU use fp32 or bf16")


def resolve_auto(options: TrainOptions) -> TrainOptions:
    """Replace `auto` and `all` by what this machine has; DataError if it has not what the options ask for."""
    device = _device(options)
    gpus = options.gpus or (torch.cuda.device_count() if device == "cuda" else 1)
    _check_batch(options, int(os.environ["WORLD_SIZE"]) if is_launched() else gpus)
    precision = options.precision
    if precision == "auto":
        precision = "fp32" if device == "cpu" else "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"
    workers = options.workers
    if workers < 0:
        cores = available_cpus() // int(os.environ.get("LOCAL_WORLD_SIZE", gpus))
        workers = max(1, min(16, cores if device == "cuda" else cores // 2))
    return replace(options, device=device, gpus=gpus, precision=precision, workers=workers)


def _device(options: TrainOptions) -> str:
    present = torch.cuda.device_count()
    device = options.device if options.device != "auto" else "cuda" if present else "cpu"
    if device == "cuda":
        local_ranks = int(os.environ["LOCAL_WORLD_SIZE"]) if is_launched() else options.gpus
        if local_ranks > present or not present:
            asked = f"--gpus {local_ranks}" if local_ranks else "--device cuda"
            raise DataError(f"{asked}: this machine has {present} GPUs that torch can use")
    elif options.device == "auto" and options.gpus > 1:
        raise DataError(
            f"--gpus {options.gpus}: this machine has no GPU that torch can use; for {options.gpus} processes on the "
            "CPU add --device cpu"
        )
    return device


def _check_batch(options: TrainOptions, world_size: int) -> None:
    parts = world_size * options.accumulate
    if options.batch_size % parts:
        accumulated = f" and --accumulate {options.accumulate} parts" if options.accumulate > 1 else ""
        raise DataError(
            f"--batch-size {options.batch_size} cannot be divided over {world_size} GPUs{accumulated}: give a "
            f"multiple of {parts}, such as {max(1, round(options.batch_size / parts)) * parts}"
        )
