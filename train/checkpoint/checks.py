"""Whether a checkpoint of this project has all that a run needs to be resumed, before any of it is used."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from common.errors import DataError, UserError
from data.labels.content import Content
from evaluate.known_videos import are_hashes
from evaluate.metrics import all_metrics
from network.weights.facts import saved_facts, shown
from network.weights.tensors import check_tensors, not_plain
from train.checkpoint.progress import BEST_BY, TOP1, best_of, read_scores
from train.monitor.reported import is_reported

Check = Callable[[Any], bool]


LARGEST_COUNT = 2**53 - 1
"""The largest whole number below which a float64 has all."""
MOST_IN_LIST = 1000
"""Values of one option."""


def is_count(value: object, least: int = 0, most: int = LARGEST_COUNT) -> bool:
    """Whether a value is a whole number within the bounds."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: object, least: float = -math.inf, most: float = math.inf) -> bool:
    """Whether a value is a finite number within the bounds."""
    is_plain = math.isfinite(value) if isinstance(value, float) else is_count(value, -LARGEST_COUNT)
    return is_plain and least <= value <= most  # type: ignore[operator]


def is_random_state(value: object) -> bool:
    """Whether a value may be the state of a random generator: bytes in a row."""
    return isinstance(value, torch.Tensor) and not not_plain(value) and value.dtype == torch.uint8 and value.dim() == 1


def check_fields(prefix: str, values: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    """DataError with the first field that is missing or that its check refuses."""
    for name, check in checks.items():
        if name not in values:
            raise DataError(f"its field `{prefix}{name}` is missing")
        if not check(values[name]):
            raise DataError(f"its field `{prefix}{name}` is {_text(values[name])}, which no run saves")


def _text(value: object) -> str:
    """A short dict or list as it is, anything else as `shown` has it."""
    parts = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list | tuple) else None
    is_short = parts is not None and len(parts) < 5 and all(map(is_scalar, parts))
    return shown(str(value)) if is_short else shown(value)


def is_scalar(value: object) -> bool:
    """Whether a value is plain and, if a number, one that Python shows."""
    return value is None or isinstance(value, float | str) or (isinstance(value, int) and value.bit_length() <= 64)


def is_option(value: object) -> bool:
    """Whether a value is as `common.options.plain` makes them. A nested list of a few bytes can take years to show."""
    is_list = isinstance(value, list | tuple) and len(value) <= MOST_IN_LIST
    return all(map(is_scalar, value)) if is_list else is_scalar(value)  # type: ignore[call-overload]


def _is_sum(value: object) -> bool:
    return type(value) is float or is_count(value, -LARGEST_COUNT)


def _is_source(value: object) -> bool:
    """Whether a value says which file a run started from: None, empty or as `source_facts` makes it."""
    if not isinstance(value, Mapping):
        return value is None
    numbers = ("size", "mtime_ns", "checksum")
    return not value or (
        isinstance(value.get("path"), str) and all(is_count(value.get(name), -(2**63), 2**63) for name in numbers)
    )


def is_position(value: object) -> bool:
    """Whether a value is a step of an epoch."""
    return isinstance(value, Mapping) and is_count(value.get("epoch"), 1) and is_count(value.get("step"))


def _is_scores(value: object) -> bool:
    if isinstance(value, list):  # of older versions
        return len(value) == 4 and all(map(_is_sum, value))
    if not isinstance(value, Mapping) or not is_number(value.get("examples"), 0):
        return False
    sums = value.get("sums")
    return isinstance(sums, Mapping) and all(
        isinstance(name, str) and isinstance(numbers, list | tuple) and all(map(_is_sum, numbers))
        for name, numbers in sums.items()
    )


def _are_names(value: object) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(name, str) for name in value)


def _is_bad_video(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) == 3
        and is_count(value[0])
        and isinstance(value[1], str)
        and (value[2] is None or is_count(value[2]))
    )


PROGRESS: dict[str, Check] = {
    "epoch": lambda value: is_count(value, 1),
    "step": is_count,
    "global_step": is_count,
    "skipped_updates": is_count,
    "best_top1": lambda value: is_number(value, 0, 100) or (is_number(value) and value == -1),
    "scores": _is_scores,
    "clips": is_count,
    "seconds": lambda value: is_number(value, 0),
    "repeated_frames": is_count,
    "bad_videos": lambda value: isinstance(value, list) and all(map(_is_bad_video, value)),
}
LATER_PROGRESS: dict[str, Check] = {
    "best_by": lambda value: isinstance(value, str) and value in BEST_BY,
    "best_score": lambda value: value is None or is_number(value),
    "reported": lambda value: isinstance(value, list) and all(map(is_reported, value)),
}
"""Fields of the progress that older versions did not save."""
FIELDS: dict[str, Check] = {
    "position": is_position,
    "progress": lambda value: isinstance(value, Mapping),
    "optimizer": lambda value: isinstance(value, Mapping),
    "scaler": lambda value: isinstance(value, Mapping),
    "rng": lambda value: isinstance(value, Mapping) and "cpu" in value and all(map(is_random_state, value.values())),
    "classes": lambda value: value is not None,
    "loaded": lambda value: _are_names(value),
    "num_videos": lambda value: is_count(value, 1),
    "options": lambda value: isinstance(value, Mapping) and is_count(value.get("random_seed"), -(2**63), 2**64),
}
"""What must be there; `optimizer`, `scaler` and `rng` are checked against the run by `restore_state`."""
FINE_TUNING: dict[str, Check] = {
    "loaded_lr_factor": lambda value: is_number(value) and value > 0,
    "layer_decay": lambda value: is_number(value, 0, 1) and value > 0,
    "decay_norms": lambda value: isinstance(value, bool),
    "freeze": lambda value: _are_names(value),
    "head_only": lambda value: isinstance(value, bool),
    "freeze_bn": lambda value: isinstance(value, bool),
    "unfreeze_after": is_count,
}
"""Options that a resumed run takes from the checkpoint; older versions did not save all of them."""


