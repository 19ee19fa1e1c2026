"""Finds the videos to convert: all in a folder, or those that a label file names."""

import os
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from common.errors import DataError
from common.files import inode_of, reason
from common.text import quoted
from data.labels.label_row import LabelRow
from data.labels.segment_names import are_other_files
from data.labels.text import counted, first_names, is_youtube_name, letters, some
from data.prepare.class_of_file import ClassesOfFiles
from data.prepare.clip_times import cut_times, fits
from data.prepare.file_names import is_frame, is_hidden_folder, is_other_image, is_picture, is_video, suffix
from data.prepare.frame_folder import begins_as_picture
from data.prepare.frame_pattern import has_frames
from data.prepare.pictures import is_animated_webp
from data.prepare.previews import is_preview, may_be_preview, named_after
from data.prepare.report import Problem
from data.store.video_file import Span

LAYOUT = "expected VIDEOS/<class>/<video file> or VIDEOS/<class>/<video>/<frame>.jpg"
LABELS = ", or name a label file with --labels"
OTHERS = "; python -m data.prepare.folder takes other layouts"
PLAIN_FOLDER = "folders without frames"
PICTURES = "frames, not converted: only JPEG, PNG, BMP and WebP frames are read; write them as PNG or JPEG"

ANIMATED_WEBP = "animated WebP"
WEBP_REMEDY = "an animated WebP picture, which is not read; write it as MP4 or GIF"
LOST = "a link to itself or to nothing"
HIDDEN = "hidden (names that begin with a dot, folders of systems such as @eaDir)"  # unfinished or deleted files
UNCERTAIN_CLASS = "by its name it may hold previews or frames of the videos of the other classes: is it a class?"
SPACE = "its name, or that of its class, begins or ends with a space, which label files do not keep: rename it"


class Source(NamedTuple):
    """A video to convert: a file or a folder of frames, its class and id, and the part to cut out."""

    path: Path
    label: str
    video_id: str
    span: Span | None = None
    cut: Span | None = None  # of a clip that was cut beforehand, the times that it should hold
    frames: tuple[int, int] | None = None  # in place of a span: the first frame, from 0, and one after the last


class Sources(NamedTuple):
    """The videos found, those that cannot be converted, and the number of ignored files by suffix."""

    videos: list[Source]
    problems: list[Problem]
    ignored: Counter[str]
    notes: Sequence[str] = ()


class Shard(NamedTuple):
    """Part `part` of `parts`, counted from 0 or from 1: the last part is the same as part 0."""

    part: int
    parts: int

    def has(self, item: str) -> bool:
        """Whether the video "<class>/<id>" belongs to this part; that depends only on its name."""
        return zlib.crc32(os.fsencode(item)) % self.parts == self.part % self.parts


class Found(NamedTuple):
    """Something in a folder. `kind` is "video", "frames", "pictures" or a kind of what is ignored."""

    path: Path
    kind: str
    name: str  # of a video, its id
    problem: str = ""
    doubt: str = ""  # why it may be no video
    is_preview: bool = False  # it is taken for a video only if a label row names it


