"""Label files of random rows in any form, whole or damaged."""

import csv
import io
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.data.prepare.odd.case import (
    CLASSES,
    PLAIN,
    Case,
    Fact,
    a_name,
    content_of,
    grouped,
    numbers_of,
    ordered,
    same_class,
    somewhere,
)
from tests.data.prepare.odd.rows import Row, damage_rows, facts_of_row, parts, row_of


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
    folders = {name for path in labels for name in path.split("/")[:-1]}
    case.has_class_folders = any(same_class(name, row.label) for name in folders for row in rows)
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
    if truth != "split" and case.chance(0.25):
        damage_text(case, times)


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
