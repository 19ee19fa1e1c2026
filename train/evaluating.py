"""`--evaluate`: from a checkpoint and the validation videos to scores. No training data is needed."""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from common.device import prepare_device
from common.distributed.process_group import check_agreement, on_all_ranks
from common.errors import DataError
from common.kernels.switch import use_kernels
from common.layout import moved
from common.logs import LOG
from common.normalisation import normalisation_of
from common.precision import DTYPES
from common.ranks import Ranks
from data.clips.cropping import Cropping
from data.clips.dataset import ClipDataset
from data.clips.enlarged import enlarged_frames
from data.clips.sampling import ClipSampling
from data.clips.types import ClipShape
from data.labels.content import Content, content_of
from data.labels.dataset_spec import DatasetSpec
from data.labels.passport import passport_of, tell_passport
from data.labels.splits import load_val
from data.labels.video_list import VideoList
from data.loading.loader import BatchLoader, SequentialBatches
from evaluate.evaluation import Evaluation, evaluate
from evaluate.known_videos import agreed_contents, is_first_of_machine, notes_on_videos
from evaluate.preprocessing import Preprocessing
from evaluate.probing.tables import addition_of
from evaluate.probing.time_probe import check_time_probe, time_probe
from evaluate.progress import EvaluationProgress
from evaluate.results.checkpoint_file import checkpoint_facts
from evaluate.results.content import content_facts
from evaluate.results.folder import ResultFolder, evaluation_facts, folder_name, result_folder, show_and_write
from network import VideoNetwork, create_network
from network.sub_batch_norm import use_sub_batch_norm
from network.weights.averages import AVERAGES
from network.weights.facts import saved_facts
from network.weights.tensors import checksum
from train.checkpoint.files import Checkpoint, CheckpointFolder, is_resumable
from train.checkpoint.start import StartingPoint, describe_position, find_starting_point, load_pretrained
from train.clip_sampling import check_rates, tell_spans, validation_clips
from train.debug import check_blocks, log_network
from train.file_settings import Notes, settings_from_file
from train.options import DatasetChoice, TrainOptions, shared_flags, spec_of


def val_shape(options: TrainOptions) -> ClipShape:
    """The shape of the clips of a validation."""
    size = options.val_size or options.clip_size
    return ClipShape(options.clip_length, size, size)


def tell_enlarged(videos: VideoList, shape: ClipShape, split: str, cropping: Cropping) -> None:
    """Log it if clips of this shape enlarge the frames of the split: a warning if by much."""
    if small := enlarged_frames(videos, shape, split, cropping):
        LOG.log(logging.WARNING if small.is_by_much else logging.INFO, "%s", small.text)


