"""Whether the plan of a small dataset warns that the network will hardly learn."""

import re
from itertools import pairwise

import pytest

from tests.plans import make_plan
from train.schedule.__main__ import main
from train.schedule.learning import learning_warnings

SMALL = {
    "num_videos": 242, "clip_length": 16, "clip_size": 64, "batch_size": 16, "lr_base": 0.05, "lr_steps": (24, 34),
    "end_epoch": 40,
}  # fmt: skip
CYCLES = {"long_cycles": True, "short_cycles": True}


def test_the_run_that_ended_at_chance_is_warned_of_twice():
    """242 videos of ten classes: 151 steps in place of 600, eight times the rate after six, and top-1 of chance."""
    few, steep = learning_warnings(make_plan(**SMALL, **CYCLES))
    assert re.search(r"\b151 steps\b.* 600\b", few)
    assert re.search(r"\b8 times\b.*\b6 steps\b", steep)


def test_the_command_that_prints_a_plan_warns_too(capsys):
    """Who looks at the plan first, as the docs say, must not learn of it only from the run."""
    flags = "--clip-size 64 --batch-size 16 --lr-base 0.05 --lr-steps 24 34 --end-epoch 40 --num-videos 242"
    assert main(flags.split()) == 0
    printed = capsys.readouterr().out
    assert all(line in printed for line in learning_warnings(make_plan(**SMALL, **CYCLES)))


def test_the_remedies_end_the_warnings():
    """Who does what a line says must not be told it again: no cycles, more epochs, a smaller factor of the rate."""
    (steep,) = learning_warnings(make_plan(**SMALL | {"lr_steps": (72, 102), "end_epoch": 120}, **CYCLES))
    assert " times " in steep
    (few,) = learning_warnings(make_plan(**SMALL, **CYCLES, warmup_epochs=24))
    assert "151 steps" in few
    assert learning_warnings(make_plan(**SMALL)) == []


@pytest.mark.parametrize("end_epoch", [1, 40])
def test_a_fixed_shape_is_never_warned_of(end_epoch):
    """Few steps are then what the user has asked for, as in fine-tuning or a trial run."""
    assert learning_warnings(make_plan(**SMALL | {"end_epoch": end_epoch})) == []


@pytest.mark.parametrize("cycles", [CYCLES, {"long_cycles": True}, {"short_cycles": True}])
@pytest.mark.parametrize(("num_videos", "batch_size", "end_epoch"), [(240_000, 32, 239), (500_000, 48, 120)])
def test_the_datasets_that_multigrid_was_made_for_are_not_warned_of(num_videos, batch_size, end_epoch, cycles):
    """A warning in every run is read in none."""
    changes = {"num_videos": num_videos, "batch_size": batch_size, "end_epoch": end_epoch, "lr_steps": (94,)}
    assert learning_warnings(make_plan(**SMALL | changes, **cycles)) == []


def test_a_large_dataset_without_warm_up_is_warned_of_the_rate_alone():
    """`--warmup-epochs 0` begins at eight times the base rate."""
    (line,) = learning_warnings(make_plan(**SMALL | {"num_videos": 240_000}, **CYCLES, warmup_epochs=0))
    assert re.search(r"\b8 times\b.*\b0 steps\b", line)


def test_the_rate_of_the_original_repositorys_variant_is_not_warned_of():
    """There --lr-base is the rate of the largest batch: no shape has a higher one."""
    assert learning_warnings(make_plan(**SMALL | {"num_videos": 240_000}, **CYCLES, per_epoch=True)) == []


@pytest.mark.parametrize(("epochs", "steps"), [(0, 0), (1, 1), (2.5, 3), (6, 6), (16, 17), (16.5, 18)])
def test_steps_of_the_warm_up(epochs, steps):
    """Fifteen epochs of one step, then epochs of two."""
    plan = make_plan(**SMALL, **CYCLES, warmup_epochs=epochs)
    assert plan.warmup_steps == steps
    rates = [plan.lr(epoch, step) for epoch in range(1, 20) for step in range(plan.steps_in_epoch(epoch))]
    assert all(rate == plan.phase(1).lr for rate in rates[steps:15])
    assert all(a < b for a, b in pairwise(rates[:steps]))
