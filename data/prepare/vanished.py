"""Finds databases whose video is gone from the folder that it was converted from."""

import os
from collections.abc import Collection, Iterator
from itertools import islice
from pathlib import Path

from common.errors import DataError
from data.labels.class_folders import list_folders
from data.store.frame_store import DATABASE
from data.store.origin import read_origin

MOST_READ = 20_000  # databases, some ten seconds: OUT may hold the videos of other folders too


def vanished(videos: Path, jpg: Path, found: Collection[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """The databases in `jpg`, as (class/video, source), that were made from a file of `videos` which is not there.

    `found` are the (class, video id) of the files that are there. Folders that cannot be read are left to verify, and
    of more than MOST_READ databases the rest: the last item then is ("", their number).
    """
    name = videos.resolve().name
    others = ((label, each) for label in _folders(jpg) for each in _folders(jpg / label) if (label, each) not in found)
    for label, each in islice(others, MOST_READ):  # what is left in `others` is counted below
        try:
            made = read_origin(jpg / label / each / DATABASE)
        except DataError:  # verify says why
            continue
        if made is not None and made.videos == name and not os.path.lexists(videos / made.source):
            yield f"{label}/{each}", made.source
    if left := sum(1 for _ in others):
        yield "", str(left)


def _folders(folder: Path) -> list[str]:
    try:
        return list_folders(folder)
    except DataError:
        return []
