"""A random input: videos in a folder, flags, and the rows that are true of it."""

import os
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from tests.numbered import encode_numbered_video, jpeg, numbered_frame

Part = tuple[Any, ...]  # (), ("s", start, end) or ("f", first, end)
SHORT, LONG, RATE = 4, 40, 10  # frames of a short and of a long video, and their rate

CLASSES = (
    ("wave", "jump", "run", "clap"),
    ("wave", "jump up", "sit_down"),
    ("wave", "Wave", "jump"),
    ("playing guitar", "playing_guitar", "run"),
    ("é", "e\u0301", "run"),
    ("1", "2", "10"),
    ("01", "1", "1.0"),
    ("a,b", 'say "hi"', "it's", "50%", "#tag", "-dash", "a;b"),
    ("test", "wave", "run"),
    ("train", "bus", "car"),
    ("val", "bus"),
    ("c" * 255, "ü" * 127, "run"),
    (" wave", "jump ", "run", "clap"),
    ("wa\nve", "w\udcff", "run", "clap"),
    ("thumbs", "frames", "run"),
    ("a.mp4", "b.mp4", "run"),
    ("jpg", "labels", "run"),
    ("@x", "~y", "CON", "$z"),
)
FOLDERS = (
    "s1",
    "s2",
    "s3",
    "day1",
    "1",
    "é",
    "s 1",
    "-x",
    "l" * 200,
    "x.mp4",
    "test",
    "train",
    "w\udcff",
    "n\nl",
    "a,b",
)
PLAIN = ("a", "b", "c", "d", "clip1", "clip 1", "1", "01", "1.0", "001", "a.b", "a_mp4", "-v", "a,b", "100%", "#1", "é")
STEMS = (
    *PLAIN,
    "e\u0301",
    'q"q',
    "it's",
    "x" * 240,
    " a",
    "a ",
    ".a",
    "n\nl",
    "v\udcff",
    "train",
    "val",
    "wave",
    "wave_1",
)
SUFFIXES = (".mp4",) * 8 + (".MP4", ".mov", ".m4v")
SPLITS = {
    "train": ("train", "Train", "TRAIN", "training"),
    "val": ("val", "valid", "validation", "Validate", "VAL"),
    "test": ("test", "Testing", "TEST"),
}
SPLIT_OF = {name.lower(): split for split, names in SPLITS.items() for name in names}


class Fact(NamedTuple):
    """A row that is true: the file below VIDEOS, its class, the part of the file, and its split if that is given."""

    path: str
    label: str
    part: Part = ()
    split: str = ""


@dataclass
class Case:
    """An input of the command, and what is true of it."""

    seed: int
    root: Path
    is_real: bool
    draw: random.Random
    flags: list[str] = field(default_factory=list)
    files: dict[str, int] = field(default_factory=dict)  # each video by its path: its content, below 0 if it is none
    links: dict[str, str] = field(default_factory=dict)  # folders that are links: what they lead to
    facts: list[set[Fact]] = field(default_factory=list)  # the rows may be those of one of these sets
    is_sure: bool = False  # all facts are to be there, or the command says what is not
    is_refused: bool = False  # the command must refuse
    is_long: bool = False
    group: Callable[[Fact], str] = lambda fact: ""
    order: list[str] = field(default_factory=list)  # of --classes
    kind: str = ""
    names: int = 30  # different usual names; the fewer, the more come in several folders
    has_class_folders: bool = False  # a folder has the name of a class of the label files
    has_inner: bool = False  # <class>/<split>/<video>

    @property
    def videos(self) -> Path:
        return self.root / "videos"

    def chance(self, part: float) -> bool:
        return self.draw.random() < part

    def add(self, path: str, content: int | None = None) -> bool:
        """Write a video, if its place is free."""
        content = len(self.files) if content is None else content
        place = self.videos / path
        if path in self.files or len(os.fsencode(place.name)) > 255:
            return False
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():
                return False
            if place.suffix:
                place.write_bytes(self.bytes_of(content))
            else:
                self.write_frames(place, content)
        except OSError:  # a file where a folder should be
            return False
        self.files[path] = content
        return True

    def write_frames(self, folder: Path, content: int) -> None:
        """A folder of frames."""
        folder.mkdir()
        start, count = self.numbers(content)
        for number in range(start, start + count):
            picture = jpeg(numbered_frame(number % 512, 32, 32)) if self.is_real else b"picture %d" % number
            (folder / f"{number - start + 1:03}.jpg").write_bytes(picture)

    def bytes_of(self, content: int) -> bytes:
        if content < 0:
            return b"" if content % 2 else b"no video %d" % content
        if not self.is_real:
            return b"video %d" % content
        return encoded(*self.numbers(content))

    def numbers(self, content: int) -> tuple[int, int]:
        """The number of the first frame of a video, and how many it has."""
        count = LONG if self.is_long else SHORT
        return count * content % 512, count

    def write(self, name: str, content: bytes) -> str:
        place = self.root / name
        place.write_bytes(content)
        return str(place)


