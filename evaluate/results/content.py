"""What the videos of an evaluation held: whether two evaluations are of the same frames under the same ids."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from data.labels.content import UNREAD, Content
from data.labels.video_list import VideoList

CONTENT = "content"  # the fact of an evaluation


def video_id(videos: VideoList, index: int) -> str:
    """`<class folder>/<video>`."""
    folder = videos.folder(index)
    return f"{folder.parent.name}/{folder.name}"


def content_facts(videos: VideoList, content: Content) -> dict[str, Any]:
    """The fact that tells what the videos held; `content` is theirs.

    The digests are kept by id, as another evaluation may be of some of the videos, or in another order.
    """
    ids = (video_id(videos, index) for index in videos.sample())
    samples = {each: digest for each, digest in zip(ids, content.samples, strict=True) if digest != UNREAD}
    return {CONTENT: {"videos": videos.digest(), "counts": content.counts, "samples": samples}}


def other_frames(one: Mapping[str, Any], other: Mapping[str, Any], ids: Collection[str] | None = None) -> str:
    """In what the videos of two evaluations differ, as their facts tell: "other frames (in 3 of 24 videos looked at)".

    Of an ensemble, the facts of its parts count. `ids` are the videos that count, by default all. Empty if they are the
    same, or if it cannot be told: of evaluations of older versions, or of databases against video files.
    """
    for mine in _contents(one):
        for its in _contents(other):
            if found := _difference(mine, its, ids):
                return found
    return ""


def _contents(about: Mapping[str, Any]) -> Iterator[tuple[object, Mapping[str, Any]]]:
    """The source and the content of an evaluation, or of each part of an ensemble, if the file tells them."""
    if isinstance(parts := about.get("parts"), list):
        for part in parts:
            if isinstance(part, Mapping) and isinstance(inner := part.get("about"), Mapping):
                yield from _contents(inner)
    elif isinstance(content := about.get(CONTENT), Mapping) and isinstance(content.get("samples"), Mapping):
        yield about.get("source"), content


def _difference(
    mine: tuple[object, Mapping[str, Any]], its: tuple[object, Mapping[str, Any]], ids: Collection[str] | None
) -> str:
    (source, one), (other_source, other) = mine, its
    if source != other_source:
        return ""
    both = one["samples"].keys() & other["samples"].keys()
    common = sorted(both if ids is None else both.intersection(ids))
    is_same_list = one.get("videos") == other.get("videos")
    contents = [
        Content(str(each.get("counts", UNREAD)) if is_same_list else UNREAD, tuple(map(each["samples"].get, common)))
        for each in (one, other)
    ]
    return contents[0].differences(contents[1])
