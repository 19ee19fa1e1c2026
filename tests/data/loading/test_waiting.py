"""Reading processes that stand still: a line says so, the caller may give up, and they end with their loader."""

import logging
import multiprocessing
import os
import signal
import threading
import time
from itertools import islice

import pytest

from data.labels.dataset_spec import DatasetSpec
from data.labels.splits import load_splits
from data.loading import loader as loader_module
from data.loading import waiting as waiting_module
from tests.data.loading.test_loader import check_equal, kept, read, requests, training


@pytest.fixture(scope="module")
def splits(small_dataset):
    return load_splits(small_dataset, DatasetSpec("custom", "train.csv", "val.csv"))


@pytest.fixture
def stopped(splits, monkeypatch):
    """A loader of two batches more than are read ahead, whose two workers stand still, and its batches."""
    monkeypatch.setattr(waiting_module, "POLL", 0.1)
    monkeypatch.setattr(waiting_module, "FIRST_LINE", 0.5)
    loader = training(splits, requests(8), workers=2)
    batches = iter(loader)
    first = kept(islice(batches, 1))
    for worker in loader._workers:
        os.kill(worker.pid, signal.SIGSTOP)
    yield loader, batches, first
    loader.close()


def test_a_wait_is_told_ever_more_rarely_and_ends_with_the_clips(stopped, splits, caplog):
    """A disk that does not answer hung a run without a word; one that is slow must not fill the log."""
    loader, batches, received = stopped
    looks = []

    def go_on_after_a_while():
        looks.append(time.monotonic())
        if len(looks) == 25:
            for worker in loader._workers:
                os.kill(worker.pid, signal.SIGCONT)

    with loader.waiting.checked(go_on_after_a_while), caplog.at_level(logging.WARNING, "srtg"):
        received += kept(batches)
    check_equal(received, read(splits, 0))
    lines = [record.getMessage() for record in caplog.records]
    assert 2 <= len(lines) <= 4 and all(line.startswith("waiting for clips for ") for line in lines)
    assert str(splits.train.jpg) in lines[0]
    assert not loader.waiting.asked


def test_the_caller_may_give_up_and_the_workers_are_killed_soon(stopped, monkeypatch):
    """A signal to stop had no effect, and torch waits five seconds for each worker, which a scheduler does not."""
    loader, batches, _ = stopped
    workers = list(loader._workers)

    def give_up():
        raise TimeoutError("no more")

    with loader.waiting.checked(give_up), pytest.raises(TimeoutError, match="no more"):
        list(batches)
    began = time.monotonic()
    loader.close()
    assert time.monotonic() - began < 8
    assert len(workers) == 2 and not any(worker.is_alive() for worker in workers)


@pytest.mark.parametrize("number", [None, signal.SIGINT])
def test_an_iteration_that_is_left_early_can_be_left_while_the_next_one_begins(stopped, splits, number):
    """It waits for what the workers were asked for before: signals and Ctrl-C had no effect meanwhile."""
    loader, _, _ = stopped
    workers = list(loader._workers)

    def give_up():
        if number is None:
            raise TimeoutError
        signal.raise_signal(number)

    with loader.waiting.checked(give_up), pytest.raises(KeyboardInterrupt if number else TimeoutError):
        iter(loader)
    assert not any(worker.is_alive() for worker in workers)
    check_equal(kept(loader), read(splits, 0))


def test_a_worker_that_cannot_be_killed_does_not_hang_the_exit(stopped, monkeypatch):
    """One that waits within the kernel for its disk ends with the disk alone: the run would never end."""
    monkeypatch.setattr(loader_module, "SECONDS_TO_DIE", 0.3)
    loader, _, _ = stopped
    workers = list(loader._workers)
    for worker in workers:
        monkeypatch.setattr(worker, "kill", lambda: None)
    began = time.monotonic()
    loader_module._kill(workers)
    assert time.monotonic() - began < 5
    assert not {*workers} & {*multiprocessing.active_children()}
    for worker in workers:
        os.kill(worker.pid, signal.SIGKILL)
    monkeypatch.undo()


def test_other_ranks_name_themselves(stopped, caplog):
    """Their warnings are not shown: only the rank that stands still knows why all of them wait."""
    loader, batches, _ = stopped
    told = []

    def give_up():
        told.extend(record for record in caplog.records if record.levelno == logging.ERROR)
        if told:
            raise TimeoutError

    with loader.waiting.checked(give_up, rank=3), pytest.raises(TimeoutError):
        list(batches)
    assert told[0].getMessage().startswith("rank 3: waiting for clips for ")


def test_a_wait_for_a_worker_without_clips_is_told_too(splits, monkeypatch, caplog):
    """With more workers than videos in a batch, the line itself ended the run with a traceback."""
    monkeypatch.setattr(waiting_module, "POLL", 0.1)
    monkeypatch.setattr(waiting_module, "FIRST_LINE", 0.5)
    loader = training(splits, requests(32, 1), workers=2)
    batches = iter(loader)
    kept(islice(batches, 1))
    os.kill(loader._workers[1].pid, signal.SIGSTOP)  # it gets empty parts of some batches
    until = time.monotonic() + 3

    def give_up():
        if time.monotonic() > until:
            raise TimeoutError("no more")

    try:
        with loader.waiting.checked(give_up), caplog.at_level(logging.WARNING, "srtg"), pytest.raises(TimeoutError):
            kept(batches)
    finally:
        loader.close()
    assert "waiting for clips for " in caplog.text


def test_a_loader_that_another_thread_ends_disturbs_no_one(stopped):
    """torch reported the workers that were killed as a failure, wherever the main thread was."""
    loader, _, _ = stopped
    thread = threading.Thread(target=loader.close)
    thread.start()
    while thread.is_alive():
        time.sleep(0.05)
    thread.join()