@cache
def encoded(start: int, count: int) -> bytes:
    """A tiny video of numbered frames."""
    with TemporaryDirectory() as folder:
        return encode_numbered_video(Path(folder, "a.mp4"), count, 32, 32, start=start, rate=RATE).read_bytes()


def numbers_of(case: Case, few: int, many: int) -> range:
    return range(case.draw.randint(few, min(many, 12 if case.is_real else many)))


def somewhere(case: Case, depth: int | None) -> list[str]:
    """Folders below the class."""
    draw = case.draw
    depth = draw.choice((0, 0, 1, 2, 4)) if depth is None else depth
    names = FOLDERS[:4] if case.chance(0.7) else FOLDERS
    return [draw.choice(names) for _ in range(depth)]


def a_name(case: Case, stems: Sequence[str] = STEMS) -> str:
    draw = case.draw
    stem = f"v{draw.randint(1, case.names)}" if case.chance(0.6) else draw.choice(stems)
    return stem + draw.choice(SUFFIXES)


def content_of(case: Case) -> int | None:
    """Mostly a new video; perhaps a copy of another one, or none."""
    if case.files and case.chance(0.05):
        return case.draw.choice([number for path, number in case.files.items() if Path(path).suffix] or [0])
    return -1 - len(case.files) if case.chance(0.05) else None


def by_rule(case: Case, rule: Callable[[tuple[str, ...]], tuple[str, str] | None]) -> None:
    """The facts of a tree in which a path tells class and split."""
    found = ((path, rule(tuple(path.split("/")))) for path in case.files)
    case.facts = [{Fact(path, true[0], (), true[1]) for path, true in found if true}]


def grouped(case: Case, below: int) -> None:
    """Perhaps a flag for groups. `below` is the number of folders above those of subjects."""
    if case.chance(0.25):
        number = case.draw.choice((1, 1, 2))
        case.flags += ["--by-folder", str(number)]

        def name(fact: Fact) -> str:
            inner = fact.path.split("/")[below:-1]
            return "/".join(inner[:number]) if len(inner) >= number else ""

        case.group = name
    elif case.chance(0.15):
        case.flags += ["--group-from", "(s[0-9])"]
        case.group = lambda fact: (re.findall("(s[0-9])", fact.path) or [""])[0]


def ordered(case: Case, classes: Iterable[str]) -> None:
    """Perhaps a file --classes, with or without numbers, or with a class missing."""
    classes = [label for label in classes if label.isprintable() and label == label.strip()]
    if not classes or not case.chance(0.15):
        return
    case.draw.shuffle(classes)
    classes += ["another"] * case.chance(0.3)
    lines = [f"{number} {label}" for number, label in enumerate(classes, 1)] if case.chance(0.3) else classes
    case.order = list(classes)
    end = case.draw.choice(("\n", "\r\n"))
    content = end.join(lines).encode(case.draw.choice(("utf-8", "utf-8-sig")), errors="replace")
    case.flags += ["--classes", case.write("classes.txt", content)]


def same_class(one: str, other: str) -> bool:
    forms = {unicodedata.normalize("NFC", name).replace("_", " ") for name in (one, other)}
    return len(forms) == 1
