"""Whether a command's videos, and its validation, are those of the run that saved a checkpoint."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from common.errors import DataError
from common.options import differences
from common.ranks import Ranks
from common.text import shortened
from data.labels.content import Content
from data.labels.video_list import VideoList
from network.weights.facts import is_own, saved_facts, shown, training_facts
from train.checkpoint.checks import are_hashes
from train.checkpoint.files import Checkpoint

SPLITS = {"train": "training", "val": "validation"}
VALIDATION = ("--clip-length", "--clip-size", "--val-frame-interval", "--val-clips", "--best-by")
"""The flags on which the best score depends: it cannot be compared with scores at other values."""
LONGEST_PATH = 300  # characters of a dataset's path in a message

Digests = Mapping[str, str]
Contents = Mapping[str, Content]


def has_same_videos(checkpoint: Checkpoint, digests: Digests | None, split: str) -> bool:
    """Whether the checkpoint's run had the same videos in a split, with the same labels and in the same order.

    True also if the checkpoint does not tell: older versions saved only the number of training videos.
    """
    saved = checkpoint.get("videos")
    return not isinstance(saved, Mapping) or not saved or not digests or saved.get(split) == digests[split]


def other_content(checkpoint: Checkpoint, contents: Contents | None, split: str) -> str:
    """What the videos of a split held otherwise in the checkpoint's run: "other frames (...)"; empty if nothing.

    Empty also if the checkpoint does not tell. To be asked if the videos are the same by their names.
    """
    saved = checkpoint.get("content")
    before = Content.from_plain(saved.get(split)) if isinstance(saved, Mapping) else None
    return before.differences(contents[split]) if before and contents else ""


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


def other_dataset(checkpoint: Checkpoint, options: Any) -> str:
    """`--dataset A, now B` if the path was another; empty if not."""
    saved = checkpoint.get("options")
    before = saved.get("dataset") if isinstance(saved, Mapping) else None
    now = str(options.dataset)
    if not isinstance(before, str) or os.path.abspath(before) == os.path.abspath(now):  # noqa: PTH100 - text of a file
        return ""
    return f"--dataset {shortened(before, LONGEST_PATH)}, now {shortened(now, LONGEST_PATH)}"


def trained_videos(path: object, checkpoint: Checkpoint | None) -> torch.Tensor:
    """Sorted hashes of the videos that a checkpoint's weights were trained on; none if it does not tell.

    They are `VideoList.hashes`, of its run and of those whose weights that run started from. DataError with `path` if
    the field is no such tensor.
    """
    if checkpoint is None or "trained_videos" not in checkpoint or not is_own(checkpoint):
        return torch.zeros(0, dtype=torch.int64)
    saved = checkpoint["trained_videos"]
    if not are_hashes(saved):
        raise DataError(f"{path}: its field `trained_videos` is {shown(saved)}, which no run saves")
    return saved


def with_trained(before: torch.Tensor, videos: VideoList) -> torch.Tensor:
    """The `trained_videos` of weights that are trained on further videos."""
    hashes = np.sort(np.concatenate((before.numpy(), videos.hashes())))
    return torch.from_numpy(hashes[np.append(True, hashes[1:] != hashes[:-1])])


def count_trained(path: object, checkpoint: Checkpoint | None, videos: VideoList) -> int:
    """How many of the videos are among the `trained_videos` of a checkpoint.

    A file without that list, as an export or one of an older version, may tell that they are all.
    """
    trained = trained_videos(path, checkpoint).numpy()
    if not len(trained):
        known = training_facts(checkpoint)["videos"] if checkpoint else {}
        return len(videos) if known.get("train") == videos.digest() else 0
    hashes = videos.hashes()
    places = np.minimum(np.searchsorted(trained, hashes), len(trained) - 1)
    return int((trained[places] == hashes).sum())


def trained_text(path: object, number: int, videos: VideoList) -> str:
    """The warning that a number of the videos to validate, as `count_trained` has it, are training videos of a file."""
    return f"{number} of {len(videos)} validation videos are among the training videos of {path}"


def warning_of_trained(path: object, checkpoint: Checkpoint | None, videos: VideoList, options: Any) -> str:
    """What to warn of if videos to validate were trained on, or may have been; empty if nothing tells it."""
    if number := count_trained(path, checkpoint, videos):
        return trained_text(path, number, videos)
    if checkpoint is None or len(trained_videos(path, checkpoint)):
        return ""
    before = training_facts(checkpoint)["options"].get("variant")
    classes = (saved_facts(checkpoint) or {}).get("classes")
    if not before or before == options.variant or sorted(classes or ()) != sorted(videos.classes):
        return ""
    return (
        f"{path} was trained on variant or split {before} of these classes, this run has {options.variant}: its "
        "validation videos may be training videos of the file"
    )


def is_first_of_machine(ranks: Ranks) -> bool:
    """Whether this rank reads the contents of its machine's videos."""
    return ranks.is_first or ranks.local_rank == 0


def agreed_contents(ranks: Ranks, contents: Contents | None) -> tuple[Contents, dict[str, object]]:
    """The first rank's contents, on all ranks, and facts for `check_agreement`; all ranks must call this.

    `contents` are None unless `is_first_of_machine`. A video that cannot be read on one of the machines
    does not count as another one.
    """
    first: Contents = ranks.gather(contents)[0]
    mine = contents or first
    facts: dict[str, object] = {
        f"the frames of the {split} videos": mine[split] if each.differences(mine[split]) else each
        for split, each in first.items()
    }
    return first, facts
