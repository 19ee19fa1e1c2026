"""Tells folders of previews, such as thumbnails of the videos beside them, from videos that are folders of frames."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from data.prepare.file_names import is_frame, is_video

# Words of the names of folders of previews; other videos may hold "cover" or "still" among other words.
WORDS = {"contactsheets", "keyframes", "posters", "previews", "screenshots", "snapshots", "thumbnail", "thumbnails"}
WORDS |= {"thumbs"}
NAMES = {"cover", "covers", "keyframe", "poster", "preview", "screenshot", "stills", "thumb"}
# Of frames or of previews: the names of the pictures must tell.
UNCERTAIN = {"contact", "frame", "frames", "image", "images", "img", "imgs", "jpeg", "jpegs", "jpg", "jpgs", "pics"}
UNCERTAIN |= {"picture", "pictures", "sheets", "snaps", "still"}


class NamedAfter(NamedTuple):
    """A video after which most pictures of a folder are named; empty if there is none."""

    video: str
    is_sure: bool  # the names cannot well be those of frames


def is_preview(name: str) -> bool:
    """Whether a folder of this name holds previews, such as "Thumbnails 2", "run_previews" or "covers"."""
    words = _words(name)
    return "".join(words) in WORDS | NAMES or not WORDS.isdisjoint(words)


def may_be_preview(name: str) -> bool:
    """Whether a folder of this name may hold previews or frames."""
    return is_preview(name) or "".join(_words(name)) in UNCERTAIN


def named_after(name: str, pictures: Iterable[str], videos: Collection[str]) -> NamedAfter:
    """Whether most of the frames among `pictures`, of a folder `name`, are named after `videos`, and which.

    For a video x these are x.jpg, x.mp4.jpg and x_cover.jpg or x_001.jpg. It is not sure if all have plain numbers, as
    frames and videos may have, or if all begin with the name of one video: that may be part of the folder's own.
    """
    stems = [os.path.splitext(each)[0] for each in pictures if is_frame(each)]  # noqa: PTH122 (called for each frame)
    found = [each for each in (_video_of(stem, videos, name) for stem in stems) if each]
    if 2 * len(found) <= len(stems):
        return NamedAfter("", False)
    names = {video for video, _ in found}
    is_one = len(names) == 1 and all(is_part for _, is_part in found) and not may_be_preview(name)
    is_plain = all(video.isdecimal() for video in names) and not any(map(is_video, stems))
    return NamedAfter(found[0][0], not is_one and not is_plain)


def _video_of(stem: str, videos: Collection[str], folder: str) -> tuple[str, bool] | None:
    """The video after which a picture is named, and whether its name goes on behind that; None if there is none."""
    if stem in videos:
        return stem, False
    if is_video(stem) and (whole := stem.rpartition(".")[0]) in videos:
        return whole, False
    for place in range(len(stem) - 1, 0, -1):
        if stem[place] in "_-. ":
            part = stem[:place]
            if part == folder:  # the folder's own frames: jump_2/jump_2_001.jpg beside jump.mp4
                return None
            if part in videos:
                return part, True
    return None


def _words(name: str) -> Sequence[str]:
    return re.findall(r"[^\W\d_]+", name.casefold())
