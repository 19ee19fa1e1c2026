"""What a checkpoint says of the videos that it was trained and validated on, beside the videos of a command."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from common.errors import DataError
from common.ranks import Ranks
from common.text import shortened
from data.labels.content import Content
from data.labels.video_list import VideoList
from evaluate.results.trained_texts import all_trained, some_trained
from network.weights.facts import is_own, shown, training_facts
from network.weights.tensors import not_plain

LONGEST_PATH = 300  # characters of a dataset's path in a message

Checkpoint = Mapping[str, Any]
Contents = Mapping[str, Content]


def other_content(checkpoint: Checkpoint, contents: Contents | None, split: str) -> str:
    """What the videos of a split held otherwise in the checkpoint's run: "other frames (...)"; empty if nothing.

    Empty also if the checkpoint does not tell. To be asked if the videos are the same by their names.
    """
    saved = checkpoint.get("content")
    before = Content.from_plain(saved.get(split)) if isinstance(saved, Mapping) else None
    return before.differences(contents[split]) if before and contents else ""


def other_dataset(checkpoint: Checkpoint, dataset: Path) -> str:
    """`--dataset A, now B` if the path was another; empty if not."""
    saved = checkpoint.get("options")
    before = saved.get("dataset") if isinstance(saved, Mapping) else None
    now = str(dataset)
    if not isinstance(before, str) or os.path.abspath(before) == os.path.abspath(now):  # noqa: PTH100 - text of a file
        return ""
    return f"--dataset {shortened(before, LONGEST_PATH)}, now {shortened(now, LONGEST_PATH)}"


def are_hashes(value: object) -> bool:
    """Whether a value may be the hashes of videos that a run saves: int64 in a row, sorted, each once."""
    return (
        isinstance(value, torch.Tensor)
        and not not_plain(value)
        and value.device.type == "cpu"
        and value.dtype == torch.int64
        and value.dim() == 1
        and len(value) > 0
        and bool((value[1:] > value[:-1]).all())
    )


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


def notes_on_videos(
    path: object, checkpoint: Checkpoint, videos: VideoList, content: Content | None, dataset: Path
) -> list[tuple[int, str]]:
    """What to say if the videos to evaluate are not those that the checkpoint's run validated: (log level, text).

    It is a warning if the weights were trained on them. `content` is that of the videos; None if it was not read.
    """
    saved, digest = training_facts(checkpoint)["videos"], videos.digest()
    if not saved:
        return []
    trained = count_trained(path, checkpoint, videos)
    other = other_dataset(checkpoint, dataset)
    place = f" ({other})" if other else ""

    def change(split: str) -> str:
        return other_content(checkpoint, {split: content} if content else None, split)

    notes = []
    if 0 < trained < len(videos):
        notes.append((logging.WARNING, some_trained(path, trained, len(videos))))
    if digest == saved.get("train") and change("train"):
        notes.append((logging.WARNING, all_trained(path, f", with {change('train')}{place}")))
    elif digest == saved.get("train") or trained == len(videos):
        notes.append((logging.WARNING, all_trained(path)))
    elif digest != saved.get("val"):
        notes.append((logging.INFO, f"{path} was validated on other videos or labels when it was trained{place}"))
    elif change("val"):
        notes.append(
            (logging.INFO, f"{path} was validated on {change('val')} in these videos when it was trained{place}")
        )
    return notes
