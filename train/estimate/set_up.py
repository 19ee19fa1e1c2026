"""The run that is to be estimated: the script's flags, dataset, network and Trainer, as train.main makes them.

The only file of this package that knows the options. Nothing of it writes.
"""

import ast
import os
import runpy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch

from common.cli import CommandParser, boolean
from common.device import prepare_device
from common.distributed.process_group import is_launched
from common.errors import DataError
from common.options import part
from common.processes import available_cpus
from common.ranks import Ranks
from common.text import quoted
from data.clips.dataset import ClipDataset
from data.labels.dataset_spec import DatasetSpec
from data.labels.kept_places import nothing_kept
from data.labels.splits import Splits, load_splits
from data.loading.loader import BatchLoader
from network.weights.reading import read_checkpoint
from train.averaging import AveragingOptions, make_average
from train.checkpoint.files import FORMAT, CheckpointFolder
from train.checkpoint.progress import Progress
from train.checkpoint.start import check_schedule, find_starting_point, with_saved
from train.clip_sampling import check_rates, flipped_labels, training_clips
from train.estimate.batches import RandomBatches
from train.estimate.costs import Frequencies
from train.estimate.disk import check_place
from train.evaluating import most_val_clips, val_loader
from train.file_settings import settings_from_file
from train.freezing import FreezingOptions, make_freezing
from train.losses import LossOptions, make_loss
from train.main import (
    load_starting_weights,
    make_optimizer_step,
    new_network,
    prepare_network,
    run_folder_of,
    trainer_options,
)
from train.mixing import MixingOptions, make_mixing
from train.monitor.trackers.choice import check_tracker
from train.norm_clips import check_norm_clips
from train.options import DatasetChoice, TrainOptions, make_parser, parse_with, resolve_auto, spec_of
from train.precise_norm import batches_for_statistics
from train.schedule.learning import learning_warnings
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Plan, StepSpec
from train.trainer import Trainer

PROG = "python -m train.estimate"
ALONE = Ranks(0, 0, 1)
TINY_RATE = 1e-12  # learning rate: the weights stay as they are, however many steps are measured


class Script(NamedTuple):
    """What a training script hands to train.main.main."""

    path: Path
    description: str
    dataset: DatasetSpec | DatasetChoice
    defaults: TrainOptions


def read_script(path: Path) -> Script:
    """The dataset and the defaults that a training script states, without running it. DataError if it is none."""
    if path.suffix != ".py" or not path.is_file():
        own = sorted(each.name for each in Path().glob("train_*.py"))
        known = f"; here are {', '.join(own)}" if own else ""
        name = quoted(str(path))
        what = f"{name} is no Python script" if os.path.lexists(path) else f"there is no script {name}"
        what = f"{name} is a folder" if path.is_dir() else what
        raise DataError(f"{what}: give the training script first, then its flags{known}")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(each, ast.Expr) and isinstance(each.value, ast.Call) for each in tree.body):
            raise DataError(f'{path} does something when it is imported: call main below `if __name__ == "__main__":`')
        names = runpy.run_path(str(path), run_name="estimated")
    except DataError:
        raise
    except (Exception, SystemExit) as error:  # whatever a script may do
        text = (str(error).splitlines() or [""])[0]
        raise DataError(f"{path} cannot be read as a training script: {type(error).__name__}: {text}") from None
    datasets = [each for each in names.values() if isinstance(each, DatasetSpec | DatasetChoice)]
    defaults = [each for each in names.values() if isinstance(each, TrainOptions)]
    if len(datasets) != 1 or len(defaults) != 1:
        raise DataError(
            f"{path} is no training script: it states {len(datasets)} datasets (DatasetSpec, DatasetChoice) and "
            f"{len(defaults)} TrainOptions, and a script states one of each, as train_custom.py does"
        )
    return Script(path, names.get("__doc__") or "", datasets[0], defaults[0])


def parser_of(script: Script | None, description: str) -> CommandParser:
    """The parser of the command; with a script, also of the script's own flags."""
    if script is None:
        parser = CommandParser(prog=PROG, description=description)
        parser.add_argument("script", type=Path, metavar="SCRIPT.py", help="the training script; then its flags")
    else:
        choice = script.dataset if isinstance(script.dataset, DatasetChoice) else None
        parser = make_parser(description, script.defaults, choice)
        parser.prog = f"{PROG} {script.path}"
    parser.add_argument(
        "--minutes", type=float, default=3.0, metavar="X", help="the most that the measurements may take"
    )
    return parser


