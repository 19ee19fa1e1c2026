"""The videos' files: how many bytes they have, and whether the system holds them in its memory."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from common.memory import available_memory
from data.labels.video_list import VideoList
from data.store.frame_store import DATABASE

LOOKS = 4  # places of a file that are looked at


class Storage(NamedTuple):
    """Of the training and validation videos together; from a sample."""

    total_bytes: int
    free_memory: int  # bytes that the system can use as cache; 0: not known
    cached: float | None  # the share of the files that is in the cache, 0 to 1; None: the system does not tell


def storage_of(splits: Sequence[VideoList]) -> Storage:
    """Sizes and cache state of a sample of the videos of each split."""
    total, shares = 0.0, []
    rng = np.random.default_rng()
    for videos in splits:
        chosen = rng.choice(len(videos), min(len(videos), VideoList.SAMPLED), replace=False).tolist()
        files = [_file(videos, index) for index in chosen]
        sizes = [path.stat().st_size for path in files if path.exists()]
        total += sum(sizes) / max(1, len(sizes)) * len(videos)
        shares += [share for path in files if path.exists() and (share := _cached(path)) is not None]
    return Storage(int(total), available_memory(), sum(shares) / len(shares) if shares else None)


def _file(videos: VideoList, index: int) -> Path:
    path = videos.path(index)
    return path / DATABASE if videos.source == "frames" else path


def _cached(path: Path) -> float | None:
    """The share of a file's looked-at places that can be read without the disk."""
    flag = getattr(os, "RWF_NOWAIT", None)
    if flag is None:
        return None
    there = 0
    with path.open("rb") as file:
        size = path.stat().st_size
        for look in range(LOOKS):
            try:
                os.preadv(file.fileno(), [bytearray(1)], size * (2 * look + 1) // (2 * LOOKS), flag)
                there += 1
            except BlockingIOError:
                pass
            except OSError:  # the file system cannot tell
                return None
    return there / LOOKS
