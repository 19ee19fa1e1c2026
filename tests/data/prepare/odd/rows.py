"""Rows of label files, what they mean, and how they may be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from tests.data.prepare.odd.case import SUFFIXES, Case, Fact, Part, same_class


@dataclass
class Row:
    """A row of a label file, as texts; `truth` has its part."""

    written: str
    label: str
    start: str = ""
    end: str = ""
    split: str = ""
    part: Part = ()


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
    written = written.encode(errors="replace").decode()  # as a label file has it
    start, end = map(str, part[1:]) if part else ("", "")
    return Row(written, label, start, end, split, part)


def candidates(case: Case, written: str, label: str) -> list[str]:
    """The videos that a written path may mean: the path itself, else those that lie so, of these those of the class."""
    names = [name for name in written.replace("\\", "/").split("/") if name not in ("", ".")]
    if not names:
        return []
    if "/".join(names) in case.files:
        return ["/".join(names)]
    suffix = PurePosixPath(names[-1]).suffix
    other = suffix if suffix.lower() in {*SUFFIXES, ".avi"} else ""  # as before the videos were encoded anew
    found = []
    for path in case.files:
        own = path.split("/")
        for last in (own[-1], own[-1].rpartition(".")[0], own[-1].rpartition(".")[0] + other):
            own = [*own[:-1], last]
            short = min(len(own), len(names))
            if own[-short:] == names[-short:]:
                found.append(path)
                break
    if len(found) > 1:
        longest = {path: common_end(path, names) for path in found}
        of_class = [path for path in found if any(same_class(name, label) for name in path.split("/")[:-1])]
        exact = [path for path in of_class if path.rpartition("/")[2] == names[-1]]
        of_class = exact if len(exact) == 1 else of_class
        best = [path for path in found if longest[path] == max(longest.values())]
        if len(of_class) == 1 or len(best) == 1:
            return list({*of_class[:1], *best[:1]}) if len(of_class) == 1 or len(best) == 1 else []
        flat = [path for path in found if "/" not in path]
        return flat if len(flat) == 1 and case.has_class_folders else []
    return found


def common_end(path: str, names: Sequence[str]) -> int:
    own = path.split("/")
    if own[-1].rpartition(".")[0] in (names[-1], names[-1].rpartition(".")[0]):
        own[-1] = names[-1]
    number = 0
    while number < min(len(own), len(names)) and own[-1 - number] == names[-1 - number]:
        number += 1
    return 2 * number + (path.rpartition("/")[2] == names[-1])


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
