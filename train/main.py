"""From a command line to a trained network. Only this file knows options, dataset and network together.

`_begin` shows the order: options, ranks, data, network, optimiser, schedule, trainer. Then `_fit` trains.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch
from rich.console import Console

from common.cli import run_command
from common.device import prepare_device
from common.distributed.launch import launch
from common.distributed.process_group import check_agreement, is_launched, on_all_ranks, process_group, unused_world
from common.distributed.stop_signal import StoppedBySignal, keep_outcome, stopping_at_once
from common.errors import DataError, TrainingError, UserError
from common.json_text import json_text
from common.kernels.switch import use_kernels
from common.known_errors import describe_known_error
from common.layout import LAYOUTS, moved
from common.logs import (
    FILE_ONLY,
    LOG,
    is_file_awaited,
    log_table,
    make_console,
    print_result,
    start_logging,
)
from common.normalisation import SRTG, normalisation_of
from common.options import part, plain
from common.precision import DTYPES
from common.ranks import Ranks
from data.augment.use import description_of_kernels as description_of_augmentation
from data.clips.cropping import Cropping
from data.clips.dataset import ClipDataset
from data.labels.content import content_of
from data.labels.dataset_spec import DatasetSpec
from data.labels.passport import passport_lines, passport_of, warning_of_others
from data.labels.splits import Splits, load_splits
from data.loading.loader import BatchLoader
from evaluate.known_videos import Contents, agreed_contents, is_first_of_machine
from evaluate.progress import EvaluationProgress
from evaluate.results.checkpoint_file import checkpoint_facts
from network import VideoNetwork, create_network
from network.activation_checkpointing import checkpoint_activations
from network.kernels.use import description_of_kernels
from network.regularisation import zero_init_residual
from network.sub_batch_norm import use_sub_batch_norm
from network.weights.loading import CLASSIFIER
from network.weights.reading import read_checkpoint
from train.averaging import AveragingOptions, make_average
from train.checkpoint.files import Checkpoint, CheckpointFolder
from train.checkpoint.progress import BEST_BY, Progress
from train.checkpoint.run_id import run_id_of
from train.checkpoint.start import (
    StartingPoint,
    check_same_run,
    check_schedule,
    find_starting_point,
    load_pretrained,
    load_resumed,
    resume_state,
    strangers_to,
    with_saved,
)
from train.checkpoint.videos import has_same_validation, saved_contents, warning_of_trained
from train.clip_sampling import (
    check_rates,
    flipped_labels,
    tell_crops,
    tell_mirroring,
    tell_randaugment,
    tell_spans,
    training_clips,
    training_crops,
    unused_crops,
    unused_interval,
)
from train.content_watch import ContentWatch
from train.debug import check_blocks, log_network
from train.evaluating import most_val_clips, run_evaluation, tell_enlarged, val_loader, val_shape
from train.failures import tell
from train.file_settings import Notes, settings_from_file
from train.fine_tuning import learning_lines, rates_of, unused_flags
from train.freezing import Freezing, FreezingOptions, check_frozen_weights, check_resumed, make_freezing
from train.losses import LossOptions, make_loss
from train.mixing import MixingOptions, make_mixing, mixing_warnings
from train.monitor.callbacks import ConsoleLog, ProgressBar
from train.monitor.reports import Callback, EpochReport
from train.monitor.score_files import ScoreFiles, scores_of_epoch
from train.monitor.tensorboard import TensorBoardLog
from train.monitor.trackers.choice import NONE, check_tracker, make_tracker
from train.monitor.trackers.tracker import RunInfo
from train.norm_clips import accumulation_warnings, check_norm_clips
from train.optim import OptimizerOptions, make_optimizer
from train.optimizer_step import OptimizerStep
from train.options import DatasetChoice, TrainOptions, parse_options, resolve_auto, shared_flags, spec_of
from train.part_lines import part_lines, unused_parts
from train.precise_norm import PreciseNormOptions, batches_for_statistics, make_precise_norm
from train.recipe import recipe_warnings
from train.regularisation import RegularisationOptions, make_draws, regularise
from train.run_facts import network_facts, plain_contents, run_facts, shared_facts, validation_facts
from train.run_folder import OPTIONS, RunFolder, is_of_another_run
from train.schedule.learning import learning_warnings
from train.schedule.multigrid import make_plan
from train.schedule.options import ScheduleOptions
from train.schedule.plan import Plan
from train.schedule.sampler import ScheduleSampler
from train.schedule.table import plan_summary, plan_table
from train.trainer import Trainer, TrainerOptions, is_validated


def main(description: str, dataset: DatasetSpec | DatasetChoice, defaults: TrainOptions) -> NoReturn:
    """Run a script: parse its command line, train (or evaluate), and exit.

    Exit status: 0 done; 1 the run failed; 2 a mistake on the command line or in the data; 129 stopped by SIGHUP, 143 by
    SIGTERM or SIGUSR1, after saving a checkpoint if there was something to save.
    """
    choice = dataset if isinstance(dataset, DatasetChoice) else None
    options = parse_options(description, defaults, choice)
    run_command(lambda: _start(options, dataset))


def _start(options: TrainOptions, dataset: DatasetSpec | DatasetChoice) -> int:
    """Start the ranks, or run as one of them. Returns the exit status."""
    options = resolve_auto(options)
    if warning := unused_world():
        print(f"warning: {warning}", file=sys.stderr)
    if options.gpus > 1 and not is_launched():
        return launch(options.gpus, sys.argv)
    try:
        with process_group(options.device) as ranks:
            return _run_together(options, dataset, ranks)
    except TrainingError as error:
        if not error.is_told:
            LOG.error("%s", error)
        return error.exit_status
    except (UserError, StoppedBySignal):
        raise
    except Exception as error:
        reason = describe_known_error(error)
        if not reason:
            raise
        LOG.error("%s", reason)
        return 1


def _run_together(options: TrainOptions, dataset: DatasetSpec | DatasetChoice, ranks: Ranks) -> int:
    """Run, and turn what ends all ranks at once into an exit status, so that `process_group` closes normally."""
    try:
        with stopping_at_once(), ExitStack() as held, _reason_in_log():
            return _run(options, dataset, ranks, held)
    except UserError as error:
        if not error.on_all_ranks:
            raise
        tell(error, ranks)
        return error.exit_status
    except StoppedBySignal as stop:
        if not stop.is_saved:
            if ranks.is_first and is_file_awaited() and not options.evaluate:
                with suppress(DataError):  # it stops in any case
                    RunFolder(
                        run_folder_of(options, spec_of(dataset, options)), options.log_file, ExitStack()
                    ).open_log()
            LOG.warning("stopped by a signal (%s) outside of the training steps: there was nothing to save", stop.name)
        return stop.exit_status
    except KeyboardInterrupt:
        if ranks.is_first:
            raise
        # After a Ctrl-C the first rank says it, and `launch` says of one rank alone. torchrun does not.
        if "TORCHELASTIC_RUN_ID" in os.environ:
            print(f"rank {ranks.rank} was interrupted (SIGINT)", file=sys.stderr)
        return 130


@contextmanager
def _reason_in_log() -> Iterator[None]:
    """Write why the run ends to the log file, also where the console gets it in another way. The reason stays."""
    try:
        try:
            yield
        finally:
            keep_outcome()
    except KeyboardInterrupt:
        LOG.warning("interrupted", extra=FILE_ONLY)
        raise
    except TrainingError:  # logged where it is caught
        raise
    except UserError as error:
        LOG.error("%s", error, extra=FILE_ONLY)
        raise
    except Exception as error:
        if not describe_known_error(error):
            LOG.critical("the run failed", exc_info=True, extra=FILE_ONLY)
        raise


class _Begun(NamedTuple):
    """What `_fit` needs: not the checkpoint that the run started from, which would stay in memory for the whole run."""

    trainer: Trainer
    loaders: "_Loaders"


def _run(options: TrainOptions, dataset: DatasetSpec | DatasetChoice, ranks: Ranks, held: ExitStack) -> int:
    begun = _begin(options, dataset, ranks, held)
    return _fit(*begun) if isinstance(begun, _Begun) else begun


def _begin(options: TrainOptions, dataset: DatasetSpec | DatasetChoice, ranks: Ranks, held: ExitStack) -> _Begun | int:
    """All that comes before the first step; or, with --evaluate, the evaluation and its exit status."""
    console = make_console()
    start_logging(console, ranks.is_first, options.debug_mode)
    of_file = checkpoint_facts(options.pretrained_3d) if options.pretrained_3d else {}  # before it is read
    pretrained, options, notes = on_all_ranks(ranks, lambda: _read_pretrained(options))
    spec = spec_of(dataset, options)
    folder = run_folder_of(options, spec)
    run_folder = RunFolder(folder, options.log_file, held)
    if options.evaluate:
        if "log_file" in options.given:
            on_all_ranks(ranks, lambda: ranks.is_first and run_folder.open_log())
        if "track" in options.given:
            LOG.warning("--track has no effect with --evaluate")
        return run_evaluation(options, dataset, ranks, folder, pretrained, of_file, console)
    on_all_ranks(ranks, lambda: ranks.is_first and check_tracker(options.track))
    on_all_ranks(ranks, lambda: ranks.is_first and run_folder.lock_if_there())
    for level, note in notes:
        LOG.log(level, "%s", note)
    for unused in filter(None, (unused_interval(options), *unused_crops(options))):
        LOG.warning("%s", unused)
    torch.manual_seed(options.random_seed)
    device = prepare_device(options.device, options.precision, ranks)
    checkpoints = CheckpointFolder(folder, options.network, options.keep, run_folder.check)

    run_id = run_id_of(ranks)
    start, options, splits, digests, own_contents, network, loaded, freezing, plan = on_all_ranks(
        ranks, lambda: _set_up(options, spec, ranks, checkpoints, pretrained, run_id)
    )
    contents, frames = agreed_contents(ranks, own_contents)
    check_agreement(ranks, shared_flags(options) | shared_facts(start, digests, loaded, ranks) | frames)
    loaders = _start_loaders(options, splits, plan, start, ranks)
    checkpoints.keep = options.keep
    network = prepare_network(network, options, device)
    freezing.begin_epoch(network, first_epoch(start))
    for line in freezing.lines(network, first_epoch(start)):
        LOG.info("%s", line)
    average = make_average(network, part(options, AveragingOptions))
    optimizer_step = make_optimizer_step(network, options, loaded, device, ranks)
    progress, strangers = Progress(best_by=options.best_by), list[Path]()
    if start.is_resume:
        progress = on_all_ranks(ranks, lambda: resume_state(start, network, optimizer_step, device, ranks, average))
        assert start.checkpoint is not None
        contents = saved_contents(start.checkpoint, contents)
        is_over = progress.epoch > plan.num_epochs
        if not is_over and not has_same_validation(start.checkpoint, options, digests, contents):
            progress.forget_best(options.best_by)
        strangers = on_all_ranks(ranks, lambda: strangers_to(start, checkpoints, progress, is_over))
        validated = partial(is_validated, plan=plan, options=part(options, TrainerOptions))
        LOG.info("resuming %s %s", start.path, progress.next_of(plan.num_epochs, plan.steps_in_epoch, validated))
    facts = run_facts(options, network, splits.train, digests, contents, loaded, start, run_id, ranks.world_size)
    score_files = ScoreFiles(folder, validation_facts(options, digests, contents))
    board = TensorBoardLog(folder, progress.global_step)

    def take_contents(contents: Contents) -> None:
        facts["content"] = plain_contents(contents)
        score_files.validation = validation_facts(options, digests, contents)

    trainer = Trainer(
        network,
        make_loss(part(options, LossOptions)),
        optimizer_step,
        plan,
        device,
        ranks,
        trainer_options(options, device, ranks.world_size),
        checkpoints,
        facts,
        _callbacks(folder, console, progress, [score_files, board], options, facts["run_key"])
        if ranks.is_first
        else [],
        progress,
        start.path if start.is_resume else None,
        ContentWatch({"train": splits.train, "val": splits.val}, contents, checkpoints, take_contents),
        EvaluationProgress(console, LOG.info, options.log_every, "validation", ranks.world_size),
        most_val_clips(options, ranks),
        freezing=freezing,
        draws=make_draws(part(options, RegularisationOptions), options.random_seed, ranks.rank, device),
        average=average,
        precise_norm=make_precise_norm(
            average.network if average else network, network, part(options, PreciseNormOptions), options.precision
        ),
        mixing=make_mixing(
            part(options, MixingOptions),
            options.random_seed,
            ranks.rank,
            len(splits.train.classes),
            device,
            options.repeat_clips,
        ),
    )
    trainer.begin_reading(loaders.train, loaders.sampler, progress.epoch, progress.step)
    written = plain(options) if progress.epoch <= plan.num_epochs else None
    key = facts["run_key"]
    passport = on_all_ranks(
        ranks,
        lambda: {
            split: passport_of(videos, split)
            for split, videos in (("train", splits.train), ("val", splits.val))
            if ranks.is_first
        },
    )

    def begin_folder() -> bool:
        if ranks.is_first:
            own_steps = run_folder.begin(checkpoints, start, progress.epoch, strangers, written, key, passport)
            if own_steps is not None:
                board.keep_only(own_steps)
        return True

    on_all_ranks(ranks, begin_folder)
    # Together: the first rank reads videos for this. A rank that goes on meets a signal in another way, see `_fit`.
    on_all_ranks(ranks, lambda: _tell(plan, splits, options, part_lines(options, network, plan), passport))
    return _Begun(trainer, loaders)


def _tell(
    plan: Plan, splits: Splits, options: TrainOptions, parts: list[str], passport: dict[str, dict[str, Any]]
) -> bool:
    """Log the plan, the parts of the recipe that are on, facts of the data, and what in them may surprise. True then.

    The passport has no splits on other ranks than the first.
    """
    facts = [line for each in passport.values() for line in passport_lines(each)]
    log_table(plan_table(plan))
    for line in (*plan_summary(plan), *parts, *facts):
        LOG.info("%s", line)
    if facts:
        tell_crops(options)
        tell_randaugment(options)
        tell_enlarged(splits.train, plan.largest_shape, "training", training_crops(options))
        tell_enlarged(splits.val, val_shape(options), "validation", Cropping(scale=options.crop_scale))
        tell_spans(splits.train, options, "training")
        tell_mirroring(splits.train.classes, options)
        tell_spans(splits.val, options, "validation")
    for line in (*learning_warnings(plan), *mixing_warnings(part(options, MixingOptions), plan, options.accumulate)):
        LOG.warning("%s", line)
    for line in recipe_warnings(options, plan.total_steps):
        LOG.warning("%s", line)
    if not options.fixes_all_norms:
        for line in accumulation_warnings(plan, options.accumulate, options.sync_bn):
            LOG.warning("%s", line)
    for line in unused_flags(options, plan.num_epochs):
        LOG.warning("%s", line)
    for line in (line for each in passport.values() for line in warning_of_others(each)):
        LOG.warning("%s", line)
    return True


class _SetUp(NamedTuple):
    start: StartingPoint
    options: TrainOptions  # with what the checkpoint to resume decides
    splits: Splits
    digests: dict[str, str]  # of the videos and labels of both splits
    contents: Contents | None  # of the splits' videos; None unless `is_first_of_machine`
    network: VideoNetwork  # on the CPU, with its weights
    loaded: tuple[str, ...]  # names of the parameters that fine-tuning loaded, but for the classifier's
    freezing: Freezing
    plan: Plan


def _read_pretrained(options: TrainOptions) -> tuple[Checkpoint | None, TrainOptions, Notes]:
    """The checkpoint of --pretrained-3d, if it is needed, and the options with what it knows; notes for the log.

    With `--resume-epoch auto`, the file may be gone once the run has checkpoints of its own.
    """
    path = options.pretrained_3d
    if path is None or (options.resume_epoch == "auto" and not path.exists()):
        return None, options, []
    checkpoint = read_checkpoint(path)
    if options.evaluate:
        return checkpoint, options, []
    return checkpoint, *settings_from_file(options, path, checkpoint)


def _set_up(
    options: TrainOptions,
    spec: DatasetSpec,
    ranks: Ranks,
    checkpoints: CheckpointFolder,
    pretrained: Checkpoint | None,
    run_id: str,
) -> _SetUp:
    """Read the files and apply the flags. Every mistake of the user in them is found here."""
    start = find_starting_point(
        checkpoints, options.pretrained_3d, options.resume_epoch, checkpoint=pretrained, run_id=run_id,
        inflate=options.inflate,
    )  # fmt: skip
    options = with_saved(start, options, pretrained) if start.is_resume else options
    splits = load_splits(options.dataset, spec, options.labels, options.source)
    for line in splits.report:
        LOG.info("%s", line)
    digests = {"train": splits.train.digest(), "val": splits.val.digest()}
    contents: Contents | None = None
    if is_first_of_machine(ranks):
        contents = {"train": content_of(splits.train), "val": content_of(splits.val)}
        check_rates(splits.train, options, "training")
        check_rates(splits.val, options, "validation")
    flipped_labels(splits.train.classes, options)  # whose mistakes are found here, too
    network = new_network(options, len(splits.train.classes))
    if options.zero_init_residual:
        zero_init_residual(network)
    freezing = make_freezing(network, part(options, FreezingOptions))
    loaded = load_starting_weights(network, start, options, splits, freezing)
    for line in unused_parts(options, network, start):
        LOG.warning("%s", line)
    if warning := warning_of_trained(start.path, start.checkpoint, splits.val, options):
        LOG.warning("%s", warning)
    schedule = part(options, ScheduleOptions)
    plan = make_plan(schedule, len(splits.train), ranks.world_size)
    if not options.fixes_all_norms:
        is_precise = options.precise_bn > 0
        check_norm_clips(plan, schedule, options.accumulate, options.sync_bn, options.network, is_precise)
    if start.is_resume:
        check_schedule(start, options, len(splits.train), plan, digests, contents)
    return _SetUp(start, options, splits, digests, contents, network, loaded, freezing, plan)


def new_network(options: TrainOptions, num_classes: int) -> VideoNetwork:
    """The network of the flags, with new weights."""
    normalisation = normalisation_of(options.normalisation) or SRTG
    return create_network(options.network, num_classes, options.gates, options.placement, normalisation)


def load_starting_weights(
    network: VideoNetwork, start: StartingPoint, options: TrainOptions, splits: Splits, freezing: Freezing
) -> tuple[str, ...]:
    """Load the starting point's weights. Returns the names of those that learn at --loaded-lr-factor.

    These are all that fine-tuning loaded, but for the classifier's: new or not, it learns at the full rate.
    """
    if start.is_resume:
        facts = network_facts(options, len(splits.train.classes))
        check_same_run(start, facts, splits.train.classes, normalisation_of(options.normalisation))
        checkpoint = start.checkpoint
        assert checkpoint is not None
        check_resumed(freezing, options, checkpoint["options"], first_epoch(start))
        load_resumed(network, start)
        return tuple(checkpoint["loaded"])
    report = None
    if start.checkpoint is not None:
        rates = rates_of(network, options, freezing)
        normalisation = normalisation_of(options.normalisation)
        report = load_pretrained(network, start, splits.train.classes, normalisation, rates, options.weights)
    check_frozen_weights(network, freezing, report)
    return tuple(name for name in report.loaded if name not in CLASSIFIER) if report and options.fine_tune else ()


def first_epoch(start: StartingPoint) -> int:
    """The epoch of the plan with which a run goes on."""
    return int(start.checkpoint["position"]["epoch"]) if start.is_resume and start.checkpoint else 1


class _Loaders(NamedTuple):
    train: BatchLoader
    sampler: ScheduleSampler  # of its batches
    val: BatchLoader


def _start_loaders(options: TrainOptions, splits: Splits, plan: Plan, start: StartingPoint, ranks: Ranks) -> _Loaders:
    """The loaders of training and validation; their workers are started, if an epoch is left."""
    dataset = ClipDataset(
        splits.train, training_clips(options), options.random_seed, options.on_bad_video == "skip",
        mirrored_labels=flipped_labels(splits.train.classes, options),
    )  # fmt: skip
    chosen = part(options, TrainerOptions)
    for_statistics = 0 if options.fixes_all_norms else batches_for_statistics(options.precise_bn, plan)
    sampler = ScheduleSampler(
        plan,
        options.random_seed,
        ranks.rank,
        ranks.world_size,
        lambda epoch: for_statistics if is_validated(epoch, plan, chosen) else 0,
    )
    train = BatchLoader(dataset, sampler, options.workers, options.device == "cuda")
    val = val_loader(options, splits.val, ranks)
    # By default Linux forks them: that shares the index of the videos, and asks for no `if __name__ == "__main__"` of a
    # user's script, as spawning or a fork server would. A fork is the slower, and meets the more locks that no thread
    # is left to open, the more there is in this process. So they start before the network and NCCL are on the device.
    # The group's gloo threads are there by now, because the ranks have to agree on the data; no worker uses gloo.
    if first_epoch(start) <= plan.num_epochs:
        train.start_workers()
        val.start_workers()
    return _Loaders(train, sampler, val)


def prepare_network(network: VideoNetwork, options: TrainOptions, device: torch.device) -> VideoNetwork:
    """Apply the flags to a new network, and move it to the device."""
    if options.long_cycles or options.sync_bn or device.type == "cuda":  # there, its fused form is faster
        use_sub_batch_norm(network, synchronise=options.sync_bn)
    regularise(network, part(options, RegularisationOptions))
    if options.checkpoint_activations:
        checkpoint_activations(network)
    if options.debug_mode:
        log_network(network)
        check_blocks(network)
    use_kernels(options.fused)
    if device.type == "cuda" and options.fused and options.layout == "channels-last":
        LOG.info("%s", description_of_kernels(device, DTYPES[options.precision]))
    if device.type == "cuda" and options.fused:
        precision, layout = DTYPES[options.precision], LAYOUTS[options.layout]
        LOG.info("%s", description_of_augmentation(device, precision, layout, network.normalisation))
    return moved(network, device, LAYOUTS[options.layout])


def trainer_options(options: TrainOptions, device: torch.device, world_size: int) -> TrainerOptions:
    """The Trainer's flags; without CUDA graphs where there can be none, which the log says."""
    chosen = part(options, TrainerOptions)
    if device.type != "cuda" or not options.graphs:
        return replace(chosen, graphs=False)
    reason = ""
    if options.debug_mode:
        reason = "--debug-mode waits for the GPU after each block"
    elif options.sync_bn and world_size > 1:
        reason = "--sync-bn communicates within the passes"
    LOG.info("CUDA graphs: %s", f"not used, {reason}" if reason else "the passes of each shape will be recorded")
    return replace(chosen, graphs=not reason)


