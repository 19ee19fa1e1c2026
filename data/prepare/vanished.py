"""Finds databases whose video is gone from the folder that it was converted from."""

import os
from collections.abc import Callable, Collection
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.labels.class_folders import list_folders
from data.prepare.found_again import Content
from data.store.frame_store import DATABASE
from data.store.origin import read_origin

MOST_READ = 20_000  # databases, some ten seconds: OUT may hold the videos of other folders too


class Vanished(NamedTuple):
    """Databases without a video: the source of each "<class>/<video>" that is gone, and the others.

    `of_others` are those made from a folder of another name, by that name; it is empty if a database does not say it.
    `not_taken` are those whose source is there but is not taken for a video. Some may not have been looked at.
    """

    sources: dict[str, str]
    of_others: dict[str, list[str]]
    not_taken: list[str]
    not_looked_at: int
    contents: dict[str, Content]  # of `sources`


def vanished(videos: Path, jpg: Path, found: Collection[tuple[str, str]], is_meant: Callable[[str], bool]) -> Vanished:
    """The databases in `jpg` of no video in `videos`, above all those made from a file of it which is not there.

    `found` are the (class, video id) of the files that are there; `is_meant` says which "<class>/<video>" to look at.
    Folders that cannot be read are left to verify; of the others, MOST_READ databases are looked at.
    """
    name = videos.resolve().name
    sources: dict[str, str] = {}
    of_others: dict[str, list[str]] = {}
    not_taken: list[str] = []
    contents: dict[str, Content] = {}
    every = ((label, each) for label in _folders(jpg) for each in _folders(jpg / label))
    others = (each for each in every if each not in found and is_meant("/".join(each)))
    for label, each in islice(others, MOST_READ):  # what is left in `others` is counted below
        try:
            made = read_origin(jpg / label / each / DATABASE)
        except DataError:  # verify says why
            continue
        if made is None or made.videos != name:
            of_others.setdefault(made.videos if made else "", []).append(f"{label}/{each}")
        elif os.path.lexists(videos / made.source):
            not_taken.append(f"{label}/{each}")
        else:
            sources[f"{label}/{each}"] = made.source
            contents[f"{label}/{each}"] = made.size, made.content
    return Vanished(sources, of_others, not_taken, sum(1 for _ in others), contents)


def _folders(folder: Path) -> list[str]:
    try:
        return list_folders(folder)
    except DataError:
        return []
