"""What data.prepare.folder makes of the videos, as --source says: databases, or video files that are read fast."""

import argparse
import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from common.cli import CommandParser
from common.errors import DataError
from data.labels.class_folders import in_threads
from data.labels.locate import VIDEOS
from data.labels.text import some
from data.prepare import conversion, convert, encoding, resize
from data.prepare.conversion_run import Ended, Plan
from data.prepare.encoding import Made, Settings
from data.prepare.folder_state import Named
from data.prepare.report import Report
from data.prepare.sources import Source, Sources
from data.store.frame_store import DATABASE, is_whole
from data.store.origin import Origin, file_content, read_origin
from data.store.truncation import missing_bytes

FRAMES = "frames"
SOURCES = (FRAMES, VIDEOS)
OTHER = {FRAMES: VIDEOS, VIDEOS: FRAMES}
FOLDERS = {FRAMES: "jpg", VIDEOS: VIDEOS}
LISTS = {FRAMES: "convert_failures.csv", VIDEOS: resize.LIST}  # which each run writes
ONLY = {FRAMES: ("quality", "fps", "keep_partial", "frames"), VIDEOS: ("gop", "crf")}  # flags that need this source

_Was = TypeVar("_Was", Origin, Made)


def add_source_flags(parser: CommandParser) -> CommandParser:
    """Add --source, and the flags that say how videos are converted or encoded."""
    parser.add_argument(
        "--source",
        choices=SOURCES,
        default=FRAMES,
        help="what training will read. frames: databases in DATASET/jpg, which --quality, --fps, --keep-partial and "
        "--frames are for; videos: video files in DATASET/videos as data.prepare.resize makes them, which --gop and "
        "--crf are for",
    )
    convert.add_conversion_flags(parser, f"; with --source videos {resize.SHORT_SIDE}")
    resize.add_encoding_flags(parser)
    return parser


