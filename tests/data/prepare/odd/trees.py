"""Random trees in which folders or names tell the classes, and what lies beside videos."""

import os
import re
from pathlib import Path

from tests.data.prepare.odd.case import (
    CLASSES,
    SPLIT_OF,
    SPLITS,
    SUFFIXES,
    Case,
    a_name,
    by_rule,
    content_of,
    grouped,
    numbers_of,
    ordered,
    somewhere,
)


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
