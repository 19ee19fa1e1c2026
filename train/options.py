"""Every option of the training scripts, once: parsed, checked and frozen here, and never passed below `train.main`."""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from common.cli import CommandParser, StoreNumbers, boolean
from common.errors import DataError, NetworkError
from data.labels.dataset_spec import DatasetSpec
from network import network_names
from network.registry import check_name
from network.srtg import PLACEMENTS


@dataclass(frozen=True)
class Defaults:
    """What a script sets for its dataset."""

    clip_length: int = 16
    clip_size: int = 256
    train_frame_interval: tuple[int, ...] = (2,)
    val_frame_interval: int = 2
    batch_size: int = 32
    long_cycles: bool = False
    short_cycles: bool = False
    lr_base: float = 0.1
    lr_steps: tuple[int, ...] = (15, 30, 40)
    end_epoch: int = 100
    augment: str = "full"


class DatasetChoice(NamedTuple):
    """Datasets of one script, and the flag that chooses among them."""

    flag: str
    specs: Mapping[str, DatasetSpec]
    default: str
    help: str


@dataclass(frozen=True)
class TrainOptions:
    """All that a run is told. Names are those of the flags; README.md and --help explain them."""

    dataset: Path
    labels: Path | None
    variant: str  # by --variant or --split, where a script has several datasets
    network: str
    gates: bool
    placement: str
    task_name: str
    model_dir: Path | None
    log_file: str
    clip_length: int
    clip_size: int
    train_frame_interval: tuple[int, ...]
    val_frame_interval: int
    val_clips: int
    augment: str
    batch_size: int
    val_batch_size: int
    accumulate: int
    long_cycles: bool
    short_cycles: bool
    multigrid: str
    lr_base: float
    lr_steps: tuple[int, ...]
    lr_factor: float
    warmup_epochs: float | None
    warmup_lr: float | None
    clip_grad: float
    end_epoch: int
    pretrained_3d: Path | None
    fine_tune: bool
    loaded_lr_factor: float
    resume_epoch: str
    evaluate: bool
    device: str
    gpus: int
    precision: str
    sync_bn: bool
    checkpoint_activations: bool
    workers: int
    on_bad_video: str
    bad_video_limit: int
    save_frequency: int
    save_every_steps: int
    save_every_minutes: float
    keep: int
    val_frequency: int
    log_every: int
    random_seed: int
    debug_mode: bool


def parse_options(
    description: str, defaults: Defaults, choice: DatasetChoice | None = None, argv: Sequence[str] | None = None
) -> TrainOptions:
    """Options from a command line; a mistake ends the program with one line and status 2."""
    parser = make_parser(description, defaults, choice)
    values = vars(parser.parse_args(argv))
    values.setdefault("variant", "")
    assert values.keys() == {field.name for field in fields(TrainOptions)}
    options = TrainOptions(**values)
    try:
        check_options(options)
    except DataError as error:
        parser.error(str(error))
    return options


def make_parser(description: str, defaults: Defaults, choice: DatasetChoice | None = None) -> CommandParser:
    """The parser of a script. `choice` is among the datasets of a script, where it has several."""
    parser = CommandParser(description=description, formatter_class=_HelpFormatter)
    _add_data_flags(parser.add_argument_group("data"), defaults, choice)
    _add_network_flags(parser.add_argument_group("network and weights"))
    _add_schedule_flags(parser.add_argument_group("schedule"), defaults)
    _add_machine_flags(parser.add_argument_group("machine"))
    _add_output_flags(parser.add_argument_group("output"))
    return parser


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Keeps the description's lines, shows defaults."""


_Group = Any  # argparse keeps the type of its groups to itself


def _flag(group: _Group, *names: str, default: bool, help: str) -> None:
    group.add_argument(*names, type=boolean, nargs="?", const=True, default=default, metavar="True|False", help=help)


