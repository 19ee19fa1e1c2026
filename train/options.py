"""All flags of the training scripts. They are parsed, checked and frozen here, and not passed below `train.main`.

Each part of the training declares its own flags (ScheduleOptions, OptimizerOptions, LossOptions, TrainerOptions).
TrainOptions inherits from these and adds the remaining flags.
"""

import argparse
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path
from typing import Any, NamedTuple

from common.cli import LARGEST_CROP_SCALE, CommandParser
from common.distributed.process_group import is_launched
from common.errors import DataError, NetworkError, UserError
from common.layout import with_layout
from common.machine import MachineOptions, with_machine, with_precision
from common.options import add_options, flag_name, flags_of, option, plain, read_options
from common.processes import environment_number
from common.text import quoted
from data.augment.randaugment import NONE as NO_RANDAUGMENT
from data.clips.crop import RESIZED_SIDE_PER_CROP, Range
from data.clips.cropping import AREA, ASPECT, JITTER, KINDS, read_range, read_ratio
from data.clips.intervals import WHOLE, interval_of, intervals_of, read_interval, read_single_interval
from data.clips.mirroring import read_mirrored
from data.clips.sampling import SAMPLINGS, SPAN
from data.labels.dataset_spec import DatasetSpec
from evaluate.views import ViewOptions, normalisation_option
from network import network_names
from network.registry import check_name
from network.srtg import PLACEMENTS
from network.weights.averages import WEIGHTS
from train.averaging import AveragingOptions
from train.clip_sampling import randaugment_of
from train.freezing import FreezingOptions
from train.losses import LossOptions
from train.mixing import MixingOptions
from train.monitor.trackers.choice import NONE, TRACKERS
from train.optim import OptimizerOptions
from train.precise_norm import PreciseNormOptions
from train.recipe import RecipeOptions, with_recipe
from train.regularisation import RegularisationOptions
from train.schedule.options import ScheduleOptions
from train.trainer import TrainerOptions

GROUPS = ("data", "network and weights", "schedule", "optimisation", "machine", "output")
RUN_FILES = (".pth", ".csv", ".json", ".lock")
LONGEST_TASK_NAME = 200  # bytes; a folder's name has 255 on most file systems
PLAIN_NETWORKS = ", ".join(name for name in network_names() if not name.startswith("srtg_"))


def read_flip_labels(words: str | Sequence[str]) -> tuple[str, ...]:
    """The rows of the file that the words name, as text: a run keeps them, and is resumed with the same."""
    if isinstance(words, str) or len(words) != 1:
        raise DataError("give one file")
    return read_mirrored(Path(words[0]))


class DatasetChoice(NamedTuple):
    """The datasets of one script, and the flag that selects one of them."""

    flag: str
    specs: Mapping[str, DatasetSpec]
    default: str
    help: str


