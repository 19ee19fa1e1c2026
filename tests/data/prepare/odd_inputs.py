"""Random odd trees of videos, label files and lists, each with the truth: which rows a command may make of it."""

import csv
import io
import os
import random
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path, PurePosixPath
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


def make_case(seed: int, root: Path, is_real: bool = False) -> Case:
    """Write the input of a seed into `root`."""
    case = Case(seed, root, is_real, random.Random(seed))
    case.videos.mkdir(parents=True)
    kinds = (folders, folders, split_folders, in_names, table, table, table, listed)
    make = case.draw.choice(kinds)
    case.names = case.draw.choice((5, 30))
    case.kind = make.__name__
    make(case)
    if case.chance(0.4):
        clutter(case)
    is_free = not any(fact.split for facts in case.facts for fact in facts)
    if case.chance(0.03):
        mistaken_flag(case)
    if "--val" not in case.flags and case.chance(0.2 if is_free else 0.02):
        case.flags += ["--val", case.draw.choice(("0.5", "0.01", "0.99", "0.3"))]
    return case


def mistaken_flag(case: Case) -> None:
    """Add a flag that the command must refuse."""
    nothing, folder = str(case.root / "nothing"), str(case.videos)
    flags = (
        ["--by-folder", "0"], ["--val", "1"], ["--val", "nan"], ["--class-from", "("], ["--group-from", "x"],
        ["--classes", nothing], ["--classes", folder], ["--classes", "/dev/null"], ["--seed", "-1"], ["--unknown"],
        ["--labels", nothing], ["--labels", folder], ["--labels", "/dev/zero"], ["--test", nothing], ["--val", ""],
    )  # fmt: skip
    case.flags += case.draw.choice(flags)
    case.is_refused = True


# Trees


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


def folders(case: Case) -> None:
    """<class>/<folders>/<video>, or with videos beside them, or <class>/<split>/<video>."""
    draw = case.draw
    classes = draw.choice(CLASSES)
    depth = draw.choice((0, 0, 1, 2, None))
    case.has_inner = has_inner = case.chance(0.12)
    for label in classes:
        for _ in numbers_of(case, 1, 6):
            inner = [draw.choice(("train", "val"))] if has_inner else somewhere(case, depth)
            if case.chance(0.04):
                case.add("/".join([label, *inner, f"frames{len(case.files)}"]))
            else:
                case.add("/".join([label, *inner, a_name(case)]), content_of(case))
    if case.chance(0.08):
        case.add(a_name(case))  # outside the class folders
    inner = {path.split("/")[1] for path in case.files if path.count("/") == 2}
    if has_inner and inner == {"train", "val"} and all(path.count("/") == 2 for path in case.files):
        by_rule(case, lambda parts: (parts[0], parts[1]))
    else:
        by_rule(case, lambda parts: (parts[0], "") if len(parts) > 1 else None)
        case.is_sure = True
        grouped(case, 1)
    ordered(case, classes)


def split_folders(case: Case) -> None:
    """<split>/<class>/<video>, also in odd spellings, or with folders that only look like those of splits."""
    draw = case.draw
    classes = draw.choice(CLASSES)
    splits = draw.choice(
        (("train", "val"), ("train", "val"), ("train", "test"), ("train", "val", "test"), ("train",), ("val", "test"))
    )
    tops = [draw.choice(SPLITS[split]) for split in splits]
    if case.chance(0.15):
        tops[-1] = draw.choice(("dev", "eval", "test_set", "my test", "train2", "extra", "holdout", "Trainieren"))
    if case.chance(0.05):
        tops.append(draw.choice(SPLITS["train"]))
    depth = draw.choice((0, 0, 0, 1, None))
    for top in tops:
        for label in classes:
            for _ in numbers_of(case, 0, 4):
                case.add("/".join([top, label, *somewhere(case, depth), a_name(case)]), content_of(case))
    if case.chance(0.08):
        case.add("/".join([draw.choice(tops), a_name(case)]))  # no class
    by_rule(case, lambda parts: (parts[1], SPLIT_OF.get(parts[0].lower(), "?")) if len(parts) > 2 else None)
    case.is_sure = True
    ordered(case, classes)