def make_optimizer_step(
    network: VideoNetwork, options: TrainOptions, loaded: tuple[str, ...], device: torch.device, ranks: Ranks
) -> OptimizerStep:
    """The optimiser of the flags; the parameters `loaded` learn at a lower rate."""
    for line in learning_lines(network, options, loaded):
        LOG.info("%s", line)
    optimizer = make_optimizer(network, part(options, OptimizerOptions), loaded)
    return OptimizerStep(network.parameters(), optimizer, device, ranks, options.precision, options.clip_grad)


def _fit(trainer: Trainer, loaders: _Loaders) -> int:
    ranks, plan = trainer.ranks, trainer.plan
    if trainer.progress.epoch > plan.num_epochs:
        done = trainer.progress.epoch - 1
        more = f", more than the {plan.num_epochs} of this plan" if done > plan.num_epochs else ""
        LOG.warning("nothing to do: all %d epochs are done%s", done, more)
    try:
        with trainer.stop_signal.listening():  # so that no signal meets the end of the training's own listening
            try:
                report = trainer.fit(loaders.train, loaders.sampler, loaders.val)
            finally:
                keep_outcome()
    except StoppedBySignal as stop:
        if stop.is_saved:
            LOG.warning(
                "stopped by a signal (%s); saved %s; --resume-epoch auto resumes from it",
                stop.name,
                trainer.folder.last,
            )
        raise
    finally:
        trainer.callbacks.close()
    if ranks.is_first:
        print_result(json_text(_result(trainer, report)))
    return 0