def find_sources(videos: Path, out: Path, pattern: str = "") -> Sources:
    """Find VIDEOS/<class>/<file> and VIDEOS/<class>/<folder of frames>, sorted by name.

    A `pattern` of frames with a slash is looked for in folders of these folders (frame_pattern). The databases are
    skipped if `out` is `videos`. DataError if there is no video in this layout.
    """
    loose: list[str] = []
    ignored: Counter[str] = Counter()
    problems: list[Problem] = []
    found: dict[tuple[str, str], list[Path]] = {}
    folders: dict[str, list[str]] = {}
    files: Counter[str] = Counter()
    databases = inode_of(out / "jpg")
    entries = list(entries_of(videos, videos, problems))
    for entry in entries:
        if _is_hidden(entry):
            ignored[HIDDEN] += 1
        elif not is_folder(entry):
            if is_video(entry.name):
                loose.append(entry.name)
            elif _is_lost(entry):
                problems.append(Problem("failed", entry.name, LOST))
            else:
                ignored[_kind(entry)] += 1
        elif inode_of(Path(entry.path)) != databases:
            for each in contents(Path(entry.path), videos, problems, pattern):
                if each.problem:
                    problems.append(Problem("failed", f"{entry.name}/{each.name}", each.problem))
                    continue
                if each.doubt:
                    what = f"left out: {each.doubt}" if each.is_preview else f"{each.doubt}: is it a video?"
                    problems.append(Problem("warning", f"{entry.name}/{each.name}", what))
                if each.is_preview:
                    continue
                if each.kind == PLAIN_FOLDER and (deeper := first_within(each.path, videos, problems)):
                    choice = f", or {_choice(deeper)}" if is_frame(deeper) else ""
                    what = f"holds no frames or video itself, but {deeper}: {LAYOUT}{LABELS}{choice}{OTHERS}"
                    problems.append(Problem("failed", f"{entry.name}/{each.name}", what))
                elif each.kind in ("video", "frames"):
                    found.setdefault((entry.name, each.name), []).append(each.path)
                    if each.kind == "video":
                        files[entry.name] += 1
                    else:
                        folders.setdefault(entry.name, []).append(each.name)
                else:
                    ignored[each.kind] += 1
    if loose:
        raise DataError(
            f"{videos} holds {some(loose, 'video')} outside class folders: {LAYOUT}; move each video into the folder "
            f"of its class, or name a label file with --labels{OTHERS}"
        )
    if not found and not problems:
        raise DataError(
            f"no videos in {videos}: {LAYOUT}; it holds {some([entry.name for entry in entries], 'name')}{OTHERS}"
        )
    previews = dict(previews_of_classes(videos, found, folders, files))
    problems += (Problem("warning", label, f"left out: {why}") for label, why in previews.items())
    kept = dict.fromkeys(label for label, _ in found if label not in previews and may_be_preview(label))
    problems += (Problem("warning", label, UNCERTAIN_CLASS) for label in kept)
    sources: list[Source] = []
    for (label, video_id), paths in found.items():
        if label in previews:
            continue
        if label != label.strip() or video_id != video_id.strip():
            problems.append(Problem("failed", str(paths[0].relative_to(videos)), SPACE))
        elif len(paths) == 1:
            sources.append(Source(paths[0], label, video_id, None, cut_times(None, video_id)))
        else:
            names = _names(paths, videos)
            why = f"{names} would become the same database: remove or rename all but one"
            problems.append(Problem("failed", f"{label}/{video_id}", why))
    return Sources(sources, problems, ignored, _note_on_folders(folders, files))


def previews_of_classes(
    videos: Path, found: Iterable[tuple[str, str]], folders: Mapping[str, Sequence[str]], files: Mapping[str, int]
) -> Iterator[tuple[str, str]]:
    """The classes that hold previews of the others, such as VIDEOS/thumbnails/<class>/<video>.jpg, and why."""
    classes = {label for label, _ in found}
    for label, names in folders.items():
        if label in files:
            continue
        is_named = is_preview(label)
        known = set(map(letters, classes - {label})) if is_named else classes - {label}
        # Classes and videos may both have plain numbers.
        are_classes = (is_named or not all(map(str.isdecimal, names))) and 2 * sum(
            (letters(name) if is_named else name) in known for name in names
        ) > len(names)
        if is_named and are_classes:
            yield label, "by its name and those of its folders it holds previews of the classes; rename it if it is one"
        elif is_named or are_classes:
            pictures = [entry.name for name in names for entry in entries_of(videos / label / name, videos, [])]
            after = named_after(label, pictures, {video_id for other, video_id in found if other != label})
            if after.video and (after.is_sure or is_named):
                yield label, f"its pictures are named after videos of other classes, such as {after.video}"


def _note_on_folders(folders: Mapping[str, Sequence[str]], files: Mapping[str, int]) -> list[str]:
    """A line on frame folders that are the fewer in their class: they may be no videos."""
    few = [f"{label}/{name}" for label, names in folders.items() if len(names) <= files.get(label, 0) for name in names]
    if not few:
        return []
    where = f"in classes that otherwise hold video files {'was' if len(few) == 1 else 'were'}"
    what = "a video" if len(few) == 1 else "videos"
    return [f"{counted(len(few), 'folder')} of frames {where} taken as {what}: {first_names(few)}"]


