"""Evaluate a trained file: `python -m evaluate.run CHECKPOINT DATASET`.

The file (.pth, .safetensors, .onnx, .pt2) says its network, classes, clips and normalisation. Each video counts once;
the probabilities of its views, `--val-clips` x `--val-crops`, are averaged. Scores with their intervals, predictions,
tables and pictures go to a folder, by default `evaluation_<split>_<clips>x<crops>` beside the file; the last line on
standard output is JSON. No training videos are needed.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console

from common import interrupt
from common.cli import CommandParser, path, run_command
from common.device import prepare_device
from common.distributed.launch import launch
from common.distributed.process_group import (
    check_agreement,
    is_launched,
    on_all_ranks,
    process_group,
    unused_world,
)
from common.distributed.stop_signal import StoppedBySignal, stopping_at_once
from common.errors import DataError, UserError
from common.known_errors import machine_errors
from common.logs import LOG, make_console, start_logging
from common.machine import MachineOptions, with_machine, with_precision
from common.options import add_options, option, read_options
from common.precision import DTYPES
from common.ranks import Ranks
from common.text import printable
from data.clips.cropping import Cropping
from data.clips.dataset import RATE_REMEDY, SOURCES, ClipDataset
from data.clips.enlarged import enlarged_frames
from data.clips.intervals import interval_of
from data.clips.sampling import ClipSampling
from data.clips.span_report import sampled_times, span_text, unknown_rates
from data.labels.class_order import read_class_index
from data.labels.content import Content, content_of
from data.labels.passport import passport_of, tell_passport
from data.labels.splits import load_val
from data.labels.video_list import VideoList
from data.loading.loader import BatchLoader, SequentialBatches
from evaluate.evaluation import Evaluation, evaluate
from evaluate.exported import ExportedNetwork
from evaluate.known_videos import agreed_contents, is_first_of_machine, notes_on_videos
from evaluate.label_places import SPLITS, spec_of_split
from evaluate.model import TrainedModel, load_model
from evaluate.preprocessing import Preprocessing
from evaluate.probing.tables import addition_of
from evaluate.probing.time_probe import check_time_probe, time_probe
from evaluate.progress import EvaluationProgress
from evaluate.results.checkpoint_file import checkpoint_facts
from evaluate.results.content import content_facts
from evaluate.results.folder import evaluation_facts, folder_name, result_folder, show_and_write
from evaluate.views import ClipOptions, ViewOptions, chosen_preprocessing

LESS_MEMORY = "lower --val-batch-size or --workers"


@dataclass(frozen=True)
class RunOptions(ClipOptions, MachineOptions):
    """The flags of the command."""

    split: str = option("val", "the videos to evaluate", "data", choices=SPLITS)
    labels: Path | None = option(None, "label file or folder (default: DATASET/labels)", "data")
    source: str = option(
        "frames", "what clips are read from. frames: the databases in DATASET/jpg; videos: the video files in "
        "DATASET/videos, without conversion", "data", choices=tuple(SOURCES),
    )  # fmt: skip
    val_batch_size: int = option(
        32, "clips that go through the network at a time, over all GPUs; the scores do not depend on it", "data",
        minimum=1,
    )  # fmt: skip
    on_bad_video: str = option(
        "stop", "at a video that cannot be read: stop, or skip it: the scores leave it out", "data",
        choices=("stop", "skip"),
    )  # fmt: skip
    bad_video_limit: int = option(
        100, "with --on-bad-video skip, stop if there are more than N such videos", "data", minimum=1
    )
    network: str = option("", "the network, for weights of another project that do not name it", "network and weights")
    classes: Path | None = option(
        None, "the class names in the order of the logits, a name a line, for a file that has none",
        "network and weights", metavar="FILE",
    )  # fmt: skip
    precision: str = option(
        "auto", "auto: bf16 if the GPU supports it, else fp16; fp32 on the CPU", "machine", choices=("auto", *DTYPES)
    )
    output: Path | None = option(
        None, "folder for the results (default: evaluation_<split>_<clips>x<crops> beside CHECKPOINT)", "output",
        metavar="DIR",
    )  # fmt: skip
    time_probe: bool = option(
        False, "also evaluate the videos reversed, shuffled, frozen, at half and twice the interval: whether the "
        "network uses the order of frames; takes up to six times as long", "output",
    )  # fmt: skip
    log_every: int = option(20, "without a terminal, log the scores so far every N batches", "output", minimum=1)

    @property
    def bad_videos_allowed(self) -> int:
        """The bad videos that an evaluation may have."""
        return self.bad_video_limit if self.on_bad_video == "skip" else 0


class Inputs(NamedTuple):
    """What the command reads before it begins."""

    model: TrainedModel
    preprocessing: Preprocessing
    videos: VideoList
    lines: tuple[str, ...]
    file: dict[str, Any]  # how the file was found, as `checkpoint_facts` has it
    content: Content | None  # of the videos; None unless `is_first_of_machine`


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the arguments say; UserError for mistakes of the user."""
    parser = _parser()
    parsed = parser.parse_args(arguments)
    try:
        options = read_options(RunOptions, parsed)
        options = with_machine(options)
        if options.device == "cpu" and options.precision == "fp16":
            raise DataError("--precision fp16 needs a GPU: on the CPU use fp32 or bf16")
    except UserError as error:
        parser.error(str(error))
    options = replace(options, precision=with_precision(options.precision, options.device))
    return in_ranks(options, lambda ranks: run(parsed.checkpoint, parsed.dataset, options, ranks))


