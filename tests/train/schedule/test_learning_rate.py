import pytest

from common.errors import DataError
from train.schedule.learning_rate import StepSchedule, usable_lr_steps, warmed_up_lr


def test_steps_at_or_after_the_end_are_never_taken():
    assert usable_lr_steps((40, 60, 75), 60) == (40,)
    assert usable_lr_steps((), 60) == ()


@pytest.mark.parametrize("lr_steps", [(40, 40), (60, 40), (0, 40), (-1,)])
def test_steps_that_do_not_increase_are_refused(lr_steps):
    """A misread list would train with a wrong rate for days."""
    with pytest.raises(DataError, match="--lr-steps"):
        usable_lr_steps(lr_steps, 100)


def test_each_step_multiplies_by_the_factor():
    assert [StepSchedule(0.5)(0.0, passed) for passed in range(3)] == pytest.approx([1, 0.5, 0.25])


def test_warm_up_rises_in_equal_steps_and_arrives_without_a_jump():
    rates = [warmed_up_lr(progress, 4, 0.01, 0.09) for progress in (0, 1, 2, 3, 4, 5)]
    assert rates == pytest.approx([0.01, 0.03, 0.05, 0.07, 0.09, 0.09])
    assert warmed_up_lr(0, 0, 0.01, 0.09) == 0.09
