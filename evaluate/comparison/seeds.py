"""Whether the seeds of a side of a comparison are trainings of their own."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import PurePath
from typing import Any

import numpy as np

from common.errors import DataError
from evaluate.comparison.about_differences import differences_within
from evaluate.comparison.prediction_files import Source

About = Mapping[str, Any]


def check_seeds(side: Sequence[Source]) -> None:
    """DataError if two seeds of a side are the same, or states of one run: they would look like seeds that agree."""
    for one, other in combinations(side, 2):
        if one.path.samefile(other.path):
            raise DataError(f"{other.name} is given twice: give each seed once")
        if np.array_equal(one.predictions.log_probabilities, other.predictions.log_probabilities):
            raise DataError(f"{one.name} and {other.name} have the same predictions: give each seed once")
        mine, others = one.predictions.about, other.predictions.about
        is_ensemble = "parts" in mine or "parts" in others
        if not is_ensemble and runs_of(mine) & runs_of(others) and seed_of(mine) == seed_of(others):
            raise DataError(
                f"{one.name} and {other.name} are states of one run, and seeds are trainings of their own: give one of "
                "each run, or evaluate.fuse them first"
            )


def shared_trainings(side: Sequence[Source]) -> str | None:
    """What makes two seeds of a side less than trainings of their own; None if nothing tells it, or `check_seeds`."""
    for one, other in combinations(side, 2):
        mine, others = one.predictions.about, other.predictions.about
        if runs_of(mine) & runs_of(others):
            what = "have parts of one run" if "parts" in mine or "parts" in others else "are states of one run"
        elif seed_of(mine) is None or seed_of(mine) != seed_of(others):
            continue
        elif not (runs_of(mine) and runs_of(others)) and _folder(mine) and _folder(mine) == _folder(others):
            what = f"are of checkpoints in one folder, {_folder(mine)}"  # of older versions
        elif not differences_within([one.predictions, other.predictions]):
            what = f"were trained with the same --random-seed {seed_of(mine)}"
        else:
            continue
        return f"{one.name} and {other.name} {what}: the spread of seeds, and so the interval, may be far too small"
    return None


def runs_of(about: About) -> set[str]:
    """The keys of the runs that predictions are of, of an ensemble those of its parts; older files have none."""
    parts = about.get("parts")
    if isinstance(parts, list):
        inner = (part.get("about") for part in parts if isinstance(part, Mapping))
        return {key for each in inner if isinstance(each, Mapping) for key in runs_of(each)}
    key = about.get("run_key")
    return {key} if isinstance(key, str) else set()


def seed_of(about: About) -> object:
    """The --random-seed of the training; None if the file does not tell it."""
    options = about.get("options")
    return options.get("random_seed") if isinstance(options, Mapping) else None


def _folder(about: About) -> str:
    """The folder of the checkpoint; empty if the file does not tell it."""
    path = about.get("checkpoint")
    return str(PurePath(path).parent) if isinstance(path, str) and "/" in path else ""