def in_ranks(options: MachineOptions, work: Callable[[Ranks], int]) -> int:
    """Run `work` in this process, or this command in as many as --gpus says. Returns the exit status."""
    if warning := unused_world():
        print(f"warning: {warning}", file=sys.stderr)
    if options.gpus > 1 and not is_launched():
        spec = getattr(sys.modules["__main__"], "__spec__", None)
        started = ("-m", spec.name) if spec else (sys.argv[0],)  # as `python -m MODULE`, or as a script
        return launch(options.gpus, (*started, *sys.argv[1:]))
    with machine_errors(LESS_MEMORY), process_group(options.device) as ranks:
        try:
            with stopping_at_once():  # as an exception, so that nothing half-written is left
                return work(ranks)
        except StoppedBySignal as stop:
            if ranks.is_first:
                print(f"stopped by a signal ({stop.name}): no results were written", file=sys.stderr)
            return stop.exit_status
        except KeyboardInterrupt:
            if ranks.is_first:
                raise
            return interrupt.STATUS
        except UserError as error:
            if not error.on_all_ranks:
                raise
            if ranks.is_first:
                print(printable(f"error: {error}"), file=sys.stderr)
            return error.exit_status


def run(checkpoint: Path, dataset: Path, options: RunOptions, ranks: Ranks) -> int:
    """Evaluate, write the results and print them. Returns the exit status."""
    console = make_console()
    start_logging(console, ranks.is_first, debug=False)
    device = prepare_device(options.device, options.precision, ranks, "evaluating")
    found = on_all_ranks(ranks, lambda: _read(checkpoint, dataset, options, device, ranks))
    model, videos = found.model, found.videos
    precision = _precision_for(model, options)
    contents, frames = agreed_contents(ranks, None if found.content is None else {"val": found.content})
    if ranks.world_size > 1:
        facts = {"the weights": model.weights_digest(), "the videos or labels": videos.digest()}
        check_agreement(ranks, facts | frames | {"the views": (options.val_clips, options.val_crops)})
    about = _facts(found, options, dataset, precision) | content_facts(videos, contents["val"])
    target = on_all_ranks(ranks, lambda: result_folder(_output(checkpoint, options), about, "--output"))
    for line in found.lines:
        LOG.info("%s", line)
    passport, warnings = on_all_ranks(
        ranks, lambda: _tell_videos(found, checkpoint, dataset, options) if ranks.is_first else ({}, [])
    )
    views = ViewOptions(options.val_clips, options.val_crops, options.val_size)
    evaluate_as = partial(
        evaluate_views, model, found.preprocessing, videos, views, options, precision, device, ranks, console
    )
    evaluation = evaluate_as()
    probe = None
    if options.time_probe:
        clips, shape = found.preprocessing.sampling(views.val_clips, views.val_crops), found.preprocessing.shape
        probe = time_probe(evaluation, clips, videos, shape, ranks, evaluate_as)
    if ranks.is_first:
        show_and_write(evaluation, videos, target, passport, [addition_of(probe)] if probe else [], warnings)
    return 0


def _tell_videos(
    found: Inputs, checkpoint: Path, dataset: Path, options: RunOptions
) -> tuple[dict[str, Any], list[str]]:
    """Log what the videos are, and what in them may surprise. Returns their passport, and the warnings."""
    videos, warnings = found.videos, list[str]()
    for level, note in notes_on_videos(checkpoint, found.model.checkpoint, videos, found.content, dataset):
        LOG.log(level, "%s", note)
        warnings += [note] if level == logging.WARNING else []
    cropping = Cropping(scale=found.preprocessing.crop_scale)
    if small := enlarged_frames(videos, found.preprocessing.shape, options.split, cropping):
        LOG.log(logging.WARNING if small.is_by_much else logging.INFO, "%s", small.text)
    length, interval = found.preprocessing.clip_length, interval_of(found.preprocessing.interval)
    LOG.info("%s", span_text(sampled_times(videos), length, interval, "validation"))
    passport = passport_of(videos, options.split)
    return passport, warnings + tell_passport(passport)


