"""`--evaluate`: from a checkpoint and the validation videos to scores. No training data is needed."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from common.device import prepare_device
from common.distributed.process_group import check_agreement, on_all_ranks
from common.errors import DataError
from common.json_text import json_text
from common.logs import LOG, print_result
from common.ranks import Ranks
from data.clips.dataset import ClipDataset
from data.clips.enlarged import enlarged_frames
from data.clips.types import ClipShape
from data.labels.content import Content, content_of
from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_val
from data.labels.video_list import VideoList
from data.loading.loader import BatchLoader, SequentialBatches
from evaluate.evaluation import evaluate
from evaluate.known_videos import agreed_contents, is_first_of_machine, notes_on_videos
from network import VideoNetwork, create_network
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
    return ClipShape(options.clip_length, options.clip_size, options.clip_size)


def tell_enlarged(videos: VideoList, shape: ClipShape, split: str) -> None:
    """Log it if clips of this shape enlarge the frames of the split: a warning if by much."""
    if small := enlarged_frames(videos, shape, split):
        LOG.log(logging.WARNING if small.is_by_much else logging.INFO, "%s", small.text)


def val_loader(options: TrainOptions, videos: VideoList, ranks: Ranks) -> BatchLoader:
    """A loader of the clips of all videos, once each, in rank order."""
    dataset = ClipDataset(videos, validation_clips(options), options.random_seed)
    batch_size = max(1, (options.val_batch_size or options.batch_size) // (ranks.world_size * options.val_clips))
    batches = SequentialBatches(len(videos), batch_size, val_shape(options), ranks.rank, ranks.world_size)
    return BatchLoader(dataset, batches, min(options.workers, len(batches.indices)), options.device == "cuda")


def clips_of(options: TrainOptions) -> dict[str, Any]:
    """The clips of a validation, for the JSON line and the score files."""
    size = options.clip_size
    return {
        "clip": f"{options.clip_length}x{size}x{size}",
        "interval": options.val_frame_interval,
        "clips": options.val_clips,
    }


def run_evaluation(
    options: TrainOptions,
    dataset: DatasetSpec | DatasetChoice,
    ranks: Ranks,
    folder: Path,
    pretrained: Checkpoint | None,
) -> int:
    """Score a checkpoint on the validation videos; the last line is JSON. Returns the exit status.

    `folder` is the run's folder for `--resume-epoch`, `pretrained` the checkpoint of `--pretrained-3d`.
    """
    device = prepare_device(options.device, options.precision, ranks)
    variants = tuple(dataset.specs) if isinstance(dataset, DatasetChoice) else ()
    start, options, notes = on_all_ranks(ranks, lambda: _find(options, variants, folder, pretrained))
    for level, note in notes:
        LOG.log(level, "%s", note)
    network, videos, content, report = on_all_ranks(
        ranks, lambda: _load(options, spec_of(dataset, options), start, ranks)
    )
    _, frames = agreed_contents(ranks, None if content is None else {"val": content})
    if ranks.world_size > 1:
        facts = {"the weights": checksum(network.state_dict()), "the videos or labels": videos.digest()}
        check_agreement(ranks, shared_flags(options) | facts | frames)
    for line in report:
        LOG.info("%s", line)
    if ranks.is_first:
        tell_enlarged(videos, val_shape(options), "validation")
        tell_spans(videos, options, "validation")
    if options.debug_mode:
        log_network(network)
        check_blocks(network)
    loader = val_loader(options, videos, ranks)
    scores = evaluate(
        network.to(device), loader, device, ranks, options.precision, bad_video_limit=options.bad_videos_allowed
    )
    LOG.info("%s: %s on %s", start.path, scores.show(), scores.show_videos())
    for bad in scores.bad_videos:
        LOG.warning("  video %d left out of the scores: %s", bad.video, bad.reason)
    if ranks.is_first:
        counts = {"videos": int(scores.examples), "bad_videos": len(scores.bad_videos)}
        print_result(json_text(scores.values() | counts | _facts(options, start)))
    return 0


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
) -> tuple[VideoNetwork, VideoList, Content | None, tuple[str, ...]]:
    """The network with all its weights, the videos, what they hold, and lines for the log.

    DataError if weights are missing. The content is None unless `is_first_of_machine`.
    """
    assert start.checkpoint is not None
    classes = (saved_facts(start.checkpoint) or {}).get("classes")
    videos, report = load_val(options.dataset, spec, options.labels, classes, options.source)
    content = content_of(videos) if is_first_of_machine(ranks) else None
    if is_first_of_machine(ranks):
        check_rates(videos, options, "validation")
    for level, note in notes_on_videos(start.path, start.checkpoint, videos, content, options.dataset):
        LOG.log(level, "%s", note)
    torch.manual_seed(options.random_seed)
    network = create_network(options.network, len(videos.classes), options.gates, options.placement)
    loaded = load_pretrained(network, start, videos.classes)
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
    return network, videos, content, report


def _facts(options: TrainOptions, start: StartingPoint) -> dict[str, Any]:
    """What was evaluated, for the JSON line."""
    return {
        "checkpoint": str(start.path),
        "network": options.network,
        "gates": options.gates,
        "placement": options.placement,
        "source": options.source,
    } | clips_of(options)
