"""Convert official annotations to label files.

    python -m data.prepare.labels ucf101 ucfTrainTestlist/ labels/
    python -m data.prepare.labels kinetics kinetics700_2020/ labels/ --variant 700

Writes `<beginning>_{train,val,test}.csv` to OUT, with the names that the training scripts look for, and the class index
`<dataset>_classes.txt` for datasets that define a class order. No file with another content is replaced.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.cli import CommandParser, run_command
from common.errors import DataError
from common.files import what_is_at, write_errors, write_new_files
from common.text import printable, quoted, shortened
from data.labels.label_file import LabelRow, describe_clip, label_text
from data.prepare.official.common import Dropped, Official
from data.prepare.official.diving48 import read_diving48
from data.prepare.official.hacs import read_hacs
from data.prepare.official.hmdb51 import read_hmdb51
from data.prepare.official.kinetics import VARIANTS, read_kinetics, read_mini_kinetics
from data.prepare.official.moments import read_moments
from data.prepare.official.ucf101 import read_ucf101

SPLITS = ("train", "val", "test")


class Dataset(NamedTuple):
    """A dataset: how its annotations are read, what ANNOTATIONS is, and the flags that it takes and needs."""

    read: Callable[[argparse.Namespace], Official]
    annotations: str
    flags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


DATASETS = {
    "hacs": Dataset(lambda a: read_hacs(a.annotations), "HACS_clips_v1.1.1.csv, or its folder"),
    "kinetics": Dataset(
        lambda a: read_kinetics(a.annotations, a.variant),
        "folder with train.csv, validate.csv, test.csv (400, 600, 700), or one of them",
        flags=("variant",),
    ),
    "mini-kinetics": Dataset(
        lambda a: read_mini_kinetics(a.annotations, a.kinetics400),
        "folder with train_ytid_list.txt and val_ytid_list.txt",
        flags=("kinetics400",),
        needs=("kinetics400",),
    ),
    "mit": Dataset(
        lambda a: read_moments(a.annotations),
        "folder with trainingSet.csv, validationSet.csv and moments_categories.txt",
    ),
    "ucf101": Dataset(
        lambda a: read_ucf101(a.annotations, a.split),
        "folder with classInd.txt, trainlist01.txt, testlist01.txt, ...",
        flags=("split",),
    ),
    "hmdb51": Dataset(
        lambda a: read_hmdb51(a.annotations, a.split),
        "folder with brush_hair_test_split1.txt, ...",
        flags=("split",),
    ),
    "diving48": Dataset(
        lambda a: read_diving48(a.annotations),
        "folder with Diving48_V2_train.json, Diving48_V2_test.json and Diving48_vocab.json",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert one dataset's annotations and print what was written. Raises DataError."""
    args = _parse(arguments)
    official = DATASETS[args.name].read(args)
    official.rows = {
        beginning: _without_repetitions(rows, official.dropped) for beginning, rows in official.rows.items()
    }
    files = {
        args.out / f"{beginning}_{split}.csv": chosen
        for beginning, rows in official.rows.items()
        for split in SPLITS
        if (chosen := [row for row in rows if row.split == split])
    }
    if not files:
        _print_dropped(Console(), official.dropped)
        raise DataError(f"{args.annotations}: no labelled video in the annotations, nothing written")
    _write(args.out, files, official)
    _print_report(Console(), files, official)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    width = max(map(len, DATASETS))
    parser = CommandParser(
        prog="python -m data.prepare.labels",
        description="Convert a dataset's official annotations to label files and a class index.",
        epilog="ANNOTATIONS is, for\n"
        + "\n".join(f"  {name:<{width}}  {dataset.annotations}" for name, dataset in DATASETS.items()),
    )
    parser.add_argument("name", metavar="NAME", choices=DATASETS, help=", ".join(DATASETS))
    parser.add_argument("annotations", metavar="ANNOTATIONS", type=Path, help="the official files, see below")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the label files, created if missing")
    parser.add_argument(
        "--split",
        choices=("1", "2", "3", "all"),
        help="ucf101, hmdb51: the split to convert (default: all that are there)",
    )
    parser.add_argument(
        "--variant", type=int, choices=VARIANTS, help="kinetics: its variant (default: from the file or folder names)"
    )
    parser.add_argument(
        "--kinetics400", type=Path, metavar="DIR", help="mini-kinetics: folder with the CSV files of Kinetics-400"
    )
    args = parser.parse_args(arguments)
    dataset = DATASETS[args.name]
    for flag in ("split", "variant", "kinetics400"):
        given = getattr(args, flag) is not None
        if given and flag not in dataset.flags:
            parser.error(f"--{flag} does not apply to {args.name}")
        if not given and flag in dataset.needs:
            parser.error(f"{args.name} needs --{flag}")
    args.split = None if args.split in (None, "all") else int(args.split)
    return args