@dataclass(frozen=True)
class TrainOptions(
    TrainerOptions,
    LossOptions,
    MixingOptions,
    FreezingOptions,
    OptimizerOptions,
    RegularisationOptions,
    AveragingOptions,
    PreciseNormOptions,
    ScheduleOptions,
    ViewOptions,
    MachineOptions,
    RecipeOptions,
):
    """All options of a run. A script gives its dataset's defaults as an instance."""

    dataset: Path = option(Path(), "folder with jpg/<class>/<video>/frames.db", "data", metavar="DIR", required=True)
    source: str = option(
        "frames", "what clips are read from. frames: the databases in DIR/jpg; videos: the video files "
        "DIR/videos/<class>/<video>.mp4 (or another suffix), without conversion", "data", choices=("frames", "videos"),
        is_compared=True,
    )  # fmt: skip
    labels: Path | None = option(None, "label file or folder (default: DIR/labels, else DIR/../../labels)", "data")
    variant: str = ""  # set by --variant or --split, in scripts with several datasets
    given: tuple[str, ...] = ()  # those of the command line and its recipe; others have the script's defaults
    train_frame_interval: tuple[int, ...] | str = option(
        (2,), "distance between two sampled frames of a clip. 2: every second frame; 1 2: lowest and highest, drawn "
        "for each clip; 2@30: 2/30 of a second, whatever the video's frame rate; all: as --train-sampling span",
        "data", aliases=("--train-frame-inteval",), is_compared=True, read=read_interval, metavar="N",
    )  # fmt: skip
    train_sampling: str = option(
        "uniform", "where in its video a training clip is. uniform: anywhere; normal: around the middle; centre: in "
        "the middle; span: over the whole video, at even steps with a random shift", "data", choices=SAMPLINGS,
        is_compared=True,
    )  # fmt: skip
    val_frame_interval: int | str = option(
        2, "as --train-frame-interval, in validation; all: the clip covers the whole video", "data",
        aliases=("--val-frame-inteval",), is_compared=True, read=read_single_interval, metavar="N",
    )  # fmt: skip
    val_batch_size: int = option(
        0, "clips of a validation batch, over all GPUs; 0: as many as --batch-size", "data", minimum=0
    )
    augment: str = option(
        "full", "changes to training clips after the random crop; flip: mirror half of the clips; full: also colour, "
        "blur, noise and rotation", "data", choices=("none", "flip", "full"), is_compared=True,
    )  # fmt: skip
    randaugment: str = option(
        NO_RANDAUGMENT, "RandAugment, such as 2x9: each training clip goes through N random operations of magnitude M, "
        "0 to 30, instead of the colour, blur, noise and rotation of --augment full", "data", is_compared=True,
        metavar="NxM",
    )  # fmt: skip
    crop: str = option(
        "fixed", "how training crops are drawn, at a random place. fixed: at --crop-scale; jitter: at a scale from "
        "--crop-jitter, drawn for each clip; resized: of an area from --crop-area and proportions from --crop-aspect",
        "data", choices=KINDS, is_compared=True,
    )  # fmt: skip
    crop_scale: float = option(
        RESIZED_SIDE_PER_CROP, "shorter side of the resized frame over the crop's side, as 294/224: in validation, and "
        "in training with --crop fixed (default: 294/256)", "data", minimum=1, below=LARGEST_CROP_SCALE,
        is_compared=True, read=read_ratio, metavar="A/B",
    )  # fmt: skip
    crop_jitter: Range = option(
        JITTER, "as --crop-scale, lowest and highest of --crop jitter (default: 256/224 320/224)", "data",
        is_compared=True, read=read_range, metavar="A/B",
    )  # fmt: skip
    crop_area: Range = option(
        AREA, "lowest and highest share of the frame's area, of --crop resized (default: 0.08 1)", "data",
        is_compared=True, read=read_range, metavar="X",
    )  # fmt: skip
    crop_aspect: Range = option(
        ASPECT, "lowest and highest width over height, of --crop resized (default: 3/4 4/3)", "data",
        is_compared=True, read=read_range, metavar="A/B",
    )  # fmt: skip
    flip_labels: tuple[str, ...] = option(
        (), "a CSV with rows `class,class` of pairs that mirroring makes of each other: a mirrored clip gets the other "
        "label; `class,-`: its clips are not mirrored", "data", is_compared=True, read=read_flip_labels,
        metavar="FILE",
    )  # fmt: skip
    random_seed: int = option(
        1, "seed of initial weights, order of videos, clips and augmentation", "data", minimum=0, maximum=2**63 - 1,
        is_compared=True,
    )  # fmt: skip
    network: str = option(
        "srtg_r3d_34", f"one of {PLAIN_NETWORKS}; the prefix srtg_ adds SRTG to any of them", "network and weights"
    )
    gates: bool = option(
        False, "temporal gates: each block applies SRTG only to clips that are cycle-consistent",
        "network and weights",
    )  # fmt: skip
    placement: str = option(
        "final",
        "where SRTG is in a residual block. start: on the input; top, mid: after the first, second convolution; "
        "end: before the addition; res: on the shortcut; final: on the output",
        "network and weights",
        choices=PLACEMENTS,
    )
    pretrained_3d: Path | None = option(
        None, "checkpoint to load weights from; with --resume-epoch N, the checkpoint to resume", "network and weights",
        aliases=("--pretrained_3d",), metavar="FILE",
    )  # fmt: skip
    inflate: Path | None = option(
        None, "start from the weights of a 2D ResNet of torchvision, repeated over time", "network and weights",
        metavar="FILE",
    )  # fmt: skip
    normalisation: str = normalisation_option()
    weights: str = option(
        "auto", "which weights of a checkpoint of this project to load or to evaluate. auto: those that its run "
        "validated (the moving average of --ema, the statistics of --precise-bn); raw: those that training goes on "
        "with", "network and weights", choices=WEIGHTS,
    )  # fmt: skip
    fine_tune: bool = option(
        False, "weights of --pretrained-3d learn at --loaded-lr-factor of the learning rate, new ones and the "
        "classifier at the full rate", "network and weights",
    )  # fmt: skip
    resume_epoch: str = option(
        "", "resume the run. N: start epoch N from the checkpoint of epoch N-1; auto: from the newest checkpoint, or "
        "start anew if there is none", "network and weights", metavar="N|auto",
    )  # fmt: skip
    evaluate: bool = option(
        False, "only validate the weights of --pretrained-3d or --resume-epoch", "network and weights"
    )
    time_probe: bool = option(
        False, "with --evaluate, also score the videos reversed, shuffled, frozen, and at half and twice the interval: "
        "whether the network uses the order of frames", "network and weights",
    )  # fmt: skip
    sync_bn: bool = option(
        False, "batch norm over the clips of all GPUs instead of each GPU's own", "machine", is_compared=True
    )
    checkpoint_activations: bool = option(
        False, "activation checkpointing: keep only the input of each residual block, compute the rest again: less "
        "memory, more time", "machine",
    )  # fmt: skip
    model_dir: Path | None = option(
        None, "parent of the run's folder (default: results/<name of the dataset>)", "output", metavar="DIR"
    )
    task_name: str = option("", "name to append to the run's folder", "output")
    evaluation_dir: Path | None = option(
        None, "with --evaluate, the folder for the results (default: evaluation_val_<clips>x<crops> beside the "
        "checkpoint)", "output", metavar="DIR",
    )  # fmt: skip
    log_file: str = option(
        "train.log", "log file: a name in the run's folder, or a path with a /", "output", metavar="FILE"
    )
    keep: int = option(
        10, "keep the checkpoints of the newest N epochs, and best and last; 0: keep all", "output", minimum=0
    )
    track: str = option(
        NONE, "also send options and scores to a tracker, whose package must be installed: wandb (Weights & Biases) or "
        "mlflow", "output", choices=(NONE, *TRACKERS),
    )  # fmt: skip
    debug_mode: bool = option(
        False, "log the parameters and every batch, and check each block's output for NaN and infinity (slow)", "output"
    )