def check_progress_fields(progress: Mapping[str, Any]) -> None:
    """DataError with the first field of a saved progress that is missing or that its check refuses."""
    later = {name: check for name, check in LATER_PROGRESS.items() if name in progress}
    check_fields("progress.", progress, PROGRESS | later)
    best = best_of(progress)
    if (best.score is None) != (best.by == TOP1 or best.top1 < 0):
        raise DataError(f"its best state has the top-1 {best.top1:g} and by {best.by} the score {best.score}")


def check_resumable(path: Path, checkpoint: Mapping[str, Any]) -> None:
    """DataError with the file and the first field that is missing or has another type or range than was saved."""
    try:
        saved_facts(checkpoint)
        weights = check_tensors(checkpoint.get("weights"))
        check_fields("", checkpoint, FIELDS)
        check_progress_fields(checkpoint["progress"])
        for name, value in checkpoint["options"].items():
            if not isinstance(name, str) or not is_option(value):
                raise DataError(f"its option {shown(name)} is {shown(value)}, which no run saves")
        saved = {name: check for name, check in FINE_TUNING.items() if name in checkpoint["options"]}
        check_fields("options.", checkpoint["options"], saved)
        if not _are_names(checkpoint.get("frozen", [])):
            raise DataError(f"its field `frozen` is {shown(checkpoint['frozen'])}, which no run saves")
        videos = checkpoint.get("videos")
        if videos is not None and not (isinstance(videos, Mapping) and all(map(is_scalar, videos.values()))):
            raise DataError(f"its field `videos` is {shown(videos)}, which no run saves")
        content = checkpoint.get("content", {})
        if not isinstance(content, Mapping) or None in map(Content.from_plain, content.values()):
            raise DataError(f"its field `content` is {shown(content)}, which no run saves")
        if not isinstance(checkpoint.get("run_key", ""), str):
            raise DataError(f"its field `run_key` is {shown(checkpoint['run_key'])}, which no run saves")
        if "trained_videos" in checkpoint and not are_hashes(checkpoint["trained_videos"]):
            raise DataError(f"its field `trained_videos` is {shown(checkpoint['trained_videos'])}, which no run saves")
        if not _is_source(checkpoint.get("source")):
            raise DataError(f"its field `source` is {shown(checkpoint['source'])}, which no run saves")
        if not is_count(checkpoint.get("world_size", 1), 1):
            raise DataError(f"its field `world_size` is {shown(checkpoint['world_size'])}, which no run saves")
        if checkpoint["options"].get("ema") and "ema" not in checkpoint:
            raise DataError("its field `ema` is missing")
        _check_agreement(checkpoint, weights)
        _check_progress(checkpoint["progress"], checkpoint["network"]["num_classes"])
    except UserError as error:
        raise DataError(f"{path} cannot be resumed: {error}") from error


def _check_agreement(checkpoint: Mapping[str, Any], weights: Mapping[str, torch.Tensor]) -> None:
    position, progress = checkpoint["position"], checkpoint["progress"]
    if any(position[key] != progress[key] for key in ("epoch", "step")):
        raise DataError(
            f"its position is step {position['step']} of epoch {position['epoch']}, its progress step "
            f"{progress['step']} of epoch {progress['epoch']}"
        )
    for field in ("loaded", "frozen"):
        unknown = [name for name in checkpoint.get(field, ()) if name not in weights]
        if unknown:
            raise DataError(f"its field `{field}` names {shown(unknown[0])}, which its weights lack")


def _check_progress(progress: Mapping[str, Any], num_classes: int) -> None:
    """DataError if the counts contradict each other: the scores of the epoch would be those of something else."""
    epoch, step, steps, clips = (progress[name] for name in ("epoch", "step", "global_step", "clips"))
    scores = read_scores(progress["scores"])
    if steps < epoch - 1 + step:
        raise DataError(f"its progress has {steps} steps in all, too few for step {step} of epoch {epoch}")
    if later := [number for number, *_ in progress.get("reported", []) if number >= epoch]:
        raise DataError(f"its field `progress.reported` has epoch {later[0]}, but its position is in epoch {epoch}")
    if progress["skipped_updates"] > steps:
        raise DataError(f"its progress has {progress['skipped_updates']} skipped updates in {steps} steps")
    if (clips < step) if step else clips:
        raise DataError(f"its progress has {clips} clips after step {step} of an epoch")
    sums = [number for numbers in scores.sums.values() for number in numbers]
    if scores.examples > clips or (not scores.examples and any(sums)):
        raise DataError(f"its progress has scores of {scores.examples:g} examples, but {clips} clips in this epoch")
    sizes = {metric.name: metric.size(num_classes) for metric in all_metrics()}
    if scores.examples and not sizes.keys() & scores.sums.keys():
        raise DataError(f"its scores have none of the metrics {', '.join(sizes)}")
    for name, numbers in scores.sums.items():
        if len(numbers) != sizes.get(name, len(numbers)):
            raise DataError(f"its score {shown(name)} has {len(numbers)} numbers, not {sizes[name]}")
        if name in ("top1", "top5") and not all(0 <= number <= scores.examples for number in numbers):
            raise DataError(f"its score {name} counts {numbers[0]:g} hits in {scores.examples:g} examples")
