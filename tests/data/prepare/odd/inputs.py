"""A random input for each seed."""

import random
from pathlib import Path

from tests.data.prepare.odd.case import Case
from tests.data.prepare.odd.lists import listed
from tests.data.prepare.odd.tables import table
from tests.data.prepare.odd.trees import clutter, folders, in_names, split_folders


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