def spec_of(dataset: DatasetSpec | DatasetChoice, options: TrainOptions) -> DatasetSpec:
    """The dataset of a script that the options select."""
    return dataset.specs[options.variant] if isinstance(dataset, DatasetChoice) else dataset


OF_A_MACHINE = {
    "dataset",
    "labels",
    "pretrained_3d",
    "inflate",
    "model_dir",
    "log_file",
    "evaluation_dir",
    "device",
    "gpus",
    "workers",
    "debug_mode",
}
"""The flags that may differ between the machines of a run."""


def shared_flags(options: TrainOptions) -> dict[str, Any]:
    """The values that must be the same on all ranks, by flag."""
    values = plain(options)
    shared = {flag_name(name): values[name] for name in flags_of(options) if name not in OF_A_MACHINE}
    return shared | {"the variant of the dataset": options.variant}


def parse_options(
    description: str, defaults: TrainOptions, choice: DatasetChoice | None = None, argv: Sequence[str] | None = None
) -> TrainOptions:
    """Options from a command line; a mistake ends the program with one line and status 2."""
    return parse_with(make_parser(description, defaults, choice), argv)[0]


def parse_with(parser: CommandParser, argv: Sequence[str] | None = None) -> tuple[TrainOptions, argparse.Namespace]:
    """As `parse_options`, with a parser of `make_parser` that may have further arguments, for the Namespace."""
    namespace = parser.parse_args(argv)
    try:
        options = replace(read_options(TrainOptions, namespace), given=_given(parser, argv, vars(namespace)))
        options = without_replaced(with_recipe(options))
        check_options(options)
    except UserError as error:
        parser.error(str(error))
    return options, namespace