def in_names(case: Case) -> None:
    """The class is in the names of files, in a flat folder or in others."""
    draw = case.draw
    pattern = draw.choice(("([a-z]+)_[0-9]+", "(?P<class>[^/_]+)_", "^(?:.*/)?([a-z ]+)", "_(c[0-9])", "(x*)", "(.)"))
    tops = draw.choice(((), ("s1", "s2"), ("train", "val"), ("train", "val"), ("test", "s1")))
    for _ in numbers_of(case, 4, 20):
        label = draw.choice(("wave", "jump", "é", "c1", "c2", "sit down"))
        name = f"{label}_{draw.choice(('1', '22', 'c1', 'c2', '', 's1_c2'))}{draw.choice(SUFFIXES)}"
        above = [draw.choice(tops), *somewhere(case, draw.choice((0, 1)))] if tops and case.chance(0.97) else []
        case.add("/".join([*above, name]), content_of(case))
    tops = {path.split("/")[0] for path in case.files if "/" in path}
    has_splits = tops == {"train", "val"} and all("/" in path for path in case.files)

    def rule(parts: tuple[str, ...]) -> tuple[str, str] | None:
        match = re.search(pattern, "/".join(parts))
        label = match["class" if "?P<class>" in pattern else 1] if match else ""
        return (label, parts[0] if has_splits else "") if label else None

    case.flags += ["--class-from", pattern]
    by_rule(case, rule)
    ordered(case, sorted({fact.label for fact in case.facts[0]}))


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


def clutter(case: Case) -> None:
    """Add what is no video, or is one twice: hidden and empty folders, links, pipes, pictures, notes."""
    draw = case.draw
    places = sorted({str(Path(path).parent) for path in case.files} | {"."})
    for _ in range(draw.randint(1, 6)):
        place = case.videos / draw.choice(places)
        kind = draw.randrange(9)
        try:
            if kind == 0:
                hidden = place / draw.choice((".git", "@eaDir", "__MACOSX", ".Trash-0", "#recycle"))
                hidden.mkdir()
                (hidden / "hidden.mp4").write_bytes(b"hidden")
            elif kind == 1:
                (place / draw.choice(("._v1.mp4", ".v1.mp4", "notes.txt", "Thumbs.db", "v1.mp4.part"))).write_bytes(
                    b"x"
                )
            elif kind == 2:
                (place / draw.choice(("empty", "empty.mp4", "train", "test", "val"))).mkdir()
            elif kind == 3:
                (place / draw.choice(("dead.mp4" if case.is_real else "dead.txt", "dead"))).symlink_to(
                    "/nonexistent/file"
                )
            elif kind == 4:
                (place / "loop").symlink_to(draw.choice((place, case.videos, place / "loop", case.root)))
            elif kind == 5:
                target = draw.choice(places)
                (place / "link").symlink_to(case.videos / target)
            elif kind == 6:
                outside = case.root / "outside"
                outside.mkdir(exist_ok=True)
                (place / "out.mp4").symlink_to(outside)
            elif kind == 7:
                (place / "a.jpg").write_bytes(b"\xff\xd8\xff")
            elif kind == 8:
                os.mkfifo(place / "pipe.txt")
        except OSError:
            continue


# Label files


@dataclass
class Row:
    """A row of a label file, as texts; `truth` has its part."""

    written: str
    label: str
    start: str = ""
    end: str = ""
    split: str = ""
    part: Part = ()


def free_tree(case: Case, classes: Sequence[str]) -> dict[str, str]:
    """Videos anywhere, and the class of each."""
    draw = case.draw
    style = draw.choice(("flat", "flat", "sessions", "classes", "classes", "splits"))
    found = {}
    for _ in numbers_of(case, 4, 16):
        label = draw.choice(classes)
        above = {
            "flat": [],
            "sessions": somewhere(case, None),
            "classes": [label, *somewhere(case, draw.choice((0, 0, 1)))],
            "splits": [draw.choice(("train", "val"))],
        }[style]
        above = ["playing_guitar"] if above == ["playing guitar"] and case.chance(0.5) else above
        path = "/".join([*above, a_name(case, PLAIN)])
        if case.add(path, content_of(case)):
            found[path] = label
    return found