def most_val_clips(options: TrainOptions, ranks: Ranks) -> int:
    """The clips of a validation that go through the network at a time."""
    return max(1, (options.val_batch_size or options.batch_size) // ranks.world_size)


def val_loader(
    options: TrainOptions, videos: VideoList, ranks: Ranks, sampling: ClipSampling | None = None
) -> BatchLoader:
    """A loader of the views of all videos, once each, in rank order; by default the views that the options say."""
    sampling = sampling or validation_clips(options)
    dataset = ClipDataset(videos, sampling, options.random_seed)
    batch_size = max(1, most_val_clips(options, ranks) // sampling.views)
    batches = SequentialBatches(len(videos), batch_size, val_shape(options), ranks.rank, ranks.world_size)
    return BatchLoader(dataset, batches, min(options.workers, len(batches.indices)), options.device == "cuda")


def clips_of(options: TrainOptions) -> dict[str, Any]:
    """The clips of a validation, for the score files."""
    size = options.val_size or options.clip_size
    return {
        "clip": f"{options.clip_length}x{size}x{size}",
        "interval": options.val_frame_interval,
        "clips": options.val_clips,
        "crops": options.val_crops,
        "crop_scale": f"{options.crop_scale:.6g}",
    }


def run_evaluation(
    options: TrainOptions,
    dataset: DatasetSpec | DatasetChoice,
    ranks: Ranks,
    folder: Path,
    pretrained: Checkpoint | None,
    of_file: dict[str, Any],
    console: Console,
) -> int:
    """Score a checkpoint on the validation videos; the last line is JSON. Returns the exit status.

    `folder` is the run's folder for `--resume-epoch`, `pretrained` the checkpoint of `--pretrained-3d`, and
    `of_file` are the `checkpoint_facts` of its file.
    """
    before = {path: checkpoint_facts(path) for path in CheckpointFolder(folder, options.network, options.keep).files()}
    device = prepare_device(options.device, options.precision, ranks, "evaluating")
    variants = tuple(dataset.specs) if isinstance(dataset, DatasetChoice) else ()
    start, options, notes = on_all_ranks(ranks, lambda: _find(options, variants, folder, pretrained))
    assert start.path is not None
    of_file = of_file if start.path == options.pretrained_3d else before.get(start.path, {})
    for level, note in notes:
        LOG.log(level, "%s", note)
    network, videos, content, report, warnings = on_all_ranks(
        ranks, lambda: _load(options, spec_of(dataset, options), start, ranks)
    )
    contents, frames = agreed_contents(ranks, None if content is None else {"val": content})
    if ranks.world_size > 1:
        facts = {"the weights": checksum(network.state_dict()), "the videos or labels": videos.digest()}
        check_agreement(ranks, shared_flags(options) | facts | frames)
    preprocessing = _preprocessing(options, network)
    if options.time_probe:
        on_all_ranks(ranks, lambda: _check_order(preprocessing))
    more = of_file | content_facts(videos, contents["val"])
    target = on_all_ranks(ranks, lambda: _results(options, start, network, preprocessing, more))
    for line in report:
        LOG.info("%s", line)
    passport, of_videos = on_all_ranks(ranks, lambda: _tell_videos(options, videos) if ranks.is_first else ({}, []))
    warnings += of_videos
    if options.debug_mode:
        log_network(network)
        check_blocks(network)
    use_kernels(options.fused)
    if device.type == "cuda":
        use_sub_batch_norm(network)  # it has a fast form in channels-last
    network = moved(network, device)
    views = preprocessing.sampling(options.val_clips, options.val_crops)

    def evaluate_as(name: str, sampling: ClipSampling) -> Evaluation:
        loader = val_loader(options, videos, ranks, sampling)
        with EvaluationProgress(console, LOG.info, options.log_every, name, ranks.world_size) as progress:
            return evaluate(
                network, loader, device, ranks, options.precision, bad_video_limit=options.bad_videos_allowed,
                progress=progress, normalise=preprocessing.normalise(DTYPES[options.precision]),
                most_clips=most_val_clips(options, ranks), clips=options.val_clips,
            )  # fmt: skip

    evaluation = evaluate_as("evaluation", views)
    probe = None
    if options.time_probe:
        probe = time_probe(evaluation, views, videos, preprocessing.shape, ranks, evaluate_as)
    if ranks.is_first:
        additions = [addition_of(probe)] if probe else []
        warnings = [note for level, note in notes if level == logging.WARNING] + warnings
        show_and_write(evaluation, videos, target, passport, additions, warnings)
    return 0


def _tell_videos(options: TrainOptions, videos: VideoList) -> tuple[dict[str, Any], list[str]]:
    """Log what the videos are, and what in them may surprise. Returns their passport, and its warnings."""
    passport = passport_of(videos, _split(options))
    warnings = tell_passport(passport)
    tell_enlarged(videos, val_shape(options), "validation", Cropping(scale=options.crop_scale))
    tell_spans(videos, options, "validation")
    return passport, warnings


def _check_order(preprocessing: Preprocessing) -> bool:
    """DataError if the clips have no order to change; True if they have."""
    check_time_probe(preprocessing.shape)
    return True


def _preprocessing(options: TrainOptions, network: VideoNetwork) -> Preprocessing:
    """The clips that the options say, which are the checkpoint's or a flag's, as the network expects them."""
    length, size, _ = val_shape(options)
    interval, normalisation = options.val_frame_interval, network.normalisation
    return Preprocessing(length, size, interval, options.crop_scale, normalisation=normalisation)


def _split(options: TrainOptions) -> str:
    """The split "test" if --labels names a file of test videos, as data.prepare.folder calls it; else "val"."""
    return "test" if options.labels and re.fullmatch(r"(.*[^a-zA-Z])?test\.csv", options.labels.name) else "val"


def _results(
    options: TrainOptions,
    start: StartingPoint,
    network: VideoNetwork,
    preprocessing: Preprocessing,
    more: dict[str, Any],
) -> ResultFolder:
    """The folder of the results, with further facts of the evaluation; DataError if it cannot be written."""
    assert start.path is not None and start.checkpoint is not None
    views, split = (options.val_clips, options.val_crops), _split(options)
    averages = [] if options.weights == "raw" else [name for name in AVERAGES if name in start.checkpoint]
    digest = f"{checksum(network.state_dict()):08x}"
    weights = {"weights": ", ".join(averages) or "raw", "weights_digest": digest}
    about = {"checkpoint": str(start.path)} | weights | evaluation_facts(
        {"name": options.network, "gates": options.gates, "placement": options.placement},
        preprocessing, views, options.source, split, options.dataset, options.precision, start.checkpoint,
    )  # fmt: skip
    place = options.evaluation_dir or start.path.parent / folder_name(split, *views)
    return result_folder(place, about | more, "--evaluation-dir")


def _find(
    options: TrainOptions, variants: Sequence[str], folder: Path, pretrained: Checkpoint | None
) -> tuple[StartingPoint, TrainOptions, Notes]:
    """The checkpoint to evaluate, and the options with what it knows."""
    checkpoints = CheckpointFolder(folder, options.network, options.keep)
    start = find_starting_point(checkpoints, options.pretrained_3d, options.resume_epoch, True, pretrained)
    assert start.checkpoint is not None and start.path is not None
    options, notes = settings_from_file(options, start.path, start.checkpoint, variants)
    if is_resumable(start.checkpoint):
        saved = f"evaluating {start.path}, saved after {describe_position(start.checkpoint)}"
        if options.resume_epoch not in ("", "auto"):
            saved += f": epoch {options.resume_epoch} starts from it"
        notes.append((logging.INFO, saved))
    return start, options, notes


def _load(
    options: TrainOptions, spec: DatasetSpec, start: StartingPoint, ranks: Ranks
) -> tuple[VideoNetwork, VideoList, Content | None, tuple[str, ...], list[str]]:
    """The network with all its weights, the videos, what they hold, lines for the log, and warnings on the videos.

    DataError if weights are missing. The content is None unless `is_first_of_machine`.
    """
    assert start.checkpoint is not None
    classes = (saved_facts(start.checkpoint) or {}).get("classes")
    videos, report = load_val(options.dataset, spec, options.labels, classes, options.source)
    content = content_of(videos) if is_first_of_machine(ranks) else None
    if is_first_of_machine(ranks):
        check_rates(videos, options, "validation")
    notes = notes_on_videos(start.path, start.checkpoint, videos, content, options.dataset)
    for level, note in notes:
        LOG.log(level, "%s", note)
    torch.manual_seed(options.random_seed)
    network = create_network(options.network, len(videos.classes), options.gates, options.placement)
    normalisation = normalisation_of(options.normalisation)
    loaded = load_pretrained(network, start, videos.classes, normalisation, weights=options.weights)
    wrong = [
        tensor
        for tensor in loaded.skipped
        if tensor.name == "fc.weight" and tensor.shape_in_checkpoint[1:] == tensor.shape_in_network[1:]
    ]
    if wrong:
        raise DataError(
            f"{start.path} is a network of {wrong[0].shape_in_checkpoint[0]} classes, and the labels have "
            f"{len(videos.classes)}: give the --labels of the classes that it was trained on"
        )
    if not loaded.complete:
        lacks = bool(loaded.missing or loaded.skipped)
        what = f"lacks weights of {options.network}" if lacks else f"has weights that {options.network} has not"
        raise DataError(
            f"{start.path} {what}, see the table in the log: give the --network and --placement that it was trained "
            "with"
        )
    return network, videos, content, report, [note for level, note in notes if level == logging.WARNING]
