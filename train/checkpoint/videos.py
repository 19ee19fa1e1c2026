"""Whether a command's videos, and its validation, are those of the run that saved a checkpoint."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from common.options import differences
from common.text import composed
from data.labels.content import Content
from data.labels.video_list import VideoList
from evaluate.known_videos import Contents, count_trained, other_content, trained_videos
from evaluate.results.trained_texts import some_trained
from network.weights.facts import saved_facts, training_facts
from train.checkpoint.files import Checkpoint

SPLITS = {"train": "training", "val": "validation"}
VALIDATION = (
    "--clip-length",
    "--clip-size",
    "--val-frame-interval",
    "--val-clips",
    "--val-crops",
    "--val-size",
    "--crop-scale",
    "--best-by",
    "--ema",
    "--precise-bn",
)
"""The flags on which the best score depends: it cannot be compared with scores at other values."""

Digests = Mapping[str, str]


def has_same_videos(checkpoint: Checkpoint, digests: Digests | None, split: str) -> bool:
    """Whether the checkpoint's run had the same videos in a split, with the same labels and in the same order.

    True also if the checkpoint does not tell: older versions saved only the number of training videos.
    """
    saved = checkpoint.get("videos")
    return not isinstance(saved, Mapping) or not saved or not digests or saved.get(split) == digests[split]


def saved_contents(checkpoint: Checkpoint, contents: Contents) -> Contents:
    """The contents as the checkpoint has them where they are the same: a video may be one that cannot be read now."""
    saved = checkpoint.get("content")
    before = saved if isinstance(saved, Mapping) else {}
    return {
        split: now if other_content(checkpoint, contents, split) else Content.from_plain(before.get(split)) or now
        for split, now in contents.items()
    }


def has_same_validation(
    checkpoint: Checkpoint, options: Any, digests: Digests | None, contents: Contents | None
) -> bool:
    """Whether the run's best score can be compared with scores under the options (a dataclass of flags)."""
    return (
        has_same_videos(checkpoint, digests, "val")
        and not other_content(checkpoint, contents, "val")
        and differences(options, checkpoint["options"]).keys().isdisjoint(VALIDATION)
    )


def with_trained(before: torch.Tensor, videos: VideoList) -> torch.Tensor:
    """The `trained_videos` of weights that are trained on further videos."""
    hashes = np.sort(np.concatenate((before.numpy(), videos.hashes())))
    return torch.from_numpy(hashes[np.append(True, hashes[1:] != hashes[:-1])])


def warning_of_trained(path: object, checkpoint: Checkpoint | None, videos: VideoList, options: Any) -> str:
    """What to warn of if videos to validate were trained on, or may have been; empty if nothing tells it."""
    if number := count_trained(path, checkpoint, videos):
        return some_trained(path, number, len(videos))
    if checkpoint is None or len(trained_videos(path, checkpoint)):
        return ""
    before = training_facts(checkpoint)["options"].get("variant")
    classes = (saved_facts(checkpoint) or {}).get("classes")
    old, new = (sorted(map(composed, names)) for names in (classes or (), videos.classes))
    if not before or before == options.variant or old != new:
        return ""
    return (
        f"{path} was trained on variant or split {before} of these classes, this run has {options.variant}: its "
        "validation videos may be training videos of the file"
    )
