"""What a run pays once is told from what it pays again and again: each of these is planted here, on the CPU."""

import time
from dataclasses import replace

import pytest

from tests.processes import ROOT
from train.estimate import meter as module
from train.estimate import validation
from train.estimate.meter import LEAST, Meter
from train.estimate.set_up import parse, set_up
from train.estimate.validation import ValidationMeter, whole_seconds
from train.step_graphs import REPLAYED_FROM

ONCE = 1.0  # seconds: far more than what a tiny step or batch takes each time
FLAGS = (
    "--network", "srtg_r3d_10", "--clip-length", "4", "--clip-size", "32", "--batch-size", "4", "--lr-steps", "2",
    "--end-epoch", "3", "--workers", "1", "--device", "cpu", "--val-batch-size", "1",
)  # fmt: skip


class SlowAtFirst:
    """A function whose first `times` calls take ONCE seconds longer."""

    def __init__(self, function, times=1):
        self.function, self.times, self.calls = function, times, 0

    def __call__(self, *arguments, **others):
        self.calls += 1
        if self.calls <= self.times:
            time.sleep(ONCE / self.times)
        return self.function(*arguments, **others)


@pytest.fixture
def run(small_dataset):
    script, options, _ = parse([str(ROOT / "train_custom.py"), "--dataset", str(small_dataset), *FLAGS], "")
    run = set_up(script, options)
    yield run
    run.loader.close()
    run.val_loader.close()


@pytest.mark.parametrize("seconds", [0.0, 60.0])
def test_a_validation_is_not_its_first_batch_times_all_of_them(run, monkeypatch, seconds):
    """Eight validations of less than a second were promised as a minute, as the first batch chose algorithms."""
    assert len(run.val_loader) > 2
    monkeypatch.setattr(run.trainer.network, "forward", SlowAtFirst(run.trainer.network.forward))
    found = ValidationMeter(run, lambda: None).measure(seconds, guess=0.0)
    assert found.is_measured
    assert found.each < ONCE <= found.once


def test_a_reader_that_starts_slowly_delays_the_first_validation_alone(run, monkeypatch):
    """A first validation that ends in time is made again."""
    monkeypatch.setattr(validation, "evaluate", SlowAtFirst(validation.evaluate))
    found = ValidationMeter(run, lambda: None).measure(60.0, guess=0.0)
    assert found.each < ONCE <= found.once + 0.5


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


def test_rounds_in_which_passes_are_recorded_are_not_counted(run, monkeypatch):
    """Each shape is recorded and compared in its first steps: epochs of thousands are not like these."""
    run.trainer.options = replace(run.trainer.options, graphs=True)
    meter = measured_apart(run)
    monkeypatch.setattr(meter.steps, "step", SlowAtFirst(lambda batch, spec: None, times=REPLAYED_FROM))
    monkeypatch.setitem(LEAST, "together", 5.0)
    monkeypatch.setattr(meter, "train", lambda *arguments: Meter.train(meter, *arguments[:2], 0.0))
    (seconds,) = meter.train_all(meter.costs({})).values()
    assert meter.steps.step.calls > REPLAYED_FROM
    assert seconds < ONCE / REPLAYED_FROM


def test_recording_is_a_part_of_the_start(run, monkeypatch):
    """A run of minutes pays it as one of days does."""
    run.trainer.options = replace(run.trainer.options, graphs=True)
    meter = Meter(run, 1e-3)
    monkeypatch.setattr(meter.steps, "step", SlowAtFirst(lambda batch, spec: None, times=REPLAYED_FROM))
    (spec,) = meter.specs()
    assert meter.steps._repeat(spec, 2, 0.0) < ONCE / REPLAYED_FROM
    assert meter.steps.once == pytest.approx(ONCE, rel=0.5)


def test_the_first_copy_of_a_state_is_not_counted(run, monkeypatch):
    """A run makes one after each epoch, and each was promised to be as slow as the first."""
    writes = iter([0.9, 0.1])
    monkeypatch.setattr(module, "snapshot", SlowAtFirst(module.snapshot))
    monkeypatch.setattr(module, "write_time", lambda *_: (10, next(writes), False))
    saved = Meter(run, 1e-3).save()
    assert saved.copy < ONCE and saved.write == 0.1


def test_a_long_write_is_made_once(run, monkeypatch):
    """The time of the estimate is limited; the file of a large network takes seconds on a slow disk."""
    monkeypatch.setattr(module, "write_time", lambda *_, writes=[2.0]: (10, writes.pop(), False))
    assert Meter(run, 1e-3).save().write == 2.0


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
    assert set(read) == {4, 2} and read == [4] * (len(read) - few) + [2] * few and len(read) < 20


def test_an_epoch_that_was_not_begun_starts_with_a_batch(run):
    """Else epochs would be promised to begin at once where the time did not suffice for one."""
    meter = measured_apart(run)
    assert meter.costs({}).epoch_start == meter.shapes[meter.specs()[0]].read > 0
    meter.epoch_starts += [1.0, 3.0]
    assert meter.costs({}).epoch_start == 2.0


def measured_apart(run) -> Meter:
    """A meter after reading and computing, whose time is over."""
    meter = Meter(run, 1e-3)
    meter.read_all()
    graphs, run.trainer.options = run.trainer.options, replace(run.trainer.options, graphs=False)
    meter.compute_all()
    run.trainer.options = graphs
    return meter