def _given(parser: CommandParser, argv: Sequence[str] | None, names: Iterable[str]) -> tuple[str, ...]:
    """Those of the options `names` that the command line `argv` gives, also if it gives their default."""
    absent = object()
    namespace = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(names, absent)))
    return tuple(name for name in sorted(names) if getattr(namespace, name) is not absent)


def make_parser(description: str, defaults: TrainOptions, choice: DatasetChoice | None = None) -> CommandParser:
    """The parser of a script. `choice` adds the flag that selects one of several datasets."""
    parser = CommandParser(description=description)
    groups = add_options(parser, defaults, GROUPS)
    if choice:
        groups["data"].add_argument(
            choice.flag, dest="variant", choices=list(choice.specs), default=choice.default, help=choice.help
        )
    return parser


def check_options(options: TrainOptions) -> None:
    """Check what the bounds of single flags cannot; UserError names the flag."""
    check_intervals(options)
    check_cropping(options)
    check_randaugment(options)
    try:
        check_name(options.network)
    except NetworkError as error:
        raise NetworkError(f"--network: {error}") from None
    _check_task_name(options.task_name)
    if options.log_file.endswith(RUN_FILES):
        raise DataError(
            f"--log-file {quoted(options.log_file)}: a run has other files of this kind; give a .log or .txt"
        )
    resume = options.resume_epoch
    if resume not in ("", "auto") and not (re.fullmatch("[0-9]{1,9}", resume) and int(resume) > 1):
        raise DataError(f"--resume-epoch {resume}: give the epoch to resume at, 2 or more, or auto")
    if options.fine_tune and not options.pretrained_3d:
        also = "; --inflate starts at the full rate, --layer-decay lowers it by stage" if options.inflate else ""
        raise DataError(f"--fine-tune needs weights to start from: give --pretrained-3d FILE{also}")
    if options.fine_tune and resume not in ("", "auto"):
        raise DataError(
            f"--fine-tune starts a new run and --resume-epoch {resume} continues one: give only one of them"
        )
    if options.inflate and options.pretrained_3d:
        raise DataError("--inflate and --pretrained-3d are two sets of weights to start from: give only one of them")
    if options.inflate and options.evaluate:
        raise DataError("--inflate starts a training, and --evaluate needs trained weights: give --pretrained-3d FILE")
    if options.inflate and resume not in ("", "auto"):
        raise DataError(f"--inflate starts a new run and --resume-epoch {resume} continues one: give only one of them")
    if options.erase > 1:
        raise DataError(f"--erase {options.erase:g}: must be 1 or less")
    if options.layer_decay > 1:
        raise DataError(f"--layer-decay {options.layer_decay:g}: must be 1 or less")
    if options.head_only and options.freeze:
        raise DataError(
            "--head-only freezes all parts but the classifier, --freeze those that it names: give one of them"
        )
    if options.time_probe and not options.evaluate:
        raise DataError("--time-probe is of an evaluation: give --evaluate too")
    if options.evaluate and options.pretrained_3d and resume == "auto":
        raise DataError("--evaluate: --pretrained-3d and --resume-epoch auto name two files: give only one of them")
    if options.evaluate and not (options.pretrained_3d or resume):
        raise DataError("--evaluate needs weights: give --pretrained-3d FILE, or --resume-epoch auto for the newest")