def parse(words: Sequence[str], description: str) -> tuple[Script, TrainOptions, float]:
    """Script, options and minutes of a command line; a mistake ends the program with one line and status 2."""
    if not words or words[0].startswith("-"):
        parser = parser_of(None, description)
        is_asking = {"-h", "--help"} & set(words)
        parser.parse_args(["--help"] if is_asking else ["SCRIPT.py"])  # whose error on other flags would mislead
        parser.error("give the training script first, then its flags")
    try:
        script = read_script(Path(words[0]))
    except DataError as error:
        parser_of(None, description).error(str(error))
    parser = parser_of(script, description)
    if _evaluates(words[1:]):
        parser.error("--evaluate does not train: leave it out")
    options, namespace = parse_with(parser, words[1:])
    if namespace.minutes < 0.05:
        parser.error(f"--minutes {namespace.minutes:g}: must be 0.05 or more")
    if is_launched():
        parser.error("start the estimate without torchrun, and give the number of GPUs with --gpus")
    return script, options, namespace.minutes


@dataclass
class Run:
    """One rank of the run, on its device, ready to be measured."""

    plan: Plan  # of all ranks
    gpus: int
    trainer: Trainer  # of this rank alone: without communication
    dataset: ClipDataset
    batches: RandomBatches
    loader: BatchLoader
    val_loader: BatchLoader
    splits: Splits
    workers: int
    accumulate: int
    bad_videos_allowed: int
    device: torch.device
    precision: str
    network: str
    frequencies: Frequencies
    statistics: int  # batches for precise batch norm, before each validation
    log_every: int
    place: Path  # the run's folder, or the nearest above it that exists
    notes: tuple[str, ...]
    with_cycles: Plan | None  # the plan with both multigrid cycles, if the run has none

    @property
    def is_gpu(self) -> bool:
        """Whether it trains on a GPU."""
        return self.device.type == "cuda"

    @property
    def rank_noun(self) -> str:
        """What each rank is to a user: a GPU, or on the CPU a process."""
        return "GPU" if self.is_gpu else "process"

    @property
    def cores(self) -> float:
        """The cores of a rank."""
        return max(1.0, available_cpus() / self.gpus)

    def of_rank(self, spec: StepSpec) -> StepSpec:
        """A step of the plan as one rank has it."""
        return spec._replace(batch_size=spec.batch_size // self.gpus)

    def unit(self, spec: StepSpec) -> int:
        """The fewest clips of a rank's step: one for each sub-batch of each part."""
        return self.accumulate * spec.sub_batches(self.accumulate)

    def fewest(self, spec: StepSpec) -> int:
        """The fewest clips that can be measured: batch norm may need two in each sub-batch."""
        return min(self.of_rank(spec).batch_size, 2 * self.unit(spec))


def _evaluates(words: Sequence[str]) -> bool:
    """Whether flags ask for an evaluation; other mistakes in them may be of that."""
    parser = CommandParser(prog=PROG, add_help=False)
    parser.add_argument("--evaluate", type=boolean, nargs="?", const=True, default=False)
    return bool(parser.parse_known_args(words)[0].evaluate)


def set_up(script: Script, options: TrainOptions) -> Run:
    """Everything that the run has at its first step. UserError on what the run itself would refuse."""
    options = resolve_auto(options)
    notes = _notes(options)
    path, checkpoint = options.pretrained_3d, None
    if path is not None and not (options.resume_epoch == "auto" and not path.exists()):
        checkpoint = read_checkpoint(path)
        options = settings_from_file(options, path, checkpoint)[0]
    spec, world = spec_of(script.dataset, options), Ranks(0, 0, options.gpus)
    check_tracker(options.track)
    folder = run_folder_of(options, spec)
    place, checkpoints = check_place(folder), CheckpointFolder(folder, options.network, options.keep)
    start = find_starting_point(
        checkpoints, options.pretrained_3d, options.resume_epoch, checkpoint=checkpoint, inflate=options.inflate
    )
    options = with_saved(start, options, checkpoint) if start.is_resume else options
    try:
        with nothing_kept():
            splits = load_splits(options.dataset, spec, options.labels, options.source)
    except DataError as error:
        if options.dataset.exists():
            raise
        raise DataError(
            f"{error}; an estimate reads its videos: without them, python -m train.schedule prints the plan alone"
        ) from None
    check_rates(splits.train, options, "training")
    check_rates(splits.val, options, "validation")
    schedule = part(options, ScheduleOptions)
    plan = make_plan(schedule, len(splits.train), options.gpus)
    if not options.fixes_all_norms:
        is_precise = options.precise_bn > 0
        check_norm_clips(plan, schedule, options.accumulate, options.sync_bn, options.network, is_precise)
    if start.is_resume:
        digests = {"train": splits.train.digest(), "val": splits.val.digest()}
        check_schedule(start, options, len(splits.train), plan, digests)
    dataset = ClipDataset(
        splits.train, training_clips(options), options.random_seed, replace_bad=True,
        mirrored_labels=flipped_labels(splits.train.classes, options),
    )  # fmt: skip
    sizes = {(spec.batch_size // options.gpus, spec.shape) for phase in plan.phases for spec in phase.short_cycle}
    batches = RandomBatches(len(splits.train), (), sizes, plan.repeats)
    loader = BatchLoader(dataset, batches, options.workers, options.device == "cuda")
    validation = val_loader(options, splits.val, world)
    for each in (loader, validation):  # as in the run, before the network is on the device
        each.start_workers()
    torch.manual_seed(options.random_seed)
    device = prepare_device(options.device, options.precision, ALONE)
    if device.type == "cpu" and "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, available_cpus() // options.gpus))
    network = new_network(options, len(splits.train.classes))
    freezing = make_freezing(network, part(options, FreezingOptions))
    loaded = load_starting_weights(network, start, options, splits, freezing)
    network = prepare_network(network, options, device)
    freezing.begin_epoch(network, epoch=1)
    average = make_average(network, part(options, AveragingOptions))
    trainer = Trainer(
        network, make_loss(part(options, LossOptions)), make_optimizer_step(network, options, loaded, device, ALONE),
        replace(plan, base_shape_lr=TINY_RATE, warmup_lr=TINY_RATE), device, ALONE,
        trainer_options(options, device, options.gpus),
        checkpoints, {"format": FORMAT}, [], Progress(),
        most_val_clips=most_val_clips(options, world), freezing=freezing, average=average,
        mixing=make_mixing(
            part(options, MixingOptions), options.random_seed, 0, len(splits.train.classes), device,
            options.repeat_clips,
        ),
    )  # fmt: skip
    return Run(
        plan=plan, gpus=options.gpus, trainer=trainer, dataset=dataset, batches=batches,
        loader=loader, val_loader=validation, splits=splits, workers=options.workers,
        accumulate=options.accumulate, bad_videos_allowed=options.bad_videos_allowed, device=device,
        precision=options.precision, network=options.network, frequencies=_frequencies(options),
        statistics=0 if options.fixes_all_norms else batches_for_statistics(options.precise_bn, plan),
        log_every=options.log_every, place=place, notes=(*learning_warnings(plan), *notes),
        with_cycles=_with_cycles(schedule, plan),
    )  # fmt: skip


def _frequencies(options: TrainOptions) -> Frequencies:
    return Frequencies(
        options.val_frequency,
        options.save_frequency,
        options.save_every_steps,
        options.save_every_minutes,
        options.keep,
    )


def _with_cycles(schedule: ScheduleOptions, plan: Plan) -> Plan | None:
    """The plan with both cycles, if the run has neither, and the dataset allows them and is large enough to learn."""
    if schedule.long_cycles or schedule.short_cycles:
        return None
    try:
        found = make_plan(replace(schedule, long_cycles=True, short_cycles=True), plan.num_videos, plan.world_size)
    except DataError:
        return None
    return None if learning_warnings(found) else found


def _notes(options: TrainOptions) -> tuple[str, ...]:
    """What the user should know of the flags."""
    notes = []
    if options.resume_epoch:
        notes.append(
            f"--resume-epoch {options.resume_epoch}: the hours are those of the whole run, from its first epoch"
        )
    if options.gpus > 1:
        ranks = "GPUs" if options.device == "cuda" else "processes"
        notes.append(
            f"--gpus {options.gpus}: measured on one of {options.gpus} {ranks}, with its share of batch, workers and "
            "cores; the time of communication is not in it"
        )
    if options.is_freezing and options.unfreeze_after:
        notes.append(
            f"--unfreeze-after {options.unfreeze_after}: measured with what is frozen; later epochs take longer"
        )
    if options.precise_bn and not options.fixes_all_norms:
        notes.append(
            f"--precise-bn {options.precise_bn}: the time of its batches is reckoned from that of validation clips"
        )
    if options.debug_mode:
        notes.append("--debug-mode is in the measurements, and slows them")
    return tuple(notes)