def table(case: Case) -> None:
    """A label file, or several, in one of many forms, whole or damaged."""
    draw = case.draw
    classes = [name for name in draw.choice(CLASSES) if name.isprintable() and name == name.strip() and len(name) < 50]
    classes = classes if len(classes) > 1 else ["wave", "jump"]
    times = draw.choice(("", "", "s", "s", "f"))
    case.is_long = bool(times)
    labels = free_tree(case, classes)
    style = draw.choice(("path", "path", "path", "name", "stem", "above", "dot", "absolute", "windows", "bare"))
    splits = draw.choice(("", "", "column", "column", "files"))
    rows = []
    for path, label in labels.items():
        split = draw.choice(("train", "train", "val", "test")) if splits else ""
        for part in parts(case, times):
            rows.append(row_of(case, path, label, part, split, style))
    if not rows:
        return
    truth = damage_rows(case, rows, classes) if case.chance(0.4) else ""
    has_splits = splits == "column"
    if splits == "files":
        for split in dict.fromkeys(row.split for row in rows):
            own = [row for row in rows if row.split == split]
            flag = "--train" if split == "train" else f"--{split}"
            case.flags += [
                flag,
                case.write(f"{split}.csv", text_of(case, own, times, style, has_splits=case.chance(0.2))),
            ]
        if "--train" not in case.flags:
            case.is_refused = True
    else:
        halves = [rows[::2], rows[1::2]] if case.chance(0.1) and len(rows) > 1 else [rows]
        for place, half in enumerate(halves):
            case.flags += ["--labels", case.write(f"labels{place}.csv", text_of(case, half, times, style, has_splits))]
    literal = [fact for row in rows for fact in facts_of_row(case, row, bool(splits))]
    if truth == "split":
        bad = {(fact.path, fact.label, fact.part) for fact in literal if fact.split != "train"}
        bad &= {(fact.path, fact.label, fact.part) for fact in literal if fact.split == "train"}
        literal = [fact for fact in literal if fact[:3] not in bad]
    case.facts = [set(literal)]
    known = {row.label for row in rows}
    if any("/" in path for path in labels):
        grouped(case, 0)
    if "--by-folder" in case.flags:
        number = int(case.flags[case.flags.index("--by-folder") + 1])

        def name(fact: Fact) -> str:
            inner = fact.path.split("/")[:-1]
            inner = inner[1:] if inner and any(same_class(inner[0], label) for label in known) else inner
            return "/".join(inner[:number]) if len(inner) >= number else ""

        case.group = name
    ordered(case, classes)
    if case.chance(0.25):
        damage_text(case, times)


def same_class(one: str, other: str) -> bool:
    forms = {unicodedata.normalize("NFC", name).replace("_", " ") for name in (one, other)}
    return len(forms) == 1


def parts(case: Case, times: str) -> list[Part]:
    """One whole video, or one or more parts of it: (unit, first, end) in frames or in tenths of a second."""
    if not times:
        return [()]
    found: list[Part] = []
    for _ in range(case.draw.choice((1, 1, 2, 3))):
        first = case.draw.randint(0, 20)
        end = first + case.draw.choice((3, 5, 10, 11, 20))
        found.append(("f", first, end) if times == "f" else ("s", first / 10, end / 10))
    return list(dict.fromkeys(found))


def row_of(case: Case, path: str, label: str, part: Part, split: str, style: str) -> Row:
    written = {
        "path": path,
        "name": PurePosixPath(path).name,
        "stem": PurePosixPath(path).stem,
        "above": f"data/set/{path}",
        "dot": f"./{path}",
        "absolute": str(case.videos / path),
        "windows": path.replace("/", "\\"),
        "bare": path.rpartition(".")[0],
    }[style]
    start, end = map(str, part[1:]) if part else ("", "")
    return Row(written, label, start, end, split, part)


