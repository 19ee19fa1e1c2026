"""Finds the videos to convert: all in a folder, or those that a label file names."""

import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from data.labels.hints import VIDEO_SUFFIXES
from data.labels.label_file import LabelRow
from data.labels.text import some
from data.prepare.jpeg_folder import JPEG_SUFFIXES
from data.prepare.report import Problem
from data.store.video_file import Span

SUFFIXES = VIDEO_SUFFIXES | {".3g2", ".asf", ".divx", ".f4v", ".gif", ".m2ts", ".m2v", ".mpe", ".mpeg-4", ".mts"}
SUFFIXES |= {".mxf", ".ogv", ".rm", ".rmvb", ".vob", ".y4m"}
LAYOUT = "expected VIDEOS/<class>/<video file> or VIDEOS/<class>/<video>/<frame>.jpg"
PLAIN_FOLDER = "folders without JPEG frames"


class Source(NamedTuple):
    """A video to convert: a file or a folder of JPEG frames, its class and id, and the part to cut out."""

    path: Path
    label: str
    video_id: str
    span: Span | None = None


class Sources(NamedTuple):
    """The videos found, those that cannot be converted, and the number of ignored files by suffix."""

    videos: list[Source]
    problems: list[Problem]
    ignored: Counter[str]


def find_sources(videos: Path, out: Path) -> Sources:
    """Find VIDEOS/<class>/<file> and VIDEOS/<class>/<folder of JPEG frames>, sorted by name.

    The databases are skipped if `out` is `videos`. DataError if there is no video in this layout.
    """
    loose: list[str] = []
    ignored: Counter[str] = Counter()
    found: dict[tuple[str, str], list[Path]] = {}
    for entry in _entries(videos):
        if not entry.is_dir():
            if _is_video(Path(entry.path)):
                loose.append(entry.name)
            else:
                ignored[_kind(entry)] += 1
        elif not _same(Path(entry.path), out):
            for path, inside in _videos_in(Path(entry.path)):
                if path is None:
                    ignored[inside] += 1
                else:
                    found.setdefault((entry.name, inside), []).append(path)
    if loose:
        raise DataError(
            f"{videos} holds {some(loose, 'video')} outside class folders: {LAYOUT}; move each video into the folder "
            "of its class, or name a label file with --labels"
        )
    if not found:
        raise DataError(
            f"no videos in {videos}: {LAYOUT}; it holds {some([entry.name for entry in _entries(videos)], 'name')}"
        )
    sources: list[Source] = []
    problems: list[Problem] = []
    for (label, video_id), paths in found.items():
        if len(paths) == 1:
            sources.append(Source(paths[0], label, video_id))
        else:
            problems.append(Problem("failed", f"{label}/{video_id}", _ambiguous(paths, videos)))
    return Sources(sources, problems, ignored)


def find_labelled_sources(videos: Path, out: Path, rows: Iterable[LabelRow]) -> Sources:
    """Find the video of each row of a label file by its name, anywhere under `videos`.

    For a row with times this is a clip that is already cut, named as its folder will be, or else a part of the whole
    video `<youtube_id>.*` or `v_<youtube_id>.*`. If several videos have the name, the one in a folder named after the
    class is taken.
    """
    by_name: dict[str, list[Path]] = {}
    ignored: Counter[str] = Counter()
    for folder in _folders_under(videos, out):
        for path, name in _videos_in(folder):
            if path is not None:
                by_name.setdefault(name, []).append(path)
            elif name != PLAIN_FOLDER:
                ignored[name] += 1
    sources: dict[tuple[str, str], Source] = {}
    problems: list[Problem] = []
    for row in rows:
        if (row.label, row.video_id) in sources:
            continue  # in two splits
        span = None
        paths = by_name.get(row.video_id, [])
        if not paths and row.time_start is not None and row.time_end is not None:
            # HACS's own downloader names the whole videos v_<youtube id>.
            paths = by_name.get(row.youtube_id) or by_name.get(f"v_{row.youtube_id}", [])
            span = Span(row.time_start, row.time_end)
        if len(paths) > 1:
            paths = [path for path in paths if _spelling(path.parent.name) == _spelling(row.label)] or paths
        item = f"{row.label}/{row.video_id}"
        if not paths:
            names = dict.fromkeys((row.video_id, row.youtube_id))
            problems.append(Problem("missing", item, f"no video named {' or '.join(names)} under {videos}"))
        elif len(paths) > 1:
            problems.append(Problem("failed", item, _ambiguous(paths, videos)))
        else:
            sources[row.label, row.video_id] = Source(paths[0], row.label, row.video_id, span)
    return Sources(list(sources.values()), problems, ignored)


class Shard(NamedTuple):
    """Part `part` of `parts`, counted from 0 or from 1: the last part is the same as part 0."""

    part: int
    parts: int

    def has(self, item: str) -> bool:
        """Whether the video "<class>/<id>" belongs to this part; that depends only on its name."""
        return zlib.crc32(os.fsencode(item)) % self.parts == self.part % self.parts


def _videos_in(folder: Path) -> Iterator[tuple[Path | None, str]]:
    """Yield (path, id) of each video in a folder, and (None, kind) of everything else."""
    for entry in _entries(folder):
        path = Path(entry.path)
        if entry.is_dir():
            yield (path, entry.name) if _holds_jpegs(path) else (None, PLAIN_FOLDER)
        elif _is_video(path):
            yield path, path.stem
        else:
            yield None, _kind(entry)


def _folders_under(videos: Path, out: Path) -> Iterator[Path]:
    """`videos` and all folders under it that hold no JPEG frames, sorted by name; a folder linked twice comes once."""
    seen: set[tuple[int, int]] = set()
    waiting = [videos]
    while waiting:
        folder = waiting.pop()
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen or _same(folder, out):
            continue
        seen.add((status.st_dev, status.st_ino))
        yield folder
        children = [Path(entry.path) for entry in _entries(folder) if entry.is_dir()]
        waiting += [child for child in reversed(children) if not _holds_jpegs(child)]


def _entries(folder: Path) -> Sequence[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder}: {error.strerror}; give the folder that holds the videos") from error


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith("._")  # macOS writes ._<name> beside <name>


def _holds_jpegs(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(Path(entry.name).suffix.lower() in JPEG_SUFFIXES for entry in entries)


def _kind(entry: os.DirEntry[str]) -> str:
    return Path(entry.name).suffix.lower() or entry.name


def _same(folder: Path, out: Path) -> bool:
    """Whether the folder is the `jpg` of `out`, where databases are written."""
    return folder.name == "jpg" and out.exists() and folder.parent.samefile(out)


def _ambiguous(paths: Sequence[Path], videos: Path) -> str:
    names = " and ".join(str(path.relative_to(videos)) for path in sorted(paths))
    return f"{names} would become the same database: remove or rename all but one"


def _spelling(name: str) -> str:
    return name.replace("_", " ").casefold()
