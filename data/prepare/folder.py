"""From a folder of videos to files that train: python -m data.prepare.folder VIDEOS DATASET

Converts the videos as data.prepare.convert does, or with --source videos encodes them as data.prepare.resize does,
and writes DATASET/labels/train.csv and val.csv. VIDEOS may hold <class>/<video>, with any folders below the class;
<split>/<class>/<video> or <class>/<split>/<video>, with the splits train, val and test; or videos anywhere, with
label files or lists of paths (--labels, or --train, --val and --test), or with the class in the path (--class-from).
Videos without a split are divided by --val and --seed. To continue, or after adding videos, give the same command
again: no video changes its split. The exit status is 1 if anything failed, is missing or differs.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from common.cli import CommandParser, finite_number, path, positive_integer, run_command, whole_number
from common.errors import DataError
from common.lock import locked
from common.text import printable
from data.labels.text import counted, some
from data.prepare.conversion_run import Ended, print_result
from data.prepare.convert import end_on_sigterm
from data.prepare.folder_changes import changes, check_moves, order_change
from data.prepare.folder_copies import notes_on_frames
from data.prepare.folder_editions import check_editions, check_made_here
from data.prepare.folder_failures import check_trainable, divided_again, lost_sides, that_can_be_read
from data.prepare.folder_files import LabelFile, by_files, label_files_near
from data.prepare.folder_groups import Grouping
from data.prepare.folder_layout import Layout, by_folders, by_pattern, class_pattern, compiled
from data.prepare.folder_lists import Classes, names_of_numbers, read_classes
from data.prepare.folder_modalities import check_modalities
from data.prepare.folder_moves import note_on_sides
from data.prepare.folder_names import listed
from data.prepare.folder_plan import Dataset, Wish, plan_dataset
from data.prepare.folder_recordings import check_classes
from data.prepare.folder_report import next_commands, rates_of, split_table, warnings_of
from data.prepare.folder_source import (
    FRAMES,
    Store,
    add_source_flags,
    check_folders,
    convert_sources,
    lacking,
    outdated,
    parse,
    stores_of,
)
from data.prepare.folder_state import (
    CLASSES,
    LABEL_FILES,
    NAMES,
    Named,
    State,
    label_text,
    read_state,
    write_state,
)
from data.prepare.folder_tree import Tree, walk
from data.prepare.report import Report
from data.prepare.run_lock import WAIT
from data.prepare.sources import Source, Sources


def main(arguments: Sequence[str] | None = None) -> int:
    """Convert a folder and write its label files as the command line says; return the exit status."""
    options = _parse(arguments)
    end_on_sigterm()
    planned = _plan(options)
    if options.dry_run:
        return _show(options, planned)
    if not options.replace_labels:
        dataset = planned.dataset
        check_moves(options.out, planned.state, dataset.names, dataset.classes, dataset.moves.pairs, planned.paths)
    with locked(options.out / ".folder.lock", "data.prepare.folder", WAIT):
        return _convert(options, planned)


class Planned(NamedTuple):
    """What a run will do: what is in VIDEOS, how it lies, what is in DATASET, and what that becomes."""

    tree: Tree
    layout: Layout
    state: State
    dataset: Dataset

    @property
    def paths(self) -> set[str]:
        """The paths of all videos in VIDEOS, as the list of names has them."""
        return {listed("/".join(self.tree.parts(each))) for each in self.tree.found}


def _plan(options: argparse.Namespace) -> Planned:
    """Find out what is there and what it becomes; nothing is written. DataError if that is not clear."""
    check_folders(options)
    state = read_state(options.out)
    classes = read_classes(options.classes) if options.classes else None
    tree = walk(options.videos, options.out, options.frames or "")
    layout = _layout(tree, options, classes, state)
    print(printable(layout.said), flush=True)
    if options.source == FRAMES and not (options.labels or options.train):
        layout.notes.extend([*check_modalities(tree, layout), *notes_on_frames(tree, layout)])
    part = options.val if isinstance(options.val, float) else None
    grouping, stores = Grouping(options.by_folder, options.group_from), stores_of(options.out, options.source)
    wish = Wish(part, options.seed, grouping, classes, options.replace_labels, stores, options.frames or "")
    return Planned(tree, layout, state, plan_dataset(tree, layout, wish, state))


def _layout(tree: Tree, options: argparse.Namespace, classes: Classes | None, state: State) -> Layout:
    """The layout that the flags name, or that the folders show."""
    files = [LabelFile(each, "") for each in options.labels]
    if options.train:
        named = {"train": options.train, "val": options.val, "test": options.test}
        files = [LabelFile(each, split) for split, each in named.items() if isinstance(each, Path)]
    if files:
        return by_files(tree, options.out, files, classes, options.frames or "")
    check_made_here(tree)
    if not options.class_from:
        try:
            layout = check_editions(tree, by_folders(tree), state.classes)
            check_classes(tree, layout, state.classes)
            return layout
        except DataError as error:
            end = label_files_near(options.videos)
            raise DataError(f"{error}{'.' if end and not str(error).endswith('?') else ''}{end}") from None
    layout = by_pattern(tree, options.class_from)
    if classes:
        names = names_of_numbers([video.label for video in layout.videos], classes)
        videos = [video._replace(label=name) for video, name in zip(layout.videos, names, strict=True)]
        layout = layout._replace(videos=videos)
    return layout


def _convert(options: argparse.Namespace, planned: Planned) -> int:
    """Convert the videos, write the label files of those that are whole, and print what was done."""
    tree, layout, state, dataset = planned
    report = Report(f"{options.videos} to {options.out}")
    sources = [
        Source(video.path, video.label, named.video_id, video.span, video.cut, video.frames)
        for video, named in zip(dataset.videos, dataset.names, strict=True)
    ]
    found = Sources(sources, [*tree.problems, *dataset.problems], tree.ignored, dataset.notes)
    ended = convert_sources(found, options, not layout.is_plain, report)
    if ended.stopped:
        report.notes.append("the label files were not written, as the conversion stopped")
        return print_result(report, ended)
    stores = stores_of(options.out, options.source)
    rows = [named for named in dataset.names if _is_right(named, stores, ended, state)]
    is_random = dataset.split["from"] == "random"
    if options.replace_labels and is_random:
        names, rows = divided_again(dataset.names, rows, dataset.split["val"], dataset.split["seed"])
        dataset = dataset._replace(names=names)
    if options.replace_labels:
        report.notes += note_on_sides(dataset.moves, dataset.names, state.labelled)
    without = lost_sides(dataset.names, rows, is_random)
    left_out = len(dataset.names) - len(rows)
    if left_out:
        report.notes.append(f"not in the label files, as they were not converted: {counted(left_out, 'video')}")
    if lost := sorted({named.label for named in dataset.names} - {named.label for named in rows}):
        report.notes.append(f"warning: no video was converted of {some(lost, 'class')}")
    try:
        _write(options.out, dataset, rows, state)
    except DataError as error:
        return print_result(report, ended._replace(stopped=f"{error}; the label files were not written"))
    report.tables.append(split_table(rows, dataset.classes))
    if options.source == FRAMES:
        report.notes += rates_of(options.out / "jpg", rows)
    report.notes.append(f"written: {options.out / 'labels'}, and the file of each video in {options.out / NAMES}")
    if order := order_change(state, dataset.classes):
        report.notes.append(f"warning: {order.replace('would change', 'has changed')}")
    report.notes += [*lacking(stores, rows, ended.right), *outdated(stores, rows, sources, options.videos)]
    report.notes += without.lines
    report.notes += warnings_of(rows, dataset.classes, without.pairs)
    report.notes += next_commands(options.out, rows, options.source)
    return print_result(report, ended)


def _is_right(named: Named, stores: Sequence[Store], ended: Ended, state: State) -> bool:
    """Whether a video belongs in the label files: it is right in this source, or is in them and whole in one source."""
    if stores[0].place(named) in ended.right:
        return True
    return (named.label, named.video_id) in state.labelled and any(store.has(named) for store in stores)


def _write(out: Path, dataset: Dataset, rows: Sequence[Named], state: State) -> None:
    """Write the label files. DataError if a split or class would be empty, or if they cannot be written."""
    check_trainable(rows, dataset.names)
    files: dict[str, str | None] = {CLASSES: "".join(f"{name}\n" for name in dataset.classes)}
    for split, name in LABEL_FILES.items():
        of_split = [(named.label, named.video_id) for named in rows if named.split == split]
        if not of_split and split != "test":
            raise DataError(f"no {split} video was converted")
        files[name] = label_text(of_split) if of_split else None
    write_state(out, state, dataset.split, dataset.names, files)


def _show(options: argparse.Namespace, planned: Planned) -> int:
    """Print what the command would do."""
    tree, _, state, dataset = planned
    report = Report(f"{options.videos} to {options.out}, --dry-run: nothing is written")
    report.is_short = True
    report.count("videos", len(dataset.videos))
    for problem in [*tree.problems, *dataset.problems]:
        report.add(*problem)
    if tree.ignored:
        report.count("ignored, no videos", tree.ignored.total())
    rows = that_can_be_read(dataset.videos, dataset.names, options, report)
    if rows:
        report.tables.append(split_table(rows, dataset.classes))
    report.notes += dataset.notes + warnings_of(rows, dataset.classes)
    report.notes += (
        f"with --replace-labels alone: {change}"
        for change in changes(state, dataset.names, dataset.classes, dataset.moves.pairs, planned.paths)
    )
    return print_result(report, Ended("", None, set()))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    options = parse(parser, arguments)
    for one, others in {
        "labels": ("train", "test", "class_from"),
        "train": ("class_from",),
        "by_folder": ("group_from",),
    }.items():
        for other in others:
            if getattr(options, one) and getattr(options, other):
                parser.error(f"{_flag(one)} and {_flag(other)} exclude each other")
    for split in ("val", "test"):
        if isinstance(getattr(options, split), Path) and not options.train:
            parser.error(f"--{split} FILE needs --train FILE")
    return options


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m data.prepare.folder", description=__doc__)
    add = parser.add_argument
    add("videos", type=Path, metavar="VIDEOS", help="the folder that holds the videos, or videos as folders of frames")
    add(
        "out",
        type=Path,
        metavar="DATASET",
        help="the dataset folder: what is made goes to jpg/ or videos/, label files to labels/",
    )
    add(
        "--labels",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a label file, or a list of paths below VIDEOS, each perhaps with the number of its class; may be given "
        "several times",
    )
    add("--train", type=Path, metavar="FILE", help="a label file or list of the train videos")
    add(
        "--val",
        type=_val,
        metavar="NUMBER|FILE",
        help="the part of each class that is for validation, if the videos have no splits (default: 0.2); with --train "
        "also a label file or list of the val videos",
    )
    add("--test", type=Path, metavar="FILE", help="a label file or list of the test videos")
    add(
        "--class-from",
        type=_pattern(class_pattern),
        metavar="PATTERN",
        help="a regular expression with one group, or a group named class, that finds the class in the path of a video "
        "below VIDEOS, such as '([a-z]+)_[0-9]+'",
    )
    add(
        "--classes",
        type=Path,
        metavar="FILE",
        help="the class names in their order, one a line (default: numbers by value, else by name); gives names to the "
        "numbers of lists",
    )
    add("--seed", type=_seed, help="of the division into train and val (default: 0)")
    add(
        "--by-folder",
        type=positive_integer,
        metavar="N",
        help="the first N folders below the class name a group, such as a subject: no group is on both sides, over all "
        "classes",
    )
    add(
        "--group-from",
        type=_pattern(compiled),
        metavar="PATTERN",
        help="a regular expression whose groups, found in the path of a video, name its group, such as '(s[0-9]+)_'",
    )
    add(
        "--replace-labels",
        action="store_true",
        help="write the label files anew, even if videos change their split or are gone; without it a run only adds",
    )
    add("--dry-run", action="store_true", help="show what would be done; convert and write nothing")
    return add_source_flags(parser)


def _val(text: str) -> float | Path:
    """A part between 0 and 1, or a path."""
    try:
        part = finite_number(text)
    except argparse.ArgumentTypeError:
        return path(text)
    if not 0 < part < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not between 0 and 1")
    return part


def _seed(text: str) -> int:
    seed = whole_number(text)
    if seed < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is below 0")
    return seed


def _pattern(check: Callable[[str], Any]) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return check(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


if __name__ == "__main__":
    run_command(main, "give the same command again to go on")