def candidates(case: Case, written: str, label: str) -> list[str]:
    """The videos that a written path may mean: the path itself, else those that lie so, of these those of the class."""
    names = [name for name in written.replace("\\", "/").split("/") if name not in ("", ".")]
    if not names:
        return []
    if "/".join(names) in case.files:
        return ["/".join(names)]
    found = []
    for path in case.files:
        own = path.split("/")
        for last in (own[-1], own[-1].rpartition(".")[0], own[-1].rpartition(".")[0] + ".avi"):
            own = [*own[:-1], last]
            short = min(len(own), len(names))
            if own[-short:] == names[-short:]:
                found.append(path)
                break
    if len(found) > 1:
        longest = {path: common_end(path, names) for path in found}
        of_class = [path for path in found if any(same_class(name, label) for name in path.split("/")[:-1])]
        best = [path for path in found if longest[path] == max(longest.values())]
        if len(of_class) == 1 or len(best) == 1:
            return list({*of_class[:1], *best[:1]}) if len(of_class) == 1 or len(best) == 1 else []
        return []
    return found


def common_end(path: str, names: Sequence[str]) -> int:
    own = path.split("/")
    own[-1] = own[-1] if own[-1] == names[-1] else own[-1].rpartition(".")[0]
    number = 0
    while number < min(len(own), len(names)) and own[-1 - number] == names[-1 - number]:
        number += 1
    return number


def facts_of_row(case: Case, row: Row, has_splits: bool) -> list[Fact]:
    return [
        Fact(path, row.label, row.part, row.split if has_splits else "")
        for path in candidates(case, row.written, row.label)
    ]