def _add_data_flags(group: _Group, defaults: Defaults, choice: DatasetChoice | None) -> None:
    group.add_argument("--dataset", type=Path, required=True, help="folder that holds jpg/<class>/<video>/frames.db")
    group.add_argument(
        "--labels", type=Path, help="label file or folder; else DATASET/labels, then DATASET/../../labels"
    )
    if choice:
        group.add_argument(
            choice.flag, dest="variant", choices=list(choice.specs), default=choice.default, help=choice.help
        )
    group.add_argument("--clip-length", type=int, default=defaults.clip_length, help="frames of a clip")
    group.add_argument(
        "--clip-size", type=int, default=defaults.clip_size, help="height and width of a clip, in pixels"
    )
    group.add_argument(
        "--train-frame-interval", "--train-frame-inteval", nargs="+", action=StoreNumbers, metavar="N",
        default=defaults.train_frame_interval,
        help="distance between sampled frames, or lowest and highest to draw it from",
    )  # fmt: skip
    group.add_argument(
        "--val-frame-interval", "--val-frame-inteval", type=int, default=defaults.val_frame_interval, metavar="N",
        help="distance between sampled frames in validation",
    )  # fmt: skip
    group.add_argument("--val-clips", type=int, default=1, help="evenly spaced clips of each video in validation")
    group.add_argument(
        "--augment", choices=("none", "flip", "full"), default=defaults.augment,
        help="random changes to training clips beside their crop: none, mirrored with probability 1/2, or all",
    )  # fmt: skip
    group.add_argument(
        "--on-bad-video", choices=("stop", "skip"), default="stop",
        help="stop at a video that cannot be read, or draw another in its place and list it",
    )  # fmt: skip
    group.add_argument(
        "--bad-video-limit", type=int, default=100, help="videos that `skip` may replace in an epoch, in each process"
    )
    group.add_argument("--workers", type=int, default=-1, help="processes that read clips, each rank; -1: by the cores")


def _add_network_flags(group: _Group) -> None:
    plain = [name for name in network_names() if not name.startswith("srtg_")]
    group.add_argument(
        "--network", default="srtg_r3d_34", help=f"one of {', '.join(plain)}, or one of these after srtg_: with SRTG"
    )
    _flag(group, "--gates", default=False, help="let temporal gates decide for each clip and block")
    group.add_argument("--placement", choices=PLACEMENTS, default="final", help="where in a block its SRTG is")
    group.add_argument("--pretrained-3d", "--pretrained_3d", type=Path, metavar="FILE", help="checkpoint to start from")
    _flag(group, "--fine-tune", default=False, help="loaded weights learn slower than new ones")
    group.add_argument("--loaded-lr-factor", type=float, default=0.1, help="how much slower, with --fine-tune")
    group.add_argument(
        "--resume-epoch", default="", metavar="N|auto",
        help="go on with epoch N from the checkpoint of N-1, or from the newest one",
    )  # fmt: skip
    _flag(
        group,
        "--evaluate",
        default=False,
        help="validate the weights of --pretrained-3d or --resume-epoch, train nothing",
    )


def _add_schedule_flags(group: _Group, defaults: Defaults) -> None:
    group.add_argument("--batch-size", type=int, default=defaults.batch_size, help="clips of a batch, over all GPUs")
    group.add_argument(
        "--val-batch-size", type=int, default=0, help="videos of a validation batch, over all GPUs; 0: as above"
    )
    group.add_argument("--accumulate", type=int, default=1, help="parts in which a batch goes through a GPU's memory")
    _flag(group, "--long-cycles", default=defaults.long_cycles, help="multigrid: shapes that change over epochs")
    _flag(group, "--short-cycles", default=defaults.short_cycles, help="multigrid: crops that change from step to step")
    group.add_argument(
        "--multigrid", choices=("paper", "per-epoch"), default="paper",
        help="long cycles within each lr step, or all four shapes in each epoch",
    )  # fmt: skip
    group.add_argument("--lr-base", type=float, default=defaults.lr_base, help="learning rate of the base batch")
    group.add_argument(
        "--lr-steps",
        nargs="+",
        action=StoreNumbers,
        default=defaults.lr_steps,
        metavar="N",
        help="epochs after which it falls",
    )
    group.add_argument("--lr-factor", type=float, default=0.1, help="to what share it falls")
    group.add_argument("--warmup-epochs", type=float, help="epochs of linear warm-up; by default only for long cycles")
    group.add_argument(
        "--warmup-lr", type=float, help="rate at which the warm-up begins; a tenth of the base by default"
    )
    group.add_argument("--clip-grad", type=float, default=0.0, help="largest norm of the gradient; 0: any")
    group.add_argument("--end-epoch", type=int, default=defaults.end_epoch, help="nominal epochs")
    group.add_argument("--random-seed", type=int, default=1, help="of weights, order of videos and choice of clips")