def find_labelled_sources(videos: Path, out: Path, rows: Sequence[LabelRow], pattern: str = "") -> Sources:
    """Find the video of each row of a label file by its name, anywhere under `videos`.

    For a row with times this is a clip that is already cut, named as its folder will be, or else a part of the whole
    video `<youtube_id>.*` or `v_<youtube_id>.*`. A video in the folder of another class is not taken: names such as
    001.mp4 come in each class. The ids of YouTube name one video wherever it lies, if most rows have such ids.
    """
    first: dict[tuple[str, str], LabelRow] = {}
    for row in rows:
        first.setdefault((row.label, row.video_id), row)  # else it is in two splits
    found, warnings, ignored = find_rows(videos, out, list(first.values()), pattern)
    problems = warnings + [each for each in found if isinstance(each, Problem)]
    sources = [each for each in found if isinstance(each, Source)]
    return Sources(sources, problems + list(in_two_classes(sources, videos)), ignored)


def find_rows(
    videos: Path, out: Path, rows: Sequence[LabelRow], pattern: str = ""
) -> tuple[list[Source | Problem], list[Problem], Counter[str]]:
    """The video of each row, or why there is none; warnings; and the number of ignored files by suffix."""
    ignored: Counter[str] = Counter()
    problems: list[Problem] = []
    by_name: dict[str, list[Found]] = {}
    folders: dict[str, Path] = {}
    for each in _everything_under(videos, out, problems, pattern):
        if each.kind in ("video", "frames", "pictures"):
            by_name.setdefault(each.name, []).append(each)
        elif each.kind == PLAIN_FOLDER:
            folders.setdefault(each.name, each.path)
        else:
            ignored[each.kind] += 1
    search = _Search(videos, by_name, rows, folders)
    found = [search.find(row) for row in rows]
    # What cannot be read matters only to a row without a video, which is a problem of its own.
    problems = [problem._replace(kind="warning") for problem in problems]
    return found, problems + search.warnings, ignored


def in_two_classes(found: Sequence[Source], videos: Path) -> Iterator[Problem]:
    """A warning for each file that becomes a video of several classes, in whole or in the same part."""
    first: dict[tuple[Path, Span | None, tuple[int, int] | None], Source] = {}
    for source in found:
        other = first.setdefault((source.path, source.span, source.frames), source)
        if other.label != source.label:
            what = f"{_names([source.path], videos)} is taken for class {quoted(other.label)}, too"
            yield Problem("warning", f"{source.label}/{source.video_id}", what)


_Part = tuple[Span | None, tuple[int, int] | None]  # of a video, in seconds or frames
_WHOLE: _Part = (None, None)


def _part(row: LabelRow) -> _Part:
    if row.time_start is not None and row.time_end is not None:
        return Span(row.time_start, row.time_end), None
    return None, row.frames