def parse(parser: CommandParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse a command line. A flag that has no effect with its source ends the program with status 2."""
    options = parser.parse_args(arguments)
    names = ("short_side", *ONLY[FRAMES], *ONLY[VIDEOS])
    parser.set_defaults(**dict.fromkeys(names))
    given = parser.parse_args(arguments)  # only what the command line says
    for name in ONLY[OTHER[options.source]]:
        if getattr(given, name) is not None:
            flag = f"--{name.replace('_', '-')}"
            parser.error(f"{flag} has no effect with --source {options.source}: leave one of them out")
    if options.source == VIDEOS:
        try:
            options.short_side = resize.SHORT_SIDE if given.short_side is None else resize.side(str(given.short_side))
        except argparse.ArgumentTypeError as error:
            parser.error(f"argument --short-side: {error} (with --source videos)")
    return options


def check_folders(options: argparse.Namespace) -> None:
    """DataError if there is no folder of videos, or if sources and results would be mixed."""
    check = convert.check_folders if options.source == FRAMES else resize.check_places
    check(options.videos, options.out)


def convert_sources(found: Sources, options: argparse.Namespace, has_labels: bool, report: Report) -> Ended:
    """Convert or encode the videos that were found, and fill the report. DataError if that cannot begin."""
    plan = Plan(options.videos, options.out, options.workers, options.replace, has_labels=has_labels)
    if options.source == FRAMES:
        return convert.convert_sources(found, convert.settings_of(options), plan, report)
    settings = Settings(options.short_side, options.gop, options.crf, options.videos)
    return resize.encode_sources(found, settings, plan, report)


class Store(NamedTuple):
    """The videos of a dataset in the form of one source."""

    out: Path
    source: str

    @property
    def folder(self) -> Path:
        """The folder that holds the class folders."""
        return self.out / FOLDERS[self.source]

    @property
    def is_made(self) -> bool:
        """Whether a run of this source has been here; else a folder of this name is something else."""
        return (self.out / LISTS[self.source]).is_file()

    def place(self, named: Named) -> Path:
        """The folder of a video's database, or its file."""
        name = named.video_id if self.source == FRAMES else f"{named.video_id}.mp4"
        return self.folder / named.label / name

    def has(self, named: Named) -> bool:
        """Whether the whole of a video is there, of whatever it was made."""
        place = self.place(named)
        try:
            return is_whole(place) if self.source == FRAMES else place.is_file() and _is_whole_file(place)
        except (OSError, DataError):
            return False

    def made_from(self, named: Named) -> Origin | Made | None:
        """What the whole of a video that is there was made from; None if that is not known. OSError, DataError."""
        place = self.place(named)
        if self.source == VIDEOS:
            return encoding.made_before(place) if place.is_file() else None
        return read_origin(place / DATABASE) if is_whole(place) else None

    def may_be_of_another(self, named: Named, path: Path) -> bool:
        """Whether what is there of a video may have been made from another file or folder than `path`.

        It is older, or was made from another number of bytes: a folder that is renamed changes no time of its files.
        """
        place = self.place(named) / DATABASE if self.source == FRAMES else self.place(named)
        try:
            now = path.stat()
            if max(now.st_mtime_ns, now.st_ctime_ns) >= place.stat().st_mtime_ns:
                return True
            was = self.made_from(named)
            if isinstance(was, Origin) and path.is_dir():
                return conversion.content_of(path, was.pattern)[0] != was.size
            return was is not None and now.st_size != was.size
        except (OSError, DataError):
            return False

    def is_outdated(self, named: Named, source: Source, videos: Path) -> bool:
        """Whether what is there of a video was made from another file, or another part of one, than it would be now.

        The settings of the conversion do not count. False if nothing is there, or if that cannot be told.
        """
        place = self.place(named)
        try:
            was = self.made_from(named)
            if isinstance(was, Made):
                return _is_other(was, source, place)
            if was is not None and source.path.is_dir():
                return bool(was.differences(_made_now(was, source, place, videos)))
            return was is not None and _is_other(was, source, place / DATABASE)
        except (OSError, DataError):
            return False


def _is_whole_file(place: Path) -> bool:
    """Whether a file has all bytes and frames that were written to it."""
    if missing_bytes(place):
        return False
    made, held = encoding.made_and_held(place)
    return made is None or not encoding.lost_frames(made, held)


def _is_other(was: _Was, source: Source, file: Path) -> bool:
    """Whether a file that was made from `was` would be made from something else now. OSError.

    A source is read only if it has the size that it had, and may have changed since `file` was made: else each run
    would read all of them.
    """
    there = source.path.stat()
    if not stat.S_ISREG(there.st_mode):
        return False
    if there.st_size != was.size:
        return True
    content = was.content
    if max(there.st_mtime_ns, there.st_ctime_ns) >= file.stat().st_mtime_ns:
        _, content = file_content(source.path)
    start, end = source.span or (None, None)
    first, last = source.frames or (None, None)
    now = replace(was, content=content, start=start, end=end, first_frame=first, end_frame=last)
    return bool(was.differences(now))


def _made_now(was: Origin, source: Source, place: Path, videos: Path) -> Origin:
    """The origin of a database that would be made of a folder of frames now, with the settings of the one there."""
    rate = was.fps if was.is_resampled else None
    settings = conversion.Settings(was.short_side, was.quality, was.keep_partial, 1, videos, was.pattern, rate)
    job = conversion.Job(source.path, source.span, place, False, source.cut, source.frames)
    return conversion.origin_of(settings, job)


def stores_of(out: Path, source: str) -> list[Store]:
    """That of a source, and that of the other one if it was made here, too."""
    other = Store(out, OTHER[source])
    return [Store(out, source), *([other] if other.is_made else [])]


def lacking(stores: Sequence[Store], rows: Sequence[Named], right: set[Path]) -> list[str]:
    """A line on each source in which videos of the label files are missing; those in `right` are there."""
    lines = []
    for store in stores:
        absent = (named for named in rows if store.place(named) not in right and not store.has(named))
        if missing := [f"{named.label}/{named.video_id}" for named in absent]:
            lines.append(
                f"in the label files, but not in {store.folder}: {some(missing, 'video')}; training with --source "
                f"{store.source} leaves them out"
            )
    return lines


def outdated(stores: Sequence[Store], rows: Sequence[Named], sources: Sequence[Source], videos: Path) -> list[str]:
    """A line on each source but the first, which this run has compared, whose videos were made from other files."""
    lines = []
    by_place = {(source.label, source.video_id): source for source in sources}
    for store in stores[1:]:

        def look(named: Named, store: Store = store) -> bool:
            return store.is_outdated(named, by_place[named.label, named.video_id], videos)

        found = zip(rows, in_threads("what is there", look, rows), strict=True)
        if old := [f"{named.label}/{named.video_id}" for named, is_old in found if is_old]:
            lines.append(
                f"warning: training with --source {store.source} reads older files or parts of {some(old, 'video')}: "
                f"{store.folder} was not made again since they changed; --replace with that source does it"
            )
    return lines
