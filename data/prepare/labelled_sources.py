"""Finds the videos that label files name, anywhere under a folder."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path

from common.text import composed, quoted
from data.labels.class_folders import check_own_folders
from data.labels.clip_length import cut_times
from data.labels.label_row import LabelRow, written_name
from data.labels.made_from import fits
from data.labels.segment_names import are_other_files
from data.labels.text import are_from_youtube, counted, is_youtube_name, letters, locale_hint
from data.prepare.class_of_file import ClassesOfFiles
from data.prepare.file_names import is_frame
from data.prepare.folder_contents import (
    PLAIN_FOLDER,
    Found,
    choice_of_frames,
    everything_under,
    first_within,
    joined_names,
)
from data.prepare.report import Problem
from data.prepare.sources import Source, Sources
from data.store.video_file import Span


def find_labelled_sources(videos: Path, out: Path, rows: Sequence[LabelRow], pattern: str = "") -> Sources:
    """Find the video of each row of a label file by its name, anywhere under `videos`.

    For a row with times this is a clip that is already cut, named as its folder will be, or else a part of the whole
    video `<youtube_id>.*` or `v_<youtube_id>.*`. A video in the folder of another class is not taken: names such as
    001.mp4 come in each class. The ids of YouTube name one video wherever it lies, if most rows have such ids.
    DataError if two classes would have the same folder.
    """
    check_own_folders(row.label for row in rows)
    first: dict[tuple[str, str], LabelRow] = {}
    for row in rows:
        first.setdefault((row.label, row.video_id), row)  # else it is in two splits
    found, warnings, ignored = find_rows(videos, out, list(first.values()), pattern)
    problems = warnings + [each for each in found if isinstance(each, Problem)]
    sources = [each for each in found if isinstance(each, Source)]
    missing = any(each.kind == "missing" for each in problems)
    hint = locale_hint(name for row in rows for name in (row.label, row.video_id)) if missing else ""
    notes = [hint] if hint else []
    return Sources(sources, problems + list(in_two_classes(sources, videos)), ignored, notes)


def find_rows(
    videos: Path, out: Path, rows: Sequence[LabelRow], pattern: str = ""
) -> tuple[list[Source | Problem], list[Problem], Counter[str]]:
    """The video of each row, or why there is none; warnings; and the number of ignored files by suffix."""
    ignored: Counter[str] = Counter()
    problems: list[Problem] = []
    by_name: dict[str, list[Found]] = {}
    folders: dict[str, Path] = {}
    for each in everything_under(videos, out, problems, pattern):
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
    return found, problems + search.warnings + search.in_another_form(), ignored


def in_two_classes(found: Sequence[Source], videos: Path) -> Iterator[Problem]:
    """A warning for each file that becomes a video of several classes, in whole or in the same part."""
    first: dict[tuple[Path, Span | None, tuple[int, int] | None], Source] = {}
    for source in found:
        other = first.setdefault((source.path, source.span, source.frames), source)
        if other.label != source.label:
            what = f"{joined_names([source.path], videos)} is taken for class {quoted(other.label)}, too"
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
        self._in_another_form: list[tuple[str, Path]] = []
        self._paths: dict[Path, str] = {}  # of the files that were taken, as the first row writes it
        self._by_name = by_name
        self._all = rows
        places = {each.path.parent for found in by_name.values() for each in found}
        self._classes = ClassesOfFiles(videos, places, {row.label for row in rows})
        self._written = {row.source for row in rows if "/" in row.source}
        self._rows = {(row.label, row.video_id) for row in rows}
        self._wholes = {(row.label, row.video_id) for row in rows if not row.is_part}
        self._from_youtube = are_from_youtube({row.youtube_id for row in rows})

    def find(self, row: LabelRow) -> Source | Problem:
        """The row's video, or why there is none. If no name is as written, one in another Unicode form is taken."""
        found = self._find(row)
        if isinstance(found, Source) or found.kind != "missing" or (row.source or row.video_id).isascii():
            return found
        other = self._find(row, any_form=True)
        if isinstance(other, Source):
            self._in_another_form.append((f"{row.label}/{row.video_id}", other.path))
        return other

    def in_another_form(self) -> list[Problem]:
        """A warning on the videos whose names or folders have another Unicode form than in the label file."""
        if not self._in_another_form:
            return []
        (item, path), others = self._in_another_form[0], len(self._in_another_form) - 1
        more = f"; so it is with {counted(others, 'other video')}" if others else ""
        what = f"taken from {joined_names([path], self._videos)}, which has the accents in another Unicode form{more}"
        return [Problem("warning", item, what)]

    def _find(self, row: LabelRow, any_form: bool = False) -> Source | Problem:
        """The row's video, or why there is none: then no warning tells from which file it is taken."""
        before = len(self.warnings)
        found = self._look(row, any_form)
        if isinstance(found, Problem):
            del self.warnings[before:]
        return found

    def _look(self, row: LabelRow, any_form: bool) -> Source | Problem:
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
            before = len(self.warnings)
            there, suitable = self._candidates(row, name, any_form)
            if not suitable:
                del self.warnings[before:]
            if len(suitable) > 1:
                names = joined_names([each.path for each in suitable], self._videos)
                return Problem("failed", item, f"{names} may each be meant: remove or rename all but one")
            if suitable and suitable[0].problem:
                return Problem(
                    "failed", item, f"{joined_names([suitable[0].path], self._videos)}: {suitable[0].problem}"
                )
            if suitable:
                taken = suitable[0]
                if why := self._taken_twice(row, taken):
                    return Problem("failed", item, why)
                cut = cut_times(row, name) if span is None and frames is None else None
                # A folder of frames may be named with a suffix, as is the folder of its database then.
                is_id = composed(taken.name) == composed(name)
                video_id = row.video_id if is_id else written_name(row) + row.video_id[len(row.youtube_id) :]
                return Source(taken.path, row.label, video_id, span, cut, frames)
            elsewhere += [each.path for each in there]
        names = " or ".join(dict.fromkeys((row.video_id, row.source or row.youtube_id)))
        if not elsewhere:
            return Problem("missing", item, f"no video named {names} under {self._videos}{self._hint(row)}")
        lies = f"{joined_names(elsewhere, self._videos)} {'lies' if len(elsewhere) == 1 else 'lie'} in "
        if "/" in row.source:
            return Problem("missing", item, f"no video {row.source} under {self._videos}, and {lies}other folders")
        return Problem(
            "missing",
            item,
            f"no video named {names} in a folder of its class, and {lies}a folder of another class; move it if meant",
        )

    def _candidates(self, row: LabelRow, name: str, any_form: bool) -> tuple[Sequence[Found], Sequence[Found]]:
        """The videos of a name, and those of them that may be the row's: more than one if it cannot be told which."""
        there = self._named(row, name, any_form)
        if not row.source or name != row.youtube_id:
            return there, self._suitable(row, name, there)
        written = row.source.rpartition("/")[2]
        if written != name:
            there = [*there, *self._named(row, written, any_form)]
        return there, self._at_path(row, there, any_form)

    def _named(self, row: LabelRow, name: str, any_form: bool) -> Sequence[Found]:
        """The videos of a name; of `any_form` without those that are another row's as they are written."""
        if not any_form:
            return self._by_name.get(name, [])
        there = self._by_form.get(composed(name), [])
        return [each for each in there if each.name == name or (row.label, each.name) not in self._rows]

    @cached_property
    def _by_form(self) -> Mapping[str, Sequence[Found]]:
        """The videos by their names in one Unicode form."""
        found: dict[str, list[Found]] = {}
        for name, there in self._by_name.items():
            found.setdefault(composed(name), []).extend(there)
        return found

    def _at_path(self, row: LabelRow, there: Sequence[Found], any_form: bool) -> Sequence[Found]:
        """Those of the videos of the row's name that lie at its path, or whose class tells that they are meant."""
        paths = {each: each.path.relative_to(self._videos) for each in there}
        fitting: list[Found] = []
        for any_space, with_suffix in product((False, True), (True, False)):
            fitting = [
                each
                for each in there
                if fits(row.source, paths[each], self._place, with_suffix, any_form, any_space)
                if not (any_space and self._is_written(paths[each]))
            ]
            if fitting and not with_suffix and row.source.rpartition("/")[2] != row.youtube_id:
                self._warn_of(row, fitting, f"and the label file names {row.source}")
            if fitting:
                break
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

    def _is_written(self, path: Path) -> bool:
        """Whether a row has this very path, perhaps from above `videos` on."""
        parts = (*self._place.parts, *path.parts)
        return any("/".join(parts[first:]) in self._written for first in range(len(parts)))

    def _taken_twice(self, row: LabelRow, found: Found) -> str:
        """Why a row's video is not sure, as another row with another path takes the same file; else empty."""
        other = self._paths.setdefault(found.path, row.source)
        ends = found.path.suffix  # a row may lack it
        if not are_other_files(other.removesuffix(ends), row.source.removesuffix(ends)):
            return ""
        return f"{joined_names([found.path], self._videos)} would be taken for {other} and for {row.source}"

    def _hint(self, row: LabelRow) -> str:
        """Of a row without a video: one of nearly its name, or the frames that lie in a folder of its folder."""
        folder = self._folders.get(row.video_id)
        deeper = first_within(folder, self._videos, []) if folder else ""
        if is_frame(deeper):
            return f"; its folder holds {deeper}: {choice_of_frames(deeper)}"
        near = next(filter(None, map(self._by_letters.get, map(letters, (row.video_id, row.youtube_id)))), None)
        return f"; did you mean {joined_names([near], self._videos)}?" if near else ""

    @cached_property
    def _by_letters(self) -> Mapping[str, Path]:
        """A video for each name that no row has, without case, punctuation and leading zeros."""
        names = {name for row in self._all for name in (row.video_id, row.youtube_id)}
        return {letters(name) or name: there[0].path for name, there in self._by_name.items() if name not in names}

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
        reason = f"taken from {joined_names([each.path for each in taken], self._videos)}, {why}"
        self.warnings.append(Problem("warning", f"{row.label}/{row.video_id}", reason))

    def _is_youtube(self, name: str) -> bool:
        return self._from_youtube and is_youtube_name(name)
