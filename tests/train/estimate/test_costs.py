"""From measurements to hours: the arithmetic of the estimate, with made-up machines."""

from dataclasses import replace

import pytest

from tests.plans import make_plan
from train.estimate.costs import Costs, Frequencies, ShapeCost, fixed_bytes, largest_batch, line_through

PLAN = make_plan(
    num_videos=400, end_epoch=8, lr_steps=(4,), long_cycles=True, short_cycles=True, clip_length=8, clip_size=32,
    batch_size=4, lr_base=0.1,
)  # fmt: skip
FIXED = make_plan(num_videos=60, end_epoch=6, lr_steps=(3,), clip_length=8, clip_size=32, batch_size=4, lr_base=0.1)
RATES = Frequencies(validation=1, epoch_file=1)


def costs_of(plan, read, compute, is_gpu=True, workers=4, cores=4.0, **others):
    """Each step takes `read` and `compute` seconds."""
    shapes = {spec: ShapeCost(read, compute, 0.0) for spec in plan.step_specs}
    return Costs(plan, shapes, is_gpu, workers, cores, **{"frequencies": RATES, **others})


@pytest.mark.parametrize(("read", "compute"), [(2.0, 1.0), (1.0, 2.0)])
def test_on_a_gpu_the_slower_of_reading_and_computing_decides(read, compute):
    """Else the hours of a run whose GPU waits would be promised at the GPU's speed, or both added up."""
    costs = costs_of(PLAN, read, compute)
    assert costs.training() == pytest.approx(2.0 * PLAN.total_steps)
    (cycle, *_) = costs.cycles()
    assert costs.waiting(cycle) == pytest.approx(max(0.0, 1 - compute / read))


def test_without_workers_reading_and_computing_take_turns():
    assert costs_of(FIXED, 1.0, 2.0, workers=0).training() == pytest.approx(3.0 * FIXED.total_steps)


def test_on_the_cpu_workers_take_their_share_of_the_cores():
    """One of two cores that decodes 1 s a step is missing for half a second's work of both."""
    costs = costs_of(FIXED, 1.0, 2.0, is_gpu=False, workers=1, cores=2.0)
    assert costs.training() == pytest.approx(2.5 * FIXED.total_steps)


def test_what_was_measured_in_training_counts_more_than_the_model():
    """Reading and computing at once is slower than each alone, which no model knows."""
    (cycle,) = costs_of(FIXED, 1.0, 2.0).cycles()
    costs = costs_of(FIXED, 1.0, 2.0, together={cycle: 2.6})
    assert costs.training() == pytest.approx(2.6 * FIXED.total_steps)
    assert costs.waiting(cycle) == pytest.approx(1 - 2 / 2.6)
    # The batches that were read ahead before the measurement began are no speed of reading.
    assert costs_of(FIXED, 3.0, 2.0, together={cycle: 2.6}).training() == pytest.approx(3 * FIXED.total_steps)


def test_one_more_worker_helps_only_where_reading_limits():
    """Else the advice would sell cores to a run that its GPU limits."""
    slow, fast = costs_of(PLAN, 2.0, 1.0), costs_of(PLAN, 1.0, 2.0)
    assert slow.training(read=4 / 5) == pytest.approx(0.8 * slow.training())
    assert slow.training(read=0.1) == pytest.approx(0.5 * slow.training())  # then the GPU limits
    assert fast.training(read=4 / 5) == fast.training()


def test_each_shape_has_its_own_time():
    """Multigrid's shapes differ by far; the mean of them, weighted by nothing, would be off."""
    speeds = {spec: ShapeCost(0.0, float(spec.shape.frames), 0.0) for spec in PLAN.step_specs}
    costs = replace(costs_of(PLAN, 0.0, 1.0), shapes=speeds)
    steps = [
        PLAN.step_spec(epoch, step)
        for epoch in range(1, PLAN.num_epochs + 1)
        for step in range(PLAN.steps_in_epoch(epoch))
    ]
    assert costs.training() == pytest.approx(sum(spec.shape.frames for spec in steps), rel=0.02)


