"""The remaining time of a run: by its plan and the speeds of its shapes, also after a resume."""

import re

import pytest

from tests.plans import make_plan
from tests.runs import TINY, TINY_FLAGS
from train.remaining_time import RemainingTime

SHAPE = {"clip_length": 8, "clip_size": 32, "batch_size": 4, "lr_base": 0.1}
PLANS = {
    "fixed": make_plan(num_videos=60, end_epoch=5, lr_steps=(3,), **SHAPE),
    "both": make_plan(num_videos=400, end_epoch=8, lr_steps=(4,), long_cycles=True, short_cycles=True, **SHAPE),
    "per-epoch": make_plan(
        num_videos=400, end_epoch=4, lr_steps=(2,), per_epoch=True, long_cycles=True, short_cycles=True, **SHAPE
    ),
}


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Simulated:
    """A run on a machine whose steps take `speed` seconds a pixel, by the frames of a clip."""

    def __init__(self, plan, speeds, val_frequency=1, validation=2.0, saving=0.5, every=3):
        self.plan, self.speeds, self.val_frequency = plan, speeds, val_frequency
        self.validation, self.saving, self.every = validation, saving, every
        self.clock = Clock()
        self.told = []  # (when, remaining)

    def run(self, epoch=1, step=0, until=None):
        """From a position to the end, or to `until`; what was told before is of another process."""
        plan, clock = self.plan, self.clock
        remaining = RemainingTime(plan, self.val_frequency, clock=clock)
        while epoch <= plan.num_epochs:
            remaining.begin(epoch, step)
            steps = plan.steps_in_epoch(epoch)
            while step < steps:
                spec = plan.step_spec(epoch, step)
                clock.now += spec.batch_size * spec.shape.frames * spec.shape.height**2 * self.speeds[spec.shape.frames]
                step += 1
                if step % self.every == 0 or step == steps:
                    remaining.after_steps(epoch, step)
                    self.told.append((clock.now, remaining.seconds(epoch, step)))
                if (epoch, step) == until:
                    return
            validates = epoch % self.val_frequency == 0 or epoch == plan.num_epochs
            clock.now += self.validation if validates else 0.0
            remaining.end_epoch()
            if epoch < plan.num_epochs:
                self.told.append((clock.now, remaining.seconds(epoch + 1, 0)))
            clock.now += self.saving
            epoch, step = epoch + 1, 0

    def errors(self):
        """What was told against what was true, as shares of the true remaining time."""
        return [abs(told / (self.clock.now - when) - 1) for when, told in self.told if self.clock.now > when]


SAME = dict.fromkeys((2, 4, 8), 1e-5)
OTHER = {2: 1e-4, 4: 3e-5, 8: 0.7e-5}  # small clips are slower per pixel


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("val_frequency", [1, 3])
def test_it_is_right_where_every_pixel_takes_as_long(name, val_frequency):
    """Else the log would promise an end that is hours off."""
    run = Simulated(PLANS[name], SAME, val_frequency, validation=0.0, saving=0.0)
    run.run()
    assert len(run.told) > 10 and max(run.errors()) < 0.02


@pytest.mark.parametrize("name", PLANS)
def test_it_uses_the_speed_of_each_shape_once_it_has_occurred(name):
    """By pixels alone, the remaining time would be wrong to the end of a run whose small clips are slower."""
    run = Simulated(PLANS[name], OTHER)
    run.run()
    end = run.clock.now
    late = [abs(told - (end - when)) for when, told in run.told[-len(run.told) // 4 :]]
    assert late and max(late) < 0.04 * end + run.saving


def test_validations_and_checkpoints_are_counted():
    """They may take longer than the training of a small dataset."""
    run = Simulated(PLANS["fixed"], SAME, val_frequency=2, validation=50.0, saving=10.0)
    run.run()
    later = [(when, told) for when, told in run.told if when > 150]  # two epochs
    assert later and all(abs(told - (run.clock.now - when)) < 11 for when, told in later)


@pytest.mark.parametrize("name", PLANS)
def test_a_resumed_run_counts_only_what_is_left(name):
    """Else it would tell the time of the epochs that are done again."""
    plan = PLANS[name]
    epoch = plan.num_epochs // 2 + 1
    step = plan.steps_in_epoch(epoch) // 2
    run = Simulated(plan, SAME, validation=0.0, saving=0.0)
    run.run(until=(epoch, step))
    run.told.clear()
    run.run(epoch, step)
    assert run.told and max(run.errors()) < 0.02


def test_a_slow_beginning_is_forgotten():
    """The first steps choose algorithms and start workers: an estimate by them would be many times too long."""
    plan = PLANS["fixed"]
    remaining = RemainingTime(plan, 1, clock=(clock := Clock()))
    remaining.begin(1, 0)
    clock.now += 1000
    remaining.after_steps(1, 3)
    clock.now += 3
    remaining.after_steps(1, 6)
    steps = plan.total_steps - 6
    assert remaining.seconds(1, 6) == pytest.approx(steps)


def test_nothing_is_told_before_a_step_was_timed():
    """A number from nothing is worse than none."""
    assert RemainingTime(PLANS["fixed"], 1).seconds(1, 0) is None


def test_the_first_validation_is_guessed_from_training():
    """The first epoch may take hours; until its end the validations would be missing in the remaining time."""
    plan = PLANS["fixed"]
    pixels = 4 * 8 * 32**2  # of a training step
    remaining = RemainingTime(plan, 1, val_pixels=300 * pixels, clock=(clock := Clock()))
    remaining.begin(1, 0)
    clock.now += 3
    remaining.after_steps(1, 3)
    assert remaining.seconds(1, 3) == pytest.approx(plan.total_steps - 3 + plan.num_epochs * 100)


def test_the_log_of_a_run_tells_it(server, small_dataset, tmp_path):
    """At each report, after each epoch but the last, and after a resume."""
    words = (TINY, "--dataset", small_dataset, "--model-dir", tmp_path, *TINY_FLAGS)
    for epochs in (("--end-epoch", 2), ("--end-epoch", 3, "--resume-epoch", "auto")):
        process = server.start(*words, *epochs, folder=tmp_path)
        assert process.wait() == 0, process.output()
        lines = process.stdout.splitlines()
        reports = [line for line in lines if line.startswith("  (4, 3,")]
        assert reports and all(re.search(r" [\d.]+ (s|min) left$", line) for line in reports)
        *earlier, last = [line for line in lines if "done in" in line]
        assert all(line.endswith(" left") for line in earlier) and "left" not in last