def check_intervals(options: TrainOptions) -> None:
    """DataError with the flag if an interval is none, or if two flags say where the clips are."""
    for flag, value, check in (
        ("--train-frame-interval", options.train_frame_interval, intervals_of),
        ("--val-frame-interval", options.val_frame_interval, interval_of),
    ):
        try:
            check(value)
        except DataError as error:
            shown = value if isinstance(value, int | str) else " ".join(map(str, value))
            raise DataError(f"{flag} {shown}: {error}") from None
    sampling = options.train_sampling
    if options.train_frame_interval == WHOLE and "train_sampling" in options.given and sampling != SPAN:
        raise DataError(
            f"--train-frame-interval {WHOLE} and --train-sampling {sampling}: a clip that covers the whole video has "
            "one place; give only one of them"
        )


def check_cropping(options: TrainOptions) -> None:
    """DataError with the flag if the crops of a kind cannot be."""
    for flag, (low, high), least, most in (
        ("--crop-jitter", options.crop_jitter, 1.0, LARGEST_CROP_SCALE),
        ("--crop-area", options.crop_area, 1e-4, 1.0),
        ("--crop-aspect", options.crop_aspect, 0.01, 100.0),
    ):
        if not least <= low <= high <= most:
            raise DataError(f"{flag} {low:g} {high:g}: give lowest and highest, from {least:g} to {most:g}")


def without_replaced(options: TrainOptions) -> TrainOptions:
    """RandAugment and `--augment full` take each other's place: the one that is given that of a default.

    What is left of `--augment full` is to mirror.
    """
    if not randaugment_of(options) or options.augment != "full":
        return options
    if "augment" not in options.given:
        return replace(options, augment="flip")
    return options if "randaugment" in options.given else replace(options, randaugment=NO_RANDAUGMENT)


def check_randaugment(options: TrainOptions) -> None:
    """DataError if --randaugment cannot be read, or if the command line also asks for what it takes the place of."""
    if randaugment_of(options) and options.augment == "full":
        raise DataError(
            "--randaugment takes the place of --augment full: give only one of them (mirrored are half of the clips, "
            "but with --augment none)"
        )


def _check_task_name(name: str) -> None:
    """It becomes a part of a folder's name, to which the network's name is added."""
    if "/" in name or "\0" in name or name in (".", "..") or (name and not name.strip()):
        raise DataError(f"--task-name {quoted(name)}: cannot be a part of a folder's name; give letters or digits")
    if len(os.fsencode(name)) > LONGEST_TASK_NAME:
        raise DataError(f"--task-name {quoted(name)}: must have {LONGEST_TASK_NAME} bytes or fewer")


def resolve_auto(options: TrainOptions) -> TrainOptions:
    """Replace `auto`, --gpus 0 and --workers -1 by values for this machine; DataError if it has too few GPUs."""
    options = with_machine(options)
    if not options.evaluate:
        _check_batch(options, environment_number("WORLD_SIZE", minimum=1) if is_launched() else options.gpus)
    _check_precision(options.precision, options.device, options.evaluate)
    return replace(
        options,
        precision=with_precision(options.precision, options.device),
        layout=with_layout(options.layout, options.device),
    )


def _check_precision(precision: str, device: str, evaluate: bool) -> None:
    """In bf16 on the CPU, torch 2.13 writes the gradient of some kernels of 3 channels beyond its memory."""
    if device == "cpu" and (precision == "fp16" or (precision == "bf16" and not evaluate)):
        remedy = "use fp32 or bf16" if evaluate else "train in fp32"
        raise DataError(f"--precision {precision} needs a GPU: on the CPU {remedy}")


def _check_batch(options: TrainOptions, world_size: int) -> None:
    parts = world_size * lcm(options.accumulate, options.repeat_clips)
    if options.batch_size % parts:
        over = [f"{world_size} GPUs"] if options.device == "cuda" or world_size > 1 else []
        over += [f"--accumulate {options.accumulate} parts"] if options.accumulate > 1 else []
        over += [f"the {options.repeat_clips} clips of each video (--repeat-clips)"] if options.repeat_clips > 1 else []
        raise DataError(
            f"--batch-size {options.batch_size} cannot be divided over {' and '.join(over)}: give a "
            f"multiple of {parts}, such as {max(1, round(options.batch_size / parts)) * parts}"
        )