def damage_rows(case: Case, rows: list[Row], classes: Sequence[str]) -> str:
    """Change some rows; return what the truth must know."""
    draw = case.draw
    kind = draw.choice(("twice", "class", "split", "swapped", "absent", "empty", "times", "spelling", "suffix", "half"))
    for row in draw.sample(rows, min(len(rows), draw.choice((1, 1, 2, len(rows))))):
        copy = Row(**vars(row))
        if kind == "twice":
            rows.append(copy)
        elif kind == "class":
            copy.label = draw.choice(classes)
            rows.append(copy)
        elif kind == "split":
            copy.split = "val" if row.split == "train" else "train"
            rows.append(copy)
        elif kind == "swapped":
            row.written, row.label = row.label, row.written
        elif kind == "absent":
            copy.written = f"absent/{row.written}x.mp4"
            rows.append(copy)
        elif kind == "empty":
            setattr(row, draw.choice(("written", "label")), "")
        elif kind == "times" and row.part:
            row.start, row.end, row.part = draw.choice(
                ((row.end, row.start, None), ("", row.end, None), ("-1", row.end, None), ("nan", row.end, None),
                 (row.start, "1e3", None), (row.start, "0:75", None), ("", "", ()), (row.start, row.start, None))
            )  # fmt: skip
        elif kind == "spelling":
            row.label = draw.choice((row.label.upper(), row.label.replace(" ", "_"), row.label + "s"))
        elif kind == "suffix":
            row.written = row.written.rpartition(".")[0] + ".avi"  # as before the videos were encoded anew
        elif kind == "half":
            row.written = row.written[: len(row.written) // 2]
    rows[:] = [row for row in rows if row.part is not None or kind == "times"]
    return kind


CLASS_NAMES = ("label", "class", "action", "Label", "CLASS")
VIDEO_NAMES = ("video", "video_id", "filename", "file", "path", "name", "Path")
ID_NAMES = ("id", "youtube_id")
TIME_NAMES = {
    "s": (
        ("time_start", "time_end"),
        ("start", "end"),
        ("t_start", "t_end"),
        ("Start", "End"),
        ("start (s)", "end (s)"),
    ),
    "f": (("start_frame", "end_frame"), ("frame_start", "frame_end")),
}


def text_of(case: Case, rows: Sequence[Row], times: str, style: str, has_splits: bool) -> bytes:
    """The bytes of a label file, in any form that the command reads."""
    draw = case.draw
    separator = draw.choice(",,;\t")
    names = VIDEO_NAMES if style == "windows" or case.chance(0.7) else ID_NAMES
    columns = {"label": draw.choice(CLASS_NAMES), "written": draw.choice(names)}
    if times:
        columns["start"], columns["end"] = draw.choice(TIME_NAMES[times])
    if has_splits:
        columns["split"] = draw.choice(("split", "split", "subset"))
    if case.chance(0.3):
        columns["note"] = draw.choice(("note", "n", "fps", ""))
    keys = list(columns)
    draw.shuffle(keys)
    clock = times == "s" and case.chance(0.3)
    comma = times == "s" and separator != "," and case.chance(0.2)

    def field_of(row: Row, key: str) -> str:
        text = "" if key == "note" else str(getattr(row, key))
        if key in ("start", "end") and re.fullmatch(r"[0-9]+\.[0-9]+", text):
            text = f"0:{float(text):04.1f}" if clock else text
            text = text.replace(".", ",") if comma else text
        if key == "split" and case.seed % 3 == 0:
            text = {"train": "Training", "val": "validation", "test": "testing"}.get(text, text)
        return text

    file = io.StringIO(newline="")
    quoting = draw.choice((csv.QUOTE_MINIMAL, csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    end = draw.choice(("\n", "\n", "\r\n", "\r"))
    writer = csv.writer(file, delimiter=separator, lineterminator=end, quoting=quoting)
    writer.writerow([columns[key] for key in keys])
    for row in rows:
        writer.writerow([field_of(row, key) for key in keys])
    text = file.getvalue()
    text = text if case.chance(0.8) else text.removesuffix(end)
    text = text.replace(end, end * 2) if case.chance(0.05) else text
    text = f"sep={separator}{end}{text}" if case.chance(0.05) else text
    return text.encode(draw.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16")), errors="replace")


def damage_text(case: Case, times: str) -> None:
    """Damage a label file that was written; what a reader cannot see is not in the facts any more."""
    draw = case.draw
    files = ("--labels", "--train", "--val", "--test")
    path = Path(draw.choice([flag for before, flag in pairwise(case.flags) if before in files]))
    content = path.read_bytes()
    kind = draw.choice(
        ("cut", "cut", "byte", "quote", "header", "recode", "junk", "empty", "columns", "mixed", "order")
    )
    if kind == "cut":
        cut = draw.randrange(len(content))
        path.write_bytes(content[:cut])
        case.is_sure = False
        case.kind += " cut"
    elif kind == "byte":
        place = draw.randrange(len(content))
        path.write_bytes(content[:place] + draw.choice((b"\xff", b"\0", b'"', b",", b"\n")) + content[place + 1 :])
        case.kind += " byte"
    elif kind == "quote":
        place = draw.randrange(len(content))
        path.write_bytes(content[:place] + b'"' + content[place:])
        case.kind += " quote"
    elif kind == "header":
        head, mark, rest = content.partition(b"\n")
        path.write_bytes(
            rest if case.chance(0.5) else draw.choice((head.upper(), head.swapcase(), b"a,b")) + mark + rest
        )
        case.kind += " header"
    elif kind == "recode":
        for encoding in ("utf-8-sig", "utf-16"):
            try:
                text = content.decode(encoding)
            except UnicodeError:
                continue
            other = draw.choice(("latin-1", "utf-16-le", "utf-16-be", "utf-32", "cp500"))
            path.write_bytes(text.encode(other, errors="replace"))
            break
        case.kind += " recode"
    elif kind == "junk":
        path.write_bytes(draw.randbytes(200))
        case.facts, case.kind = [set()], case.kind + " junk"
    elif kind == "empty":
        path.write_bytes(draw.choice((b"", b"\xef\xbb\xbf", b"\n\n", b"label,id\n", b"\0" * 20, b"label\n")))
        case.kind += " empty"
    elif kind == "columns":
        path.write_bytes(content.replace(b"\n", draw.choice((b",\n", b";x\n")), draw.choice((1, 2, -1))))
        case.kind += " columns"
    elif kind == "mixed":
        path.write_bytes(content.replace(b",", b";", draw.choice((1, 2, 3))))
        case.kind += " mixed"
    elif kind == "order":
        lines = content.split(b"\n")
        path.write_bytes(b"\n".join([lines[-1], *lines[1:-1], lines[0]]))
        case.kind += " order"


# Lists


def listed(case: Case) -> None:
    """Lists of paths, with or without numbers and --classes."""
    draw = case.draw
    classes = ["wave", "jump", "run"][: draw.choice((2, 3))]
    style = draw.choice(("folder", "folder number", "number", "number", "frames number"))
    flat = "folder" not in style and case.chance(0.6)
    truth: dict[str, str] = {}
    for place in numbers_of(case, 4, 16):
        label = classes[place % len(classes)]
        above = [] if flat else [label if style.startswith("folder") else draw.choice(("x", "y"))]
        above += [] if flat else somewhere(case, draw.choice((0, 0, 1)))
        path = "/".join([*above, a_name(case, PLAIN)])
        if not any(same_text(path, other) for other in truth) and case.add(path, content_of(case)):
            truth[path] = label
    base = draw.choice((0, 1))
    named = style.endswith("number") and case.chance(0.4)
    number = {label: place for place, label in enumerate(classes, base)}
    lines: dict[str, list[str]] = {"train": [], "val": []}
    separator = draw.choice((" ", " ", "\t", ",", ", "))
    split = {path: draw.choice(("train", "train", "val")) for path in truth}
    strip = case.chance(0.3)
    for path, label in truth.items():
        written = path.rpartition(".")[0] if strip else path
        numbers = {"folder": [], "frames number": ["120", str(number[label])]}.get(style, [str(number[label])])
        lines[split[path]].append(separator.join([written, *numbers]))
    wrong = ""
    if case.chance(0.25):
        wrong = draw.choice(("line", "number", "twice", "both", "absent"))
        some = lines["train"] or lines["val"]
        line = draw.choice(some) if some else "x"
        if wrong == "line":
            some.append(line[: draw.randrange(len(line) + 1)])
        elif wrong == "number":
            some.append(line + "1")
        elif wrong == "twice":
            some.append(line)
        elif wrong == "both":
            lines["val" if some is lines["train"] else "train"].append(line)
        elif wrong == "absent":
            name = draw.choice(("absent.mp4", *(path.rpartition("/")[2] for path in truth)))
            some.append(f"absent/{name}" + separator + "1" * ("number" in style))
        case.kind += f" {wrong}"
    ends = draw.choice(("\n", "\r\n"))
    for name, of_split in lines.items():
        content = ends.join(of_split).encode(draw.choice(("utf-8", "utf-8-sig")), errors="surrogateescape")
        case.flags += [f"--{name}", case.write(f"{name}.txt", content)]
    if named:
        classes += ["another"] * case.chance(0.3)
        case.order = list(classes)
        case.flags += ["--classes", case.write("classes.txt", "\n".join(classes).encode())]
    seen = {(path.split("/")[0], label) for path, label in truth.items() if path.isprintable()}
    is_same = not flat and len(seen) == len({folder for folder, _ in seen}) == len({label for _, label in seen})
    by_folder = {Fact(path, path.split("/")[0], (), split[path]) for path in truth}
    by_number = {Fact(path, label if named else str(number[label]), (), split[path]) for path, label in truth.items()}
    case.facts = [by_folder] if style == "folder" else [by_number]
    if style == "folder number" or is_same:
        case.facts = [by_folder, by_number]
    case.kind += f" {style}"
    case.is_sure = not wrong


def same_text(one: str, other: str) -> bool:
    return one.rpartition(".")[0] == other.rpartition(".")[0]
