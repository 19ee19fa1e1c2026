"""The marks in films of evaluate.predict and evaluate.explain, which show other videos and are none to train on."""

import re
from collections.abc import Collection, Iterable
from itertools import islice
from pathlib import Path

from common.files import OtherFileError, open_plain
from data.store.video_boxes import boxes

PREDICT, EXPLAIN = "srtg.evaluate.predict", "srtg.evaluate.explain"
"""The marks: what each command writes to the tag `comment`."""
LARGEST = 2**62  # bytes of a film
SUFFIX = ".mp4"  # of all such films
TAGS = b"udta"  # the box of them
MOST_BOXES = 256  # that are looked at
MOST_BYTES = 1 << 16  # of the tags of a file
_NO_LETTER = re.compile(r"[\W_]")


def maker_named(comment: str) -> str:
    """Which command made the film that has a tag `comment`; empty if none did."""
    return comment.removeprefix("srtg.") if comment in (PREDICT, EXPLAIN) else ""


def films_among(folder: Path, files: Collection[str], folders: Iterable[str] = ()) -> dict[str, str]:
    """Those of the video files of a folder that are films, each with the command that made it.

    Only files are opened whose name is that of another video, or folder, with an ending, such as `a_film.mp4` beside
    `a.avi`: there may be very many. Another film is noticed when it is opened as a video.
    """
    stems = {name.rpartition(".")[0] for name in files}.union(folders)
    near = (name for name in files if name[-4:].lower() == SUFFIX and _has_ending(name[:-4], stems))
    return {name: maker for name in near if (maker := maker_of(folder / name))}


def _has_ending(stem: str, stems: Collection[str]) -> bool:
    return any(stem[: match.start()] in stems for match in _NO_LETTER.finditer(stem))


def maker_of(path: Path) -> str:
    """Which command made a film, by a few bytes of the file; empty if none did, or if it cannot be read.

    FFmpeg would open any format under this name, such as a list of other files.
    """
    try:
        with open_plain(path, LARGEST, buffering=0) as file:
            for name, place, length in islice(boxes(file, 0, path.stat().st_size), MOST_BOXES):
                if name == TAGS:
                    file.seek(place)
                    tags = file.read(min(MOST_BYTES, length))
                    return next((maker_named(mark) for mark in (PREDICT, EXPLAIN) if mark.encode() in tags), "")
    except (OSError, OtherFileError):
        pass
    return ""