class _Search:
    """Finds the videos of rows among those under `videos`, by name."""

    def __init__(
        self, videos: Path, by_name: dict[str, list[Found]], rows: Sequence[LabelRow], folders: Mapping[str, Path]
    ) -> None:
        self._folders = folders  # that hold no video or frames themselves, by name
        self.warnings: list[Problem] = []
        self._videos = videos
        self._place = videos.absolute()
        self._paths: dict[Path, str] = {}  # of the files that were taken, as the first row writes it
        self._by_name = by_name
        places = {each.path.parent for found in by_name.values() for each in found}
        self._classes = ClassesOfFiles(videos, places, {row.label for row in rows})
        self._rows = {(row.label, row.video_id) for row in rows}
        self._wholes = {(row.label, row.video_id) for row in rows if row.time_start is None and not row.frames}
        ids = {row.youtube_id for row in rows}
        # Of other names, some look like ids of YouTube by chance: video_00004, but not video_00005.
        self._from_youtube = 2 * sum(map(is_youtube_name, ids)) > len(ids)

    def find(self, row: LabelRow) -> Source | Problem:
        """The row's video, or why there is none."""
        part = _part(row)
        parts = {row.video_id: _WHOLE}
        if part != _WHOLE:
            # HACS's own downloader names the whole videos v_<youtube id>.
            parts |= {row.youtube_id: part, f"v_{row.youtube_id}": part}
            if row.source:  # it names the whole video
                parts = {row.youtube_id: part, row.video_id: _WHOLE}
        item = f"{row.label}/{row.video_id}"
        elsewhere: list[Path] = []
        for name, (span, frames) in parts.items():
            there, suitable = self._candidates(row, name)
            if len(suitable) > 1:
                names = _names([each.path for each in suitable], self._videos)
                return Problem("failed", item, f"{names} may each be meant: remove or rename all but one")
            if suitable and suitable[0].problem:
                return Problem("failed", item, f"{_names([suitable[0].path], self._videos)}: {suitable[0].problem}")
            if suitable:
                taken = suitable[0]
                if why := self._taken_twice(row, taken):
                    return Problem("failed", item, why)
                cut = cut_times(row, name) if span is None and frames is None else None
                # A folder of frames may be named with a suffix, as is the folder of its database then.
                video_id = row.video_id if taken.name == name else taken.name + row.video_id[len(row.youtube_id) :]
                return Source(taken.path, row.label, video_id, span, cut, frames)
            elsewhere += [each.path for each in there]
        names = " or ".join(dict.fromkeys((row.video_id, row.source or row.youtube_id)))
        if not elsewhere:
            return Problem("missing", item, f"no video named {names} under {self._videos}{self._hint(row.video_id)}")
        lies = f"{_names(elsewhere, self._videos)} {'lies' if len(elsewhere) == 1 else 'lie'} in "
        if "/" in row.source:
            return Problem("missing", item, f"no video {row.source} under {self._videos}, and {lies}other folders")
        return Problem(
            "missing",
            item,
            f"no video named {names} in a folder of its class, and {lies}a folder of another class; move it if meant",
        )

    def _candidates(self, row: LabelRow, name: str) -> tuple[Sequence[Found], Sequence[Found]]:
        """The videos of a name, and those of them that may be the row's: more than one if it cannot be told which."""
        there = self._by_name.get(name, [])
        if not row.source or name != row.youtube_id:
            return there, self._suitable(row, name, there)
        written = row.source.rpartition("/")[2]
        if written != name:
            there = [*there, *self._by_name.get(written, [])]
        return there, self._at_path(row, there)

    def _at_path(self, row: LabelRow, there: Sequence[Found]) -> Sequence[Found]:
        """Those of the videos of the row's name that lie at its path, or whose class tells that they are meant."""
        paths = {each: each.path.relative_to(self._videos) for each in there}
        fitting = [each for each in there if fits(row.source, paths[each], self._place, with_suffix=True)]
        others = [] if fitting else [each for each in there if fits(row.source, paths[each], self._place)]
        if others and row.source.rpartition("/")[2] != row.youtube_id:
            self._warn_of(row, others, f"and the label file names {row.source}")
        fitting = fitting or others
        if "/" not in row.source:
            return self._suitable(row, row.youtube_id, fitting)
        # A row's path may begin above `videos`: of a/b.mp4 and b.mp4, the first is then that of x/a/b.mp4.
        levels = {each: min(len(paths[each].parts), row.source.count("/") + 1) for each in fitting}
        fitting = [each for each in fitting if levels[each] == max(levels.values())]
        if len(fitting) != 1:
            return self._suitable(row, row.youtube_id, fitting)
        if self._classes.of(fitting[0].path) & self._classes.known - {row.label}:
            self._warn_of(row, fitting)
        return fitting

    def _taken_twice(self, row: LabelRow, found: Found) -> str:
        """Why a row's video is not sure, as another row with another path takes the same file; else empty."""
        other = self._paths.setdefault(found.path, row.source)
        if not are_other_files(other, row.source):
            return ""
        return f"{_names([found.path], self._videos)} would be taken for {other} and for {row.source}"

    def _hint(self, name: str) -> str:
        """Of a row whose video has a folder: the frames that lie in a folder of that."""
        folder = self._folders.get(name)
        deeper = first_within(folder, self._videos, []) if folder else ""
        return f"; its folder holds {deeper}: {_choice(deeper)}" if is_frame(deeper) else ""

    def _suitable(self, row: LabelRow, name: str, there: Sequence[Found]) -> Sequence[Found]:
        """Those of the videos of a name that may be the row's; more than one if it cannot be told which."""
        owners = {each: self._classes.of(each.path) for each in there}
        own = [each for each in there if row.label in owners[each]]
        own = [each for each in own if len(owners[each]) == 1] or own
        if own:
            # <class>/<another class>/001.mp4 may be claimed by the rows of both.
            claimed = any((other, row.video_id) in self._rows for other in owners[own[0]] - {row.label})
            return [] if claimed and len(own) == 1 and not self._is_youtube(name) else own
        free = [each for each in there if not owners[each]]
        if self._is_youtube(name):
            unclaimed = [each for each in there if not any((other, name) in self._wholes for other in owners[each])]
            if unclaimed and not free:
                self._warn_of(row, unclaimed)
            return free or unclaimed
        if free:
            if self._classes.has_folder(row.label) and any(each.path.parent != self._videos for each in free):
                self._warn_of(row, free)
            return free
        unknown = [each for each in there if not owners[each] & self._classes.known]
        if not unknown or len(unknown) < len(there) or self._classes.has_folder(row.label):
            return []
        self._warn_of(row, unknown)
        return unknown

    def _warn_of(
        self, row: LabelRow, taken: Sequence[Found], why: str = "whose folder does not name its class"
    ) -> None:
        reason = f"taken from {_names([each.path for each in taken], self._videos)}, {why}"
        self.warnings.append(Problem("warning", f"{row.label}/{row.video_id}", reason))

    def _is_youtube(self, name: str) -> bool:
        return self._from_youtube and is_youtube_name(name)


