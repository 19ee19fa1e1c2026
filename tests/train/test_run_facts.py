"""What a run's files say of how it is validated."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from train.checkpoint.videos import VALIDATION
from train.monitor.score_files import TEXTS
from train.monitor.score_files import VALIDATION as COLUMNS
from train.options import TrainOptions
from train.run_facts import validation_facts

FLAGS = [flag for flag in VALIDATION if flag != "--best-by"]


def facts(options):
    return validation_facts(options, {"val": "a"}, {"val": SimpleNamespace(plain=dict)})


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_by_which_the_best_is_counted_anew_changes_what_the_score_files_say(flag):
    """Curves went on, and the best of all epochs was given, where a resume had another crop or average."""
    own, name = TrainOptions(), flag.removeprefix("--").replace("-", "_")
    value = 0.9 if name == "ema" else (getattr(own, name) or 0) + 3
    before, after = facts(own), facts(replace(own, **{name: value}))
    changed = {column for column in before if before[column] != after[column]}
    assert len(changed) == 1 and changed <= COLUMNS.keys()
    assert before.keys() == COLUMNS.keys()
    assert all(float(str(after[column])) for column in after.keys() - TEXTS)


@pytest.mark.parametrize(
    ("values", "weights"),
    [({}, "raw"), ({"ema": 0.99999}, "ema 0.99999"), ({"ema": 0.9, "precise_bn": 3}, "ema 0.9 + precise_bn 3")],
)
def test_the_averages_that_are_validated_are_named(values, weights):
    assert facts(replace(TrainOptions(), **values))["weights"] == weights
