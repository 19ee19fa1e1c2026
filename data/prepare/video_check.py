"""Checks the database of one video folder: its frames, their number, the video that it names, and its class."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from common.files import reason
from common.text import quoted
from data.labels.class_folders import list_names
from data.labels.other_video import has_other_name, other_class
from data.prepare.deletion import Deletion, delete_broken, identity, is_being_written
from data.store.frame_store import (
    DATABASE,
    FRAME_COUNT,
    REMEDY,
    FrameStore,
    FrameStoreError,
    count_text,
    leftovers,
)
from data.store.origin import FramesDigest, Origin, read_origin

CHUNK = 16  # frames decoded at a time
CHUNK_PIXELS = 2**25  # fewer if they are large


class Verdict(NamedTuple):
    """The result for a video folder: the number of frames in its database, and its problems as (kind, reason).

    `made` is what the database was made from; None if that is unknown.
    """

    frames: int
    problems: list[tuple[str, str]]
    made: Origin | None = None


class _Found(NamedTuple):
    """What is in a database: the frames, the video that it names and its origin; or the problem, as (kind, reason)."""

    frames: int = 0
    video_id: str = ""
    origin: Origin | None = None
    problem: tuple[str, str] | None = None
    is_as_written: bool = True  # False if the frames are known to be others than were written


def check_video(decode: str, folder: Path, beat: Callable[[], None]) -> Verdict:
    """Check one video folder; `decode` says which frames are decoded: "none", "first" or "all".

    Kind "broken" is for databases that are proved damaged: they were read twice, and nobody writes them. Those that
    cannot be read for another reason are "unreadable".
    """
    left = leftovers(folder)
    problems: list[tuple[str, str]] = []
    if left:
        names = ", ".join(path.name for path in left)
        problems.append(("leftover", f"of a killed run, or of one that is running: {names}"))
    try:
        (folder / DATABASE).lstat()
    except FileNotFoundError:
        others = sorted(set(list_names(folder)) - {path.name for path in left})
        held = f"; it holds {', '.join(others[:3])}{', ...' if len(others) > 3 else ''}" if others else ""
        return Verdict(0, [*problems, ("empty", f"no {DATABASE}{held}")])
    except OSError as error:
        return Verdict(0, [*problems, ("unreadable", f"{DATABASE} cannot be looked for ({reason(error)})")])
    before = identity(folder / DATABASE)
    found = _check_database(decode, folder, beat)
    problem = found.problem
    if problem and problem[0] == "broken":
        again = _check_database(decode, folder, beat)
        if again != found or identity(folder / DATABASE) != before:
            problem = ("unreadable", f"{problem[1].removesuffix(f'; {REMEDY}')}; but it changed while it was checked")
        elif is_being_written(folder / DATABASE):
            problem = ("unreadable", f"{problem[1].removesuffix(f'; {REMEDY}')}; but a program is writing it")
    if problem:
        return Verdict(0, [*problems, problem])
    problems += [*_check_count(folder, found.frames), *_check_name(folder, found.video_id)]
    if not found.is_as_written:
        why = f"{DATABASE} holds other frames than convert wrote: by a program, or a disk that lost bytes"
        problems.append(("other frames", f"{why}? To undo it, delete the folder and convert again"))
    made = found.origin
    if made is None:
        return Verdict(found.frames, problems)
    problems += _check_class(folder, made)
    return Verdict(found.frames, problems, made)


def check_and_delete(decode: str, jpg: Path, folder: Path, beat: Callable[[], None]) -> tuple[Verdict, Deletion]:
    """As check_video; then delete what is broken."""
    before = identity(folder / DATABASE)
    verdict = check_video(decode, folder, beat)
    kinds = {kind for kind, _ in verdict.problems}
    return verdict, delete_broken(jpg, folder, kinds, before) if kinds else Deletion([], [])


def check_only(decode: str, folder: Path, beat: Callable[[], None]) -> tuple[Verdict, Deletion]:
    """As check_video; nothing is deleted."""
    return check_video(decode, folder, beat), Deletion([], [])


def _check_database(decode: str, folder: Path, beat: Callable[[], None]) -> _Found:
    try:
        with FrameStore(folder) as store:
            count = store.check_numbering()
            digest = _decode(store, {"none": 0, "first": 1, "all": count}[decode], beat)
            made = read_origin(folder / DATABASE)
            is_as_written = decode != "all" or made is None or made.digest in ("", digest)
            return _Found(count, store.video_id(), made, is_as_written=is_as_written)
    except FrameStoreError as error:
        kind = "broken" if error.damaged else "unreadable"
        return _Found(problem=(kind, str(error).removeprefix(f"{folder}/")))


def _check_count(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """What is wrong with the file n_frames."""
    try:
        said = count_text(str(folder)).decode(errors="replace").strip()[:40] or "nothing"
    except FileNotFoundError:
        said = "nothing (there is no such file)"
    except OSError as error:
        yield "unreadable", f"{FRAME_COUNT} cannot be read ({reason(error)}); {DATABASE} holds {count} frames"
        return
    if (
        re.fullmatch("[0-9]{1,9}", said) and int(said) > count
    ):  # without it, nothing would tell of frames that were lost
        what = f"{FRAME_COUNT} says {said}, {DATABASE} holds {count}: were frames lost?"
        yield "frames missing", f"{what} Delete the folder and convert the video again"
    elif said != str(count):
        yield "wrong count", f"{FRAME_COUNT} says {said}, {DATABASE} holds {count}"


def _check_name(folder: Path, video_id: str) -> Iterator[tuple[str, str]]:
    if has_other_name(folder, video_id):
        yield "other name", f"{DATABASE} holds frames of {quoted(video_id)}; was it copied, or the folder renamed?"


def _check_class(folder: Path, made: Origin) -> Iterator[tuple[str, str]]:
    if name := other_class(folder, made):
        yield (
            "other class",
            f"{DATABASE} was made from {quoted(made.source)}; was it copied from class {quoted(name)}?",
        )


def _decode(store: FrameStore, count: int, beat: Callable[[], None]) -> str:
    """Decode the first `count` frames, all of which must have the size of the first; return their digest."""
    digest = FramesDigest()
    if count == 0:
        return digest.text()
    height, width = store.size()
    chunk = min(CHUNK, max(1, CHUNK_PIXELS // (height * width)))
    for start in range(0, count, chunk):
        beat()
        # `read` compares the sizes of the frames of one call: include the first each time.
        store.read([0, *range(start, min(start + chunk, count))])
        for index in range(start, min(start + chunk, count)):
            digest.add(store.jpeg(index))
    return digest.text()