def _add_machine_flags(group: _Group) -> None:
    group.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="auto: GPUs if there are any")
    group.add_argument(
        "--gpus", type=int, default=0, help="GPUs of this machine, or processes on the CPU; 0: all, or one"
    )
    group.add_argument(
        "--precision", choices=("auto", "fp32", "fp16", "bf16"), default="auto",
        help="auto: bf16 where the GPU has it, else fp16 with a scaler; fp32 on the CPU",
    )  # fmt: skip
    _flag(group, "--sync-bn", default=False, help="batch statistics over all GPUs instead of each one's own")
    _flag(
        group, "--checkpoint-activations", default=False,
        help="keep the input of each residual block alone and compute its inside again: less memory, more time",
    )  # fmt: skip


def _add_output_flags(group: _Group) -> None:
    group.add_argument("--model-dir", type=Path, help="folder of runs; results/<DATASET> by default")
    group.add_argument("--task-name", default="", help="label of the run, appended to the name of its folder")
    group.add_argument("--log-file", default="train.log", help="in the run's folder unless it is a path")
    group.add_argument("--save-frequency", type=int, default=1, help="epochs between checkpoints that are kept")
    group.add_argument("--save-every-steps", type=int, default=0, help="also save within epochs; 0: not")
    group.add_argument("--save-every-minutes", type=float, default=0, help="also save within epochs; 0: not")
    group.add_argument(
        "--keep", type=int, default=10, help="newest epochs' checkpoints to keep beside best and last; 0: all"
    )
    group.add_argument("--val-frequency", type=int, default=1, help="epochs between validations")
    group.add_argument("--log-every", type=int, default=20, help="steps between lines of the log")
    _flag(group, "--debug-mode", default=False, help="log all, and look for values that are not finite at each block")


def check_options(options: TrainOptions) -> None:
    """DataError naming the flag if a value, or two together, make no sense."""
    at_least = {
        1: ("clip_length", "clip_size", "val_frame_interval", "val_clips", "batch_size", "accumulate", "end_epoch",
            "save_frequency", "val_frequency", "log_every", "bad_video_limit"),
        0: ("val_batch_size", "gpus", "keep", "save_every_steps", "save_every_minutes", "clip_grad", "random_seed"),
    }  # fmt: skip
    for lowest, names in at_least.items():
        for name in names:
            if not getattr(options, name) >= lowest:  # nor is it NaN
                raise DataError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be {lowest} or more")
    for name in ("lr_base", "lr_factor", "loaded_lr_factor"):
        if not getattr(options, name) > 0:
            raise DataError(f"--{name.replace('_', '-')} {getattr(options, name)}: must be above 0")
    if options.random_seed >= 2**63:
        raise DataError(f"--random-seed {options.random_seed}: must be below 2**63")
    intervals = options.train_frame_interval
    if len(intervals) not in (1, 2) or min(intervals) < 1 or intervals[0] > intervals[-1]:
        raise DataError(
            f"--train-frame-interval {' '.join(map(str, intervals))}: give one interval, or lowest and highest"
        )
    try:
        check_name(options.network)
    except NetworkError as error:
        raise DataError(f"--network: {error}") from None
    if options.resume_epoch not in ("", "auto") and not (
        options.resume_epoch.isdigit() and int(options.resume_epoch) > 1
    ):
        raise DataError(f"--resume-epoch {options.resume_epoch}: give the epoch to go on with, from 2 on, or auto")
    if options.fine_tune and not options.pretrained_3d:
        raise DataError("--fine-tune needs the weights to start from: --pretrained-3d FILE")
    if options.fine_tune and options.resume_epoch not in ("", "auto"):
        raise DataError("--fine-tune starts a new run, --resume-epoch N goes on with one: give one of them")
    if options.evaluate and not (options.pretrained_3d or options.resume_epoch):
        raise DataError("--evaluate needs weights: --pretrained-3d FILE, or --resume-epoch auto for those of the run")
    if options.device == "cpu" and options.precision == "fp16":
        raise DataError("--precision fp16 needs a GPU: on the CPU use fp32 or bf16")
