"""UCF-101: `classInd.txt` (`1 ApplyEyeMakeup`, from 1), `trainlist01.txt` (`Class/v_....avi 1`), `testlist01.txt`."""

from pathlib import Path, PurePosixPath

from common.errors import DataError
from common.files import what_is_at
from common.text import quoted, shortened
from data.labels.csv_file import read_lines
from data.labels.label_file import LabelRow, check_folder_name
from data.prepare.official.common import (
    ALL_SPLITS,
    Official,
    annotation_folder,
    check_splits_found,
    have_suffixes,
    make_row,
    parse_index,
    required_file,
    video_id_of,
)

ROWS = {1: (9537, 3783), 2: (9586, 3734), 3: (9624, 3696)}  # of train and test in each split


def read_ucf101(annotations: Path, split: int | None) -> Official:
    """Read one of the three splits, or all that are there if None; the test list becomes `val`. Raises DataError."""
    folder = annotation_folder(annotations, ["classInd.txt"])
    classes = _read_class_index(required_file(folder, "classInd.txt"))
    official = Official({}, [folder / "classInd.txt"], class_counts=(101,))
    official.class_index, official.class_index_name = tuple(classes.values()), "ucf101_classes.txt"
    found = [number for number in ALL_SPLITS if what_is_at(folder / f"trainlist{number:02d}.txt") == "file"]
    official.notes += check_splits_found(found, split, folder, "trainlist and testlist")
    for number in found if split is None else [split]:
        lists = {
            "train": required_file(folder, f"trainlist{number:02d}.txt"),
            "val": required_file(folder, f"testlist{number:02d}.txt"),
        }
        official.sources += lists.values()
        train, test = ROWS[number]
        official.row_counts |= {f"ucf101_split{number}_train": train, f"ucf101_split{number}_val": test}
        official.rows[f"ucf101_split{number}"] = [
            row for name, path in lists.items() for row in _read_list(path, name, classes)
        ]
    return official


def _read_class_index(path: Path) -> dict[int, str]:
    """Read `number name` lines; return the names by number, sorted by number, from 1."""
    names: dict[int, str] = {}
    for line, text in read_lines(path):
        number, _, name = text.partition(" ")
        index = parse_index(number)
        if index is None or not name.strip():
            raise DataError(f"{path}, line {line}: {quoted(text)} is not a number and a class name")
        if index in names:
            raise DataError(f"{path}, line {line}: class number {index} is there twice")
        check_folder_name(name.strip(), "class", f"{path}, line {line}")
        names[index] = name.strip()
    if sorted(names) != list(range(1, len(names) + 1)) or len(set(names.values())) != len(names):
        raise DataError(f"{path}: the class numbers are not 1 to {len(names)} with a name each")
    return {index: names[index] for index in sorted(names)}


def _read_list(path: Path, split: str, classes: dict[int, str]) -> list[LabelRow]:
    """Read `Class/file.avi [number]` lines; test lists have no number."""
    names = set(classes.values())
    rows: list[LabelRow] = []
    lines = list(read_lines(path))
    with_suffixes = have_suffixes(word for _, text in lines for word in text.rsplit(maxsplit=1))
    for line, text in lines:
        place = f"{path}, line {line}"
        number = parse_index(last := text.split()[-1])
        if number is None and last.isdecimal():
            raise DataError(f"{place}: class number {shortened(last)} is not in classInd.txt")
        name = text if number is None else text.rsplit(maxsplit=1)[0]
        video = PurePosixPath(name)
        label = video.parent.name
        if label not in names:
            raise DataError(
                f"{place}: folder {quoted(label)} of {quoted(str(video))} is not among the classes of classInd.txt"
            )
        if number is not None and classes.get(number) != label:
            raise DataError(
                f"{place}: class number {number} is {classes.get(number, 'none')} in classInd.txt, but the folder "
                f"is {label}"
            )
        if split == "train" and number is None:
            raise DataError(f"{place}: {quoted(text)} has no class number")
        # Keep the file's spelling, which may differ from its folder's: HandstandPushups/v_HandStandPushups_g01_c01.avi.
        rows.append(make_row(label, video_id_of(name, place, with_suffixes), split, line))
    return rows