def _without_repetitions(rows: Sequence[LabelRow], dropped: Dropped) -> list[LabelRow]:
    """Drop repeated rows, and clips that would get the same folder as another."""
    first: dict[tuple[str, str], LabelRow] = {}
    kept: dict[tuple[str, str, str], LabelRow] = {}
    for row in rows:
        other = first.setdefault((row.label, row.video_id), row)
        if (other.youtube_id, other.time_start, other.time_end) != (row.youtube_id, row.time_start, row.time_end):
            example = f"{row.label}: {describe_clip(row)}, as {describe_clip(other)}"
            dropped.add("same whole seconds and so the same folder as another clip", example)
        elif kept.setdefault((row.label, row.video_id, row.split), row) is not row:
            dropped.add("repeated row", f"{row.label}: {describe_clip(row)}")
    return list(kept.values())


def _write(out: Path, files: dict[Path, list[LabelRow]], official: Official) -> None:
    """Write label files and class index, all or none. Raises DataError if that would replace another file."""
    index = out / official.class_index_name if official.class_index else None
    for path in [*files, *([index] if index else [])]:
        if any(what_is_at(path) and path.samefile(source) for source in official.sources):
            raise DataError(f"{path} is one of the official files and would be replaced; give another folder for OUT")
    texts = {path: label_text(rows) for path, rows in files.items()}
    if index is not None and official.class_index is not None:
        texts[index] = "".join(f"{name}\n" for name in official.class_index)
    with write_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    write_new_files(texts)


def _print_report(console: Console, files: dict[Path, list[LabelRow]], official: Official) -> None:
    table = Table("written", title="label files", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("classes", justify="right")
    for path, rows in files.items():
        table.add_row(
            Text(printable(str(path)), overflow="fold"), str(len(rows)), str(len({row.label for row in rows}))
        )
    if official.class_index:
        name = printable(str(next(iter(files)).parent / official.class_index_name))
        table.add_row(Text(name, overflow="fold"), "", str(len(official.class_index)))
    console.print(table)
    _print_dropped(console, official.dropped)
    for note in official.notes + _check_classes(files, official):
        console.print(Text(printable(f"note: {note}")), soft_wrap=True)


def _print_dropped(console: Console, dropped: Dropped) -> None:
    if not dropped.counts:
        return
    table = Table("not written because", title="rows left out", title_justify="left")
    table.add_column("rows", justify="right")
    table.add_column("the first", overflow="fold")
    for why, number in dropped.counts.items():
        table.add_row(Text(printable(why)), str(number), Text(printable(shortened(dropped.examples[why]))))
    console.print(table)


def _check_classes(files: dict[Path, list[LabelRow]], official: Official) -> list[str]:
    """Notes on files or classes that complete annotations have, and on classes that not all splits have."""
    notes = []
    classes = {path.stem: {row.label for row in rows} for path, rows in files.items()}
    complete = " or ".join(map(str, official.class_counts))
    if official.class_index and len(official.class_index) not in official.class_counts:
        notes.append(f"the class index has {len(official.class_index)} classes, complete annotations have {complete}")
    number = len(set().union(*classes.values()))
    if number not in ((len(official.class_index),) if official.class_index else official.class_counts):
        notes.append(f"rows of {number} of {complete} classes: is this an excerpt?")
    else:
        notes += _check_rows(files, official)
    for beginning in official.rows:
        notes += [
            f"no {split} rows, no {beginning}_{split}.csv"
            for split in SPLITS[:2]
            if f"{beginning}_{split}" not in classes
        ]
        train = classes.get(f"{beginning}_train")
        for split in SPLITS[1:]:
            unknown = sorted(classes.get(f"{beginning}_{split}", set()) - train) if train else []
            if unknown:
                first = f"{len(unknown)}, as {quoted(unknown[0])}"
                notes.append(f"classes of {beginning}_{split}.csv without a training row: {first}")
    return notes


def _check_rows(files: dict[Path, list[LabelRow]], official: Official) -> list[str]:
    """Notes on files with another number of rows than complete annotations have: a list may end too early."""
    return [
        f"{path.name} has {len(rows)} rows, complete annotations have {official.row_counts[path.stem]}: is a file of "
        f"{official.sources[0].parent} cut short?"
        for path, rows in files.items()
        if len(rows) != official.row_counts.get(path.stem, len(rows))
    ]


if __name__ == "__main__":
    run_command(main)
