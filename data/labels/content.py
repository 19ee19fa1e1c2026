"""What the videos of a split hold, in short. It tells other cuts or other pixels under the same names.

It is the same wherever the videos lie, and for a copy of them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data.labels.class_folders import in_threads
from data.labels.video_list import VideoList
from data.store.frame_store import FrameStore
from data.store.origin import file_content
from data.store.video_source import VideoPart, VideoSourceError

UNREAD = ""  # in place of a digest that is not known, as of a video that cannot be read; it equals any other
LONGEST = 64  # characters of a digest in a file


@dataclass(frozen=True)
class Content:
    """The numbers of frames of all videos, as the scan found them, and one frame of each video of a sample.

    Of a video file some bytes stand for the frame.

    A scan that was kept may be older than the videos: those of the sample are counted anew.
    """

    counts: str  # a digest, or UNREAD
    samples: tuple[str, ...]  # digests, or UNREAD

    def plain(self) -> dict[str, Any]:
        """The content as plain types, for a checkpoint."""
        return {"counts": self.counts, "samples": list(self.samples)}

    @classmethod
    def from_plain(cls, value: object) -> "Content | None":
        """Undo `plain`; None for anything else."""
        if not isinstance(value, Mapping) or value.keys() != {"counts", "samples"}:
            return None
        counts, samples = value["counts"], value["samples"]
        is_list = isinstance(samples, list | tuple) and len(samples) <= VideoList.SAMPLED
        if not is_list or not all(isinstance(each, str) and len(each) <= LONGEST for each in (counts, *samples)):
            return None
        return cls(counts, tuple(samples))

    def without_counts(self) -> "Content":
        """The same with unknown numbers of frames: those of the scan do not hold if the videos have changed since."""
        return replace(self, counts=UNREAD)

    def differences(self, other: "Content") -> str:
        """What another content of as many videos has otherwise: "other numbers of frames"; empty if they are the same.

        A video that cannot be read, then or now, may be the same: reading it for a clip tells what is wrong.
        """
        pairs = [pair for pair in zip(self.samples, other.samples, strict=False) if UNREAD not in pair]
        number = sum(one != two for one, two in pairs)
        is_known = UNREAD not in (self.counts, other.counts)
        found = ["other numbers of frames"] if is_known and self.counts != other.counts else []
        found += [f"other frames (in {number} of {len(pairs)} videos looked at)"] if number else []
        return " and ".join(found)


def content_of(videos: VideoList) -> Content:
    """The content of a split. Reads one frame, or some bytes, of each video of the sample, and decodes none."""
    counts = hashlib.blake2b(videos.frame_counts.data, digest_size=16).hexdigest()
    places = [videos.place(index) for index in videos.sample()]
    return Content(counts, tuple(in_threads("frames", _digest, places)))


def _digest(place: Path | VideoPart) -> str:
    return _file_digest(place) if isinstance(place, VideoPart) else _frame_digest(place)


def _file_digest(part: VideoPart) -> str:
    """A digest of a file's size and of its first, middle and last bytes, and of which of its frames are the video."""
    path = Path(part.path)
    try:
        if not path.is_file():
            return UNREAD
        size, content = file_content(path)
    except OSError:
        return UNREAD
    return hashlib.blake2b(f"{part.first} {part.frames} {size} {content}".encode(), digest_size=8).hexdigest()


def _frame_digest(folder: Path) -> str:
    """A digest of the frame in the middle, since many videos begin and end with the same title, and of their number."""
    try:
        with FrameStore(folder) as video:
            count = len(video)
            jpeg = video.jpeg(count // 2)
    except VideoSourceError:
        return UNREAD
    return hashlib.blake2b(b"%d " % count + jpeg, digest_size=8).hexdigest()
