"""Videos that would have one place, as the disk does not tell upper from lower case, or the Unicode forms of a name.

exFAT, NTFS, APFS and shares of Windows are such: run/a and run/A would be one database, of one of the two videos.
"""

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from common.errors import DataError
from common.text import composed, quoted
from data.labels.text import note_on_form
from data.prepare.report import Problem
from data.prepare.sources import Source, Sources

Fold = Callable[[str], str]  # gives names that a disk does not tell apart one form
REMEDY = "rename one, or give a dataset folder on another disk"
ACCENT = ("\u00e9", "e\u0301")  # one letter in two Unicode forms


def told_apart(found: Sources, videos: Path, target: Path) -> Sources:
    """Without the videos whose place in the folder `target` is that of one before them; these are failures."""
    fold = fold_for(((each.label, each.video_id) for each in found.videos), target)
    if fold is None:
        return found
    kept: list[Source] = []
    problems = list(found.problems)
    classes: dict[str, str] = {}
    first: dict[tuple[str, str], str] = {}
    for each in found.videos:
        label = classes.setdefault(fold(each.label), each.label)
        name = first.setdefault((label, fold(each.video_id)), each.video_id)
        if (label, name) == (each.label, each.video_id):
            kept.append(each)
            continue
        ours, theirs = (each.label, label) if label != each.label else (each.video_id, name)
        what = f"the disk of {target.parent} makes one folder or file of {quoted(theirs)} and {quoted(ours)}"
        why = f"{what}{note_on_form(theirs, ours)}: {REMEDY}"
        problems.append(Problem("failed", str(each.path.relative_to(videos)), why))
    return found._replace(videos=kept, problems=problems)


def fold_for(names: Iterable[tuple[str, str]], target: Path) -> Fold | None:
    """What the disk of `target` does not tell of names; None if it tells all, or if that does not matter to `names`.

    Names are those of a class folder and of a video in it. Only if two may be one, files are made to see.
    """
    every = set(names)
    labels = {label for label, _ in every}
    are_one = len(set(map(_fold, labels))) < len(labels)
    if not are_one and len({(label, _fold(name)) for label, name in every}) == len(every):
        return None
    cases, forms = untold(next((each for each in (target, *target.absolute().parents) if each.is_dir()), target))
    if cases:
        return _fold if forms else str.casefold
    return composed if forms else None


def check_classes(labels: Iterable[str], fold: Fold, target: Path) -> None:
    """DataError if the disk of `target` makes one folder of two classes: in training, one of them has no videos."""
    first: dict[str, str] = {}
    for label in labels:
        if (other := first.setdefault(fold(label), label)) != label:
            what = f"the disk of {target.parent} makes one folder of the classes {quoted(other)} and {quoted(label)}"
            raise DataError(f"{what}{note_on_form(other, label)}: {REMEDY}")


def untold(folder: Path) -> tuple[bool, bool]:
    """Whether a folder's disk takes names for one that differ only in case, and only in their Unicode form.

    Neither if nothing can be written there: that fails later.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=".names", dir=folder) as place:
            for name in ("a", ACCENT[0]):
                Path(place, name).touch()
            return Path(place, "A").exists(), Path(place, ACCENT[1]).exists()
    except (OSError, UnicodeEncodeError):
        return False, False


def _fold(name: str) -> str:
    return composed(composed(name).casefold())