def _result(trainer: Trainer, report: EpochReport | None) -> dict[str, Any]:
    """The result of a run, which is printed as JSON in the last line."""
    done, folder = trainer.progress, trainer.folder
    result: dict[str, Any] = {
        "epochs": done.epoch - 1,
        "steps": done.global_step,
        "best_by": done.best_by,
        "best_top1": done.best_top1,  # of `best`, by whatever score it is the best
    }
    if done.best_score is not None:
        result[f"best_{BEST_BY[done.best_by]}"] = done.best_score
    if report and report.val:
        result |= report.val.values()
    elif not report and is_of_another_run(folder.folder, trainer.run_facts["run_key"], done.reported):
        LOG.warning("%s has the scores of another run than %s, as its %s says", folder.folder, folder.last, OPTIONS)
    elif not report:
        result |= scores_of_epoch(folder.folder, done.epoch - 1, done.reported)
    has_best = done.best_top1 >= 0 and folder.best.exists()  # without a score, it is another run's
    return result | {"best": str(folder.best) if has_best else None, "last": str(folder.last)}


def _callbacks(
    folder: Path, console: Console, progress: Progress, files: list[Callback], options: TrainOptions, run_key: str
) -> list[Callback]:
    callbacks: list[Callback] = [ConsoleLog(), ProgressBar(console), *files]
    if options.track == NONE:
        return callbacks
    name = f"{folder.parent.name}/{folder.name}"
    info = RunInfo(name, folder, run_key, is_resumed=progress.global_step > 0, options=plain(options))
    return [*callbacks, make_tracker(options.track, info)]


def run_folder_of(options: TrainOptions, spec: DatasetSpec) -> Path:
    """The folder of the run's files, below --model-dir."""
    name = f"{options.network}_gates_{options.gates}" + (f"_{options.task_name}" if options.task_name else "")
    return (options.model_dir or Path("results") / spec.name) / name
