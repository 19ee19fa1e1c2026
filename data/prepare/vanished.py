"""Finds databases whose video is gone from the folder that it was converted from."""

import os
from collections.abc import Collection
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.labels.class_folders import list_folders
from data.store.frame_store import DATABASE
from data.store.origin import read_origin

MOST_READ = 20_000  # databases, some ten seconds: OUT may hold the videos of other folders too


class Vanished(NamedTuple):
    """Databases without their video: the source of each "<class>/<video>", and how many others were not looked at."""

    sources: dict[str, str]
    not_looked_at: int


def vanished(videos: Path, jpg: Path, found: Collection[tuple[str, str]]) -> Vanished:
    """The databases in `jpg` that were made from a file of `videos` which is not there.

    `found` are the (class, video id) of the files that are there. Folders that cannot be read are left to verify; of
    the others, MOST_READ databases are looked at.
    """
    name = videos.resolve().name
    sources: dict[str, str] = {}
    others = ((label, each) for label in _folders(jpg) for each in _folders(jpg / label) if (label, each) not in found)
    for label, each in islice(others, MOST_READ):  # what is left in `others` is counted below
        try:
            made = read_origin(jpg / label / each / DATABASE)
        except DataError:  # verify says why
            continue
        if made is not None and made.videos == name and not os.path.lexists(videos / made.source):
            sources[f"{label}/{each}"] = made.source
    return Vanished(sources, sum(1 for _ in others))


def _folders(folder: Path) -> list[str]:
    try:
        return list_folders(folder)
    except DataError:
        return []
