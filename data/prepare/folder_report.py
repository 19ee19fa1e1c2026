"""What data.prepare.folder tells at its end: a table of the splits, warnings, and the commands that come next."""

import shlex
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from common.errors import DataError
from common.text import printable
from data.labels.class_folders import in_threads
from data.labels.text import counted, first_names, spelling_notes
from data.prepare.folder_plan import class_counts
from data.prepare.folder_state import LABEL_FILES, Named
from data.prepare.frame_rates import constant_rate, rates_text
from data.store.frame_store import DATABASE
from data.store.origin import read_origin

FEW = 5  # videos; a class with fewer can hardly be learned
MOST_CLASSES = 30  # that have a row of their own
BATCH = 32  # the default --batch-size of train_custom.py


def split_table(names: Sequence[Named], classes: Sequence[str]) -> Table:
    """Classes, videos and groups of each split; and the videos of each class, if there are not too many classes."""
    table = Table("label files")
    splits = [split for split in LABEL_FILES if any(named.split == split for named in names)]
    for split in splits:
        table.add_column(split, justify="right")
    of_split = {split: [named for named in names if named.split == split] for split in splits}
    counts: dict[str, list[int]] = {
        "classes": [len({named.label for named in rows}) for rows in of_split.values()],
        "videos": [len(rows) for rows in of_split.values()],
        "groups": [len({named.group for named in rows}) for rows in of_split.values()],
    }
    if counts["groups"] == counts["videos"]:
        del counts["groups"]
    for what, numbers in counts.items():
        table.add_row(what, *map(str, numbers), end_section=what == list(counts)[-1])
    by_class = class_counts(names)
    present = [label for label in classes if label in by_class]
    for label in present if len(present) <= MOST_CLASSES else ():
        table.add_row(Text(printable(label), overflow="fold"), *(str(by_class[label][split]) for split in splits))
    return table


def warnings_of(names: Sequence[Named], classes: Sequence[str], told: Collection[tuple[str, str]] = ()) -> list[str]:
    """Lines on classes with few videos, on those that a split lacks, and on names that look alike.

    Of the (class, split) pairs in `told` another line tells.
    """
    by_class = class_counts(names)
    lines = []
    if few := [f"{label} ({counts.total()})" for label, counts in by_class.items() if counts.total() < FEW]:
        lines.append(f"warning: fewer than {FEW} videos: {counted(len(few), 'class')}, {first_names(few)}")
    for split in LABEL_FILES:
        if not any(counts[split] for counts in by_class.values()):
            continue
        lacking = [label for label in classes if label in by_class and not by_class[label][split]]
        if lacking := [label for label in lacking if (label, split) not in told]:
            lines.append(f"warning: without a {split} video: {counted(len(lacking), 'class')}, {first_names(lacking)}")
    return lines + [f"warning: {line}" for line in spelling_notes(by_class)]


def rates_of(jpg: Path, names: Sequence[Named]) -> list[str]:
    """A line on the frame rates of the videos, if there are any."""

    def rate(named: Named) -> float | None:
        try:
            return constant_rate(read_origin(jpg / named.label / named.video_id / DATABASE))
        except DataError:  # verify says why
            return None

    rates = Counter(in_threads("frame rates", rate, names))
    return [f"frames a second: {rates_text(rates)}"] if rates else []


def next_commands(dataset: Path, names: Sequence[Named], source: str = "frames") -> list[str]:
    """The commands that check the dataset and train on it. The start of a training checks video files."""
    place = shlex.quote(str(dataset))
    train = sum(named.split == "train" for named in names)
    batch = "" if train >= BATCH else f" --batch-size {max(1, min(8, train))}"
    verify = [f"  python -m data.prepare.verify {place}"] if source == "frames" else []
    flag = "" if source == "frames" else f" --source {source}"
    train_command = f"  python train_custom.py --dataset {place}{flag} --network srtg_r3d_34 --clip-size 112{batch}"
    lines = ["next:", *verify, train_command]
    if any(named.split == "test" for named in names):
        test = shlex.quote(str(dataset / "labels" / LABEL_FILES["test"]))
        lines.append(f"{train_command} --evaluate --resume-epoch auto --labels {test}")
    return lines