def contents(folder: Path, videos: Path, problems: list[Problem], pattern: str) -> Iterator[Found]:
    """What a folder holds. Folders that cannot be read are added to `problems`."""
    entries = entries_of(folder, videos, problems)
    folders = {entry.name for entry in entries if is_folder(entry)}
    files = (entry.name for entry in entries if entry.name not in folders) if folders else ()
    beside = {Path(name).stem for name in files if is_video(name)}
    for entry in entries:
        path = Path(entry.path)
        if _is_hidden(entry):
            yield Found(path, HIDDEN, entry.name)
        elif is_folder(entry):
            if has_frames(path, pattern):
                yield Found(path, "frames", entry.name)
            else:
                yield _folder_found(path, beside, folders, videos, problems)
        elif is_video(entry.name):
            yield Found(path, "video", path.stem)
        elif _is_lost(entry):
            problems.append(Problem("failed", str(path.relative_to(videos)), LOST))
        elif suffix(entry.name) == ".webp" and is_animated_webp(path):
            is_video_preview = any(is_video(each.name) and Path(each.name).stem == path.stem for each in entries)
            yield Found(path, ANIMATED_WEBP, entry.name, "" if is_video_preview else WEBP_REMEDY)
        else:
            yield Found(path, _kind(entry), entry.name)


def _folder_found(path: Path, beside: set[str], folders: set[str], videos: Path, problems: list[Problem]) -> Found:
    entries = entries_of(path, videos, problems)
    names = [entry.name for entry in entries if not (is_picture(entry.name) and is_folder(entry))]
    inside = [name for name in names if is_video(name)]
    if inside:
        deeper = f"a folder of {some(inside, 'video')}, not converted: {LAYOUT}{LABELS}{OTHERS}"
        return Found(path, PLAIN_FOLDER, path.name, deeper)
    if any(is_frame(name) for name in names):
        return Found(path, "frames", path.name, "", *_doubt(path.name, names, beside, folders))
    bare = next((entry for entry in entries if not suffix(entry.name) and not is_folder(entry)), None)
    if bare is not None and begins_as_picture(Path(bare.path)):  # its conversion says what to do
        return Found(path, "frames", path.name)
    pictures = [name for name in names if is_other_image(name)]
    if pictures:
        kind = Path(pictures[0]).suffix[1:].upper()
        return Found(path, "pictures", path.name, f"{len(pictures)} {kind} {PICTURES}")
    return Found(path, PLAIN_FOLDER, path.name)