def evaluate_views(
    model: TrainedModel,
    preprocessing: Preprocessing,
    videos: VideoList,
    views: ViewOptions,
    options: RunOptions,
    precision: str,
    device: torch.device,
    ranks: Ranks,
    console: Console,
    name: str = "evaluation",
    sampling: ClipSampling | None = None,
) -> Evaluation:
    """The evaluation of a trained file on videos, with its rows.

    `name` is shown with the progress. `sampling`, of as many views, replaces that of the preprocessing.
    """
    sampling = sampling or preprocessing.sampling(views.val_clips, views.val_crops)
    most_clips = max(1, options.val_batch_size // ranks.world_size)
    batch_size = max(1, most_clips // sampling.views)
    batches = SequentialBatches(len(videos), batch_size, preprocessing.shape, ranks.rank, ranks.world_size)
    workers = min(options.workers, len(batches.indices))
    loader = BatchLoader(ClipDataset(videos, sampling, 0), batches, workers, device.type == "cuda")
    with EvaluationProgress(console, LOG.info, options.log_every, name, ranks.world_size) as progress:
        return evaluate(
            model.network, loader, device, ranks, precision, bad_video_limit=options.bad_videos_allowed,
            progress=progress, normalise=preprocessing.normalise(DTYPES[precision]), most_clips=most_clips,
            clips=views.val_clips,
        )  # fmt: skip


def _read(checkpoint: Path, dataset: Path, options: RunOptions, device: torch.device, ranks: Ranks) -> Inputs:
    """Every mistake of the user in the files is found here."""
    classes = None if options.classes is None else read_class_index(options.classes)
    file = checkpoint_facts(checkpoint)
    model = load_model(checkpoint, device, options.network, classes, options.normalisation)
    preprocessing, note = chosen_preprocessing(options, model)
    if options.time_probe:
        check_time_probe(preprocessing.shape)
    names = model.class_names()
    spec = spec_of_split(dataset, options.labels, options.split)
    videos, report = load_val(dataset, spec, options.labels, names, options.source, options.split)
    found = interval_of(preprocessing.interval)
    if found and found.rate and (unknown := unknown_rates(sampled_times(videos), options.split)):
        raise DataError(f"--val-frame-interval {preprocessing.interval}: {unknown}: {RATE_REMEDY}")
    gates = f", gates {model.facts['gates']}" if model.facts["name"].startswith("srtg_") else ""
    clips = f"{options.val_clips}x{options.val_crops} views a video, clips of {preprocessing.show()}"
    lines = [f"{checkpoint}: {model.origin}{gates}; {clips}", *([note] if note else []), *report]
    content = content_of(videos) if is_first_of_machine(ranks) else None
    return Inputs(model, preprocessing, videos, tuple(lines), file, content)


def _precision_for(model: TrainedModel, options: RunOptions) -> str:
    """An exported file computes in fp32 alone."""
    if isinstance(model.network, ExportedNetwork):
        if options.precision != "fp32":
            LOG.info("%s computes in fp32", model.path)
        return "fp32"
    return options.precision


def _facts(found: Inputs, options: RunOptions, dataset: Path, precision: str) -> dict[str, Any]:
    model, views = found.model, (options.val_clips, options.val_crops)
    facts = {"checkpoint": str(model.path), "weights_digest": model.weights_digest(), **found.file}
    return facts | evaluation_facts(
        model.facts, found.preprocessing, views, options.source, options.split, dataset, precision,
        model.checkpoint,
    )  # fmt: skip


def _output(checkpoint: Path, options: RunOptions) -> Path:
    return options.output or checkpoint.parent / folder_name(options.split, options.val_clips, options.val_crops)


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m evaluate.run", description=__doc__)
    parser.add_argument("checkpoint", type=path, metavar="CHECKPOINT", help="a .pth, .safetensors, .onnx or .pt2")
    parser.add_argument("dataset", type=path, metavar="DATASET", help="folder with jpg/<class>/<video>/frames.db")
    add_options(parser, RunOptions(), ("data", "network and weights", "machine", "output"))
    return parser


if __name__ == "__main__":
    run_command(main)
