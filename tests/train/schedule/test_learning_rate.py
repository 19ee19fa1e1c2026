import math

import pytest

from common.errors import DataError
from tests.plans import make_plan
from train.schedule.learning_rate import SCHEDULES, LrStepSchedule, RateOptions, usable_lr_steps, warmed_up_lr


def test_steps_at_or_after_the_end_are_never_taken():
    assert usable_lr_steps((40, 60, 75), 60) == (40,)
    assert usable_lr_steps((), 60) == ()


@pytest.mark.parametrize("lr_steps", [(40, 40), (60, 40), (0, 40), (-1,)])
def test_steps_that_do_not_increase_are_refused(lr_steps):
    """A misread list would train with a wrong rate for days."""
    with pytest.raises(DataError, match="--lr-steps"):
        usable_lr_steps(lr_steps, 100)


def test_each_step_multiplies_by_the_factor():
    assert [LrStepSchedule(0.5)(0.0, passed) for passed in range(3)] == pytest.approx([1, 0.5, 0.25])


def test_warm_up_rises_in_equal_steps_and_arrives_without_a_jump():
    rates = [warmed_up_lr(progress, 4, 0.01, 0.09) for progress in (0, 1, 2, 3, 4, 5)]
    assert rates == pytest.approx([0.01, 0.03, 0.05, 0.07, 0.09, 0.09])
    assert warmed_up_lr(0, 0, 0.01, 0.09) == 0.09


def test_the_cosine_falls_from_the_whole_rate_to_none_by_half_in_the_middle():
    schedule = SCHEDULES["cosine"](RateOptions())
    assert [schedule(share, 3) for share in (0, 1 / 3, 0.5, 1)] == pytest.approx([1, 0.75, 0.5, 0])


def test_the_cosine_ends_at_end_lr():
    """A published recipe that ends above zero could not be followed."""
    schedule = SCHEDULES["cosine"](RateOptions(lr_base=0.4, end_lr=0.1))
    assert [0.4 * schedule(share, 3) for share in (0, 1 / 3, 0.5, 1)] == pytest.approx([0.4, 0.325, 0.25, 0.1])


@pytest.mark.parametrize("cycles", [{}, {"long_cycles": True, "per_epoch": True}])
def test_end_lr_is_counted_as_lr_base_is(cycles):
    """Under the per-epoch variant both are the rate of the largest batch."""
    arguments = {"clip_length": 8, "clip_size": 64, "batch_size": 8, "lr_base": 0.4, "lr_schedule": "cosine"}
    plan = make_plan(**arguments, end_epoch=30, lr_steps=(), num_videos=2000, end_lr=0.1, **cycles)
    largest = plan.phases[0]
    assert plan.scheduled_lr(largest, 0) == pytest.approx(0.4)
    assert plan.scheduled_lr(largest, plan.num_epochs) == pytest.approx(0.1)


def test_end_lr_that_cannot_be_or_has_no_effect_is_told():
    """The rate would rise in place of falling, or the flag would do nothing, in silence."""
    arguments = {"lr_base": 0.1, "lr_steps": (10,), "num_videos": 2000}
    with pytest.raises(DataError, match="--end-lr"):
        make_plan(**arguments, end_lr=0.2, lr_schedule="cosine")
    assert any("--end-lr" in note for note in make_plan(**arguments, end_lr=0.05).notes)
    assert not any("--end-lr" in note for note in make_plan(**arguments, end_lr=0.05, lr_schedule="cosine").notes)


@pytest.mark.parametrize("cycles", [{}, {"short_cycles": True}, {"long_cycles": True}, {"per_epoch": True}])
def test_under_cycles_the_rate_is_the_shape_s_factor_times_the_cosine(cycles):
    """The shapes keep their ratio while the rate falls; the warm-up ends on the curve."""
    cycles = cycles | {"long_cycles": True} if "per_epoch" in cycles else cycles
    plan = make_plan(
        clip_length=8, clip_size=64, batch_size=8, lr_base=0.4, lr_steps=(10, 20), end_epoch=30, num_videos=2000,
        lr_schedule="cosine", warmup_epochs=3, warmup_lr=0.01, **cycles,
    )  # fmt: skip
    unit = 0.4 / 8 if "per_epoch" in cycles else 0.4
    for epoch in (3, 4, plan.num_epochs // 2, plan.num_epochs):
        for step in {0, plan.steps_in_epoch(epoch) // 2, plan.steps_in_epoch(epoch) - 1}:
            progress = epoch - 1 + step / plan.steps_in_epoch(epoch)
            factor = plan.step_spec(epoch, step).batch_factor
            if progress >= 3:
                cosine = 0.5 * (1 + math.cos(math.pi * progress / plan.num_epochs))
                assert plan.lr(epoch, step) == pytest.approx(unit * factor * cosine)
    assert plan.lr(1, 0) == pytest.approx(0.01)
    before = plan.lr(3, plan.steps_in_epoch(3) - 1) / plan.step_spec(3, plan.steps_in_epoch(3) - 1).batch_factor
    after = plan.lr(4, 0) / plan.step_spec(4, 0).batch_factor
    assert before == pytest.approx(after, rel=0.05)


def test_lr_steps_divide_a_cosine_run_into_long_cycles_alone():
    arguments = {
        "clip_length": 8, "clip_size": 64, "batch_size": 8, "lr_base": 0.4, "lr_steps": (10, 20), "end_epoch": 30,
        "num_videos": 2000, "lr_schedule": "cosine",
    }  # fmt: skip
    fixed = make_plan(**arguments)
    assert len(fixed.phases) == 1
    for plan in (fixed, make_plan(**arguments, long_cycles=True)):  # a flag without effect is said
        assert any("--lr-factor" in note and "--lr-steps" in note for note in plan.notes)
    assert [p.last_epoch for p in make_plan(**arguments, long_cycles=True).phases] == [
        p.last_epoch for p in make_plan(**arguments | {"lr_schedule": "steps"}, long_cycles=True).phases
    ]