def _doubt(name: str, names: Sequence[str], videos: set[str], folders: set[str]) -> tuple[str, bool]:
    """Why a folder that holds `names` may be of previews of the videos beside it, and whether that is sure enough.

    Without video files, the folders beside it are the videos; only a folder with such a name is compared with them.
    """
    is_named = is_preview(name)
    if videos and is_named:
        return "by its name it holds previews of the videos beside it; rename it if it is a video", True
    if not videos:
        if not (may_be_preview(name) and len(folders) > 1):
            return "", False
        videos = folders - {name}
    after = named_after(name, names, videos)
    if not after.video:
        return "", False
    return f"its pictures are named after videos beside it, such as {after.video}", after.is_sure or is_named


def _choice(deeper: str) -> str:
    """The flag that takes a picture in a folder of the video's folder, and those beside it, for the frames."""
    return f"--frames '{Path(deeper).parent}/*{Path(deeper).suffix}'"


def first_within(folder: Path, videos: Path, problems: list[Problem]) -> str:
    """The first picture or video in the folders of a folder, at any depth; empty if there is none."""
    seen = {inode_of(place) for place in (folder, *folder.resolve().parents)}
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        for entry in reversed(entries_of(place, videos, problems)):
            if is_folder(entry):
                if not is_hidden_folder(entry.name) and (identity := inode_of(Path(entry.path))) not in seen:
                    seen.add(identity)
                    waiting.append(Path(entry.path))
            elif place != folder and entry.name[0] != "." and (is_video(entry.name) or is_picture(entry.name)):
                return str(Path(entry.path).relative_to(folder))
    return ""


def _everything_under(videos: Path, out: Path, problems: list[Problem], pattern: str) -> Iterator[Found]:
    """What `videos` and all folders under it that hold no frames hold; a folder linked twice comes once."""
    seen = {inode_of(out / "jpg")}
    waiting, links = [videos], list[Path]()
    while waiting or links:
        # A link comes after all folders: else what is in one would seem to lie in the class folder of the link.
        folder = waiting.pop() if waiting else links.pop(0)
        identity = inode_of(folder)
        if identity in seen:
            continue
        seen.add(identity)
        found = list(contents(folder, videos, problems, pattern))
        yield from found
        inner = [each.path for each in found if each.kind == PLAIN_FOLDER]
        links += [path for path in inner if path.is_symlink()]
        waiting += [path for path in reversed(inner) if not path.is_symlink()]


def entries_of(folder: Path, videos: Path, problems: list[Problem]) -> Sequence[os.DirEntry[str]]:
    """The entries of a folder by name. DataError if `videos` cannot be read; other folders become a problem."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        if folder == videos:
            raise DataError(f"{folder}: {reason(error)}; give the folder that holds the videos") from error
        problem = Problem("failed", str(folder.relative_to(videos)), f"the folder cannot be read ({reason(error)})")
        if problem not in problems:
            problems.append(problem)
        return []


def is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    """Whether it would be a class or a video, but for the dot before its name, or is of a system."""
    if is_folder(entry):
        return is_hidden_folder(entry.name)
    return entry.name.startswith(".") and is_video(entry.name)


def _is_lost(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not os.path.exists(entry.path)  # noqa: PTH110 (Path.exists raises for some loops)


def _kind(entry: os.DirEntry[str]) -> str:
    return Path(entry.name).suffix.lower() or entry.name


def _names(paths: Iterable[Path], videos: Path) -> str:
    return " and ".join(str(path.relative_to(videos)) for path in sorted(paths))