@pytest.mark.parametrize(("every", "number"), [(1, 6), (4, 2), (6, 1), (100, 1)])
def test_validations_are_those_of_the_run(every, number):
    """Every N epochs, and after the last one."""
    costs = costs_of(FIXED, 1.0, 1.0, frequencies=Frequencies(every, 1), validation=10.0)
    assert costs.validations() == number and costs.validating() == 10.0 * number
    assert costs.total() == pytest.approx(costs.training() + 10 * number)


@pytest.mark.parametrize(
    ("frequencies", "writes", "files"),
    [
        (Frequencies(1, 1), 6 + 6 + 9, 9),  # last after each epoch, before each validation; six files; best three times
        (Frequencies(6, 4), 6 + 2 + 1.5, 5),
        (Frequencies(6, 1, keep=2), 6 + 6 + 1.5, 5),
        (Frequencies(6, 1, keep=0), 6 + 6 + 1.5, 9),
        (Frequencies(6, 6, every_steps=10), 6 + 1 + 1.5 + 9, 4),
        (Frequencies(6, 6, every_minutes=0.5), 6 + 1 + 1.5 + 3, 4),
    ],
)
def test_checkpoints_are_those_of_the_run(frequencies, writes, files):
    """Else the disk is full in the middle of the run."""
    costs = costs_of(FIXED, 1.0, 1.0, frequencies=frequencies, write=2.0, checkpoint_bytes=100)
    assert FIXED.total_steps == 90
    assert costs.writes() == pytest.approx(writes)
    assert costs.checkpoints() == files


@pytest.mark.parametrize(
    ("write", "validation", "seconds"),
    [
        (2.0, 3.0, 12 * 0.5 + 2),  # twelve copies: before six validations and after six epochs; the last file
        (4.0, 3.0, 12 * 0.5 + 6 * 1 + 4),  # the file of before a validation is not written when that is over
        (100.0, 200.0, 12 * 0.5 + 21 * 100 - 6 * 200 - 90 + 100),  # files that take longer than all the rest
    ],
)
def test_files_are_written_beside_the_run(write, validation, seconds):
    """Else a slow disk would seem to stop the GPU, or a fast one to cost nothing at all."""
    costs = costs_of(FIXED, 0.0, 1.0, copy=0.5, write=write, validation=validation, frequencies=Frequencies(1, 1))
    assert costs.training() == pytest.approx(90)
    assert costs.saving() == pytest.approx(seconds)


def test_an_epoch_is_read_while_the_last_one_is_saved():
    """The start of an epoch costs what reading takes longer than the copy of the state."""
    costs = costs_of(FIXED, 0.0, 1.0, epoch_start=2.0, copy=0.5)
    assert costs.epoch_starts() == pytest.approx(6 * 1.5) and costs.epoch_starts(read=0.1) == 0
    assert costs.training() == pytest.approx(90 + 6 * 1.5)


def test_the_largest_batch_is_that_of_the_largest_step():
    """A batch that fits at one shape of multigrid alone ends the run at another."""
    first, second, *_ = PLAN.step_specs
    fixed = fixed_bytes((2, 300), (4, 500))
    assert fixed == 100
    assert largest_batch({first: 500, second: 300}, fixed, limit=1000, base=4, multiple=1) == 9
    assert largest_batch({first: 500, second: 700}, fixed, limit=1000, base=4, multiple=4) == 4
    assert largest_batch({first: 500}, fixed, limit=150, base=4, multiple=1) == 0
    assert largest_batch({first: 500}, fixed, limit=90, base=4, multiple=1) == 0
    assert largest_batch({}, 0, limit=1000, base=4, multiple=1) == 0


def test_a_large_batch_is_not_a_multiple_of_a_small_one():
    """The update of the weights is made once a step, whatever the batch."""
    assert line_through((2, 3.0), (4, 4.0), 32) == pytest.approx(18.0)
    assert line_through((2, 4.0), (4, 4.0), 8) == pytest.approx(8.0)  # noise: as if it grew with the clips
    assert line_through((2, 5.0), (4, 4.0), 8) == pytest.approx(8.0)
