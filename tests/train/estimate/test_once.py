"""What a run pays once is told from what it pays again and again: planted by a made-up clock, on the CPU."""

from dataclasses import replace

import pytest

from tests.processes import ROOT
from train.estimate import meter as module
from train.estimate import steps, validation
from train.estimate.costs import ShapeCost
from train.estimate.meter import LEAST, Meter
from train.estimate.set_up import parse, set_up
from train.estimate.validation import Validation, ValidationMeter, whole_seconds
from train.step_graphs import REPLAYED_FROM

EACH, ONCE = 0.1, 10.0  # seconds of a call, and of those that are slow at first, together, beyond that
FLAGS = (
    "--network", "srtg_r3d_10", "--clip-length", "4", "--clip-size", "32", "--batch-size", "4", "--lr-steps", "2",
    "--end-epoch", "3", "--workers", "1", "--device", "cpu", "--val-batch-size", "1",
)  # fmt: skip


class Clock:
    """A clock on which only the functions given to it take time."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def slow_at_first(self, function, times=1):
        """The function, each call of which takes EACH seconds and the first `times` together ONCE more."""
        left = [ONCE / times] * times

        def call(*arguments, **others):
            self.now += EACH + (left.pop() if left else 0.0)
            return function(*arguments, **others)

        return call


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    for each in (module, steps, validation):
        monkeypatch.setattr(each, "clock", clock)
    return clock


@pytest.fixture
def run(small_dataset):
    script, options, _ = parse([str(ROOT / "train_custom.py"), "--dataset", str(small_dataset), *FLAGS], "")
    run = set_up(script, options)
    yield run
    run.loader.close()
    run.val_loader.close()


@pytest.fixture
def apart(run, clock):
    """A meter that has measured reading and computing, and whose time is over."""
    meter = Meter(run, 1e-3)
    meter.shapes = {spec: ShapeCost(read=0.02, compute=EACH, augment=0.0) for spec in meter.specs()}
    return meter


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_validation_is_not_its_first_batch_times_all_of_them(run, clock, monkeypatch, seconds):
    """Eight validations of less than a second were promised as a minute, as the first batch chose algorithms."""
    batches = len(run.val_loader)
    assert batches > 2
    monkeypatch.setattr(run.trainer.network, "forward", clock.slow_at_first(run.trainer.network.forward))
    found = ValidationMeter(run, lambda: None).measure(seconds, guess=0.0)
    assert found.is_measured and found.once >= ONCE
    assert found.each == pytest.approx(batches * EACH)


def test_a_reader_that_starts_slowly_delays_the_first_validation_alone(run, clock, monkeypatch):
    """A first validation that ends in time is made again."""
    monkeypatch.setattr(validation, "evaluate", clock.slow_at_first(validation.evaluate))
    found = ValidationMeter(run, lambda: None).measure(60.0, guess=0.0)
    assert found == pytest.approx((EACH, ONCE, True))


@pytest.mark.parametrize("batches", [0, 5])
def test_batches_for_statistics_are_a_part_of_each_validation(run, apart, monkeypatch, batches):
    """Precise batch norm passes over a small dataset again in each epoch: hours of a long run."""
    run.statistics = batches
    monkeypatch.setattr(apart.validation, "measure", lambda seconds, guess: Validation(each=3.0, once=1.0))
    found = apart.validate(apart.costs({}))
    clips = batches * 4 / len(run.splits.val)
    assert (found.each, found.once) == (pytest.approx(3.0 * (1 + clips)), 1.0)


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_rank_validates_its_own_videos(small_dataset, gpus):
    """The time of a validation on N GPUs was N times too long."""
    script, options, _ = parse(
        [str(ROOT / "train_custom.py"), "--dataset", str(small_dataset), *FLAGS, "--gpus", str(gpus)], ""
    )
    run = set_up(script, options)
    try:
        meter = ValidationMeter(run, lambda: None)
        assert meter.number == -(-len(run.splits.val) // gpus)
        assert meter._evaluate(60.0)[1], "a whole validation is not seen to be whole"
    finally:
        run.loader.close()
        run.val_loader.close()


def test_a_validation_without_time_is_guessed(run):
    meter = ValidationMeter(run, lambda: None)
    found = meter.measure(1.0, guess=2.0)
    assert found == (2.0 * len(run.val_loader), 0.0, False) and not meter.videos.tried


@pytest.mark.parametrize(
    ("arrivals", "took", "share", "seconds"),
    [
        ([1.0, 2.0, 3.0, 4.0], 4.1, 1.0, 4.1),  # all of it
        ([1.0, 2.0], 2.1, 0.5, 4.1),  # waits for reading, as the one above
        ([1.0, 1.1], 5.0, 0.5, 9.0),  # computing goes on when all is read
        ([1.0], 3.0, 0.25, 9.0),
    ],
)
def test_a_part_of_a_validation_tells_the_whole(arrivals, took, share, seconds):
    """The time until the first batch is there is lost once, and reading or computing decides of the others."""
    assert whole_seconds(arrivals, took, share) == pytest.approx(seconds)


def test_rounds_in_which_passes_are_recorded_are_not_counted(run, apart, clock, monkeypatch):
    """Each shape is recorded and compared in its first steps: epochs of thousands are not like these."""
    run.trainer.options = replace(run.trainer.options, graphs=True)
    monkeypatch.setattr(apart.steps, "step", clock.slow_at_first(lambda batch, spec: None, REPLAYED_FROM))
    monkeypatch.setitem(LEAST, "together", (REPLAYED_FROM + 2) * EACH)
    assert list(apart.train_all(apart.costs({})).values()) == [pytest.approx(EACH)]
    assert clock.now > ONCE


def test_recording_is_a_part_of_the_start(run, apart, clock, monkeypatch):
    """A run of minutes pays it as one of days does."""
    run.trainer.options = replace(run.trainer.options, graphs=True)
    monkeypatch.setattr(apart.steps, "step", clock.slow_at_first(lambda batch, spec: None, REPLAYED_FROM))
    (spec,) = apart.specs()
    assert apart.steps._repeat(spec, 2, 0.0) == pytest.approx(EACH)
    assert apart.steps.once == pytest.approx(ONCE)


@pytest.mark.parametrize(("writes", "seconds"), [((0.9, 0.1), 0.1), ((2.0,), 2.0)])
def test_the_first_copy_of_a_state_is_not_counted(run, clock, monkeypatch, writes, seconds):
    """A run makes one after each epoch, each promised to be as slow as the first. A long write is made once."""
    times = iter(writes)
    monkeypatch.setattr(module, "snapshot", clock.slow_at_first(module.snapshot))
    monkeypatch.setattr(module, "write_time", lambda *_: (10, next(times), False))
    saved = Meter(run, 1e-3).save()
    assert saved.copy < ONCE and saved.write == seconds


def test_what_was_being_read_is_not_time_of_the_next_measurement(run):
    """The batches ahead of one that was left were read before the first of another, and delayed it."""
    meter = Meter(run, 1e-3)
    read = []
    meter.train_videos.add = lambda batch: read.append(len(batch.labels))
    for clips in (4, 2):
        run.batches.cycle = [meter.specs()[0]._replace(batch_size=clips)]
        batches = iter(run.loader)
        meter.note(next(batches))
        meter.end(batches)
        assert next(batches, None) is None
    few = read.count(2)
    assert few > 1 and read == [4] * (len(read) - few) + [2] * few and len(read) < 20


def test_an_epoch_that_was_not_begun_starts_with_a_batch(apart):
    """Else epochs would be promised to begin at once where the time did not suffice for one."""
    assert apart.costs({}).epoch_start == pytest.approx(0.02)
    apart.epoch_starts += [1.0, 3.0]
    assert apart.costs({}).epoch_start == 2.0
