"""Rows of the score files that are of another attempt than the checkpoint that is resumed."""

import logging

import pytest

from train.monitor.score_files import drop_rows

REPORTED = [[1, 1.5000001, 1.25], [2, 1.1234564, None], [3, 0.5, 0.75]]


def write(folder, train, val):
    for name, losses in (("train", train), ("val", val)):
        rows = [f"{epoch},{loss}" for epoch, loss in losses.items()]
        (folder / f"scores_{name}.csv").write_text("\n".join(["epoch,loss", *rows]) + "\n")


def epochs(folder, name):
    return [int(line.split(",")[0]) for line in (folder / f"scores_{name}.csv").read_text().splitlines()[1:]]


@pytest.mark.parametrize("reported", [REPORTED, []])
@pytest.mark.parametrize(
    ("train", "val"),
    [
        ({1: "1.500000", 2: "1.123456", 3: "0.500000"}, {1: "1.250000", 3: "0.750000"}),
        ({3: "0.5", 1: "1.5", 2: "1.12"}, {3: "0.75", 1: "1.3"}),  # of a spreadsheet
        ({1: "1.5", 2: "1.12E+00", 3: "5E-1"}, {1: "", 3: "nan"}),
        ({1: "1.50000000", 2: "1.12345600", 3: "0.50000000"}, {1: "1.2500000000", 3: "0.7500000"}),  # of pandas
        ({1: "1.5", 2: "1.1", 3: "0.5", 4: "9"}, {1: "1.25", 3: "0.8", 4: "9"}),  # killed before its checkpoint
    ],
)
def test_rows_of_the_run_stay(tmp_path, caplog, train, val, reported):
    """A false alarm would throw scores away at each restart of a job."""
    write(tmp_path, train, val)
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=reported)
    assert sorted(epochs(tmp_path, "train")) == [1, 2, 3] and sorted(epochs(tmp_path, "val")) == [1, 3]
    assert not caplog.records


@pytest.mark.parametrize(
    ("val", "kept"),
    [
        ({1: "1.250000", 2: "9", 3: "0.750000"}, [1]),  # this attempt has not validated epoch 2
        ({1: "1.250000", 3: "0.750002"}, [1]),
        ({1: "1.25", 3: "0.8", 2: "1.1"}, [1]),
        ({1: "1.26", 3: "0.75"}, []),
        ({1: "1e999999", 3: "0.75"}, []),
    ],
)
def test_from_the_first_other_loss_on_rows_are_of_another_attempt(tmp_path, caplog, val, kept):
    """They are kept beside, and the log says which epochs have none now."""
    write(tmp_path, {1: "1.5", 2: "1.123456", 3: "0.5"}, val)
    (copy,) = drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED)
    assert copy.name == "scores_val.csv.abandoned" and len(copy.read_text().splitlines()) == 1 + len(val)
    assert epochs(tmp_path, "train") == [1, 2, 3] and epochs(tmp_path, "val") == kept
    (record,) = caplog.records
    missing = "epoch 3" if kept else "epochs 1 to 3"
    assert record.levelno == logging.WARNING and f"no rows of {missing} of this run in scores_val.csv" in record.message


def test_a_checkpoint_of_an_older_version_tells_only_epochs_without_a_row(tmp_path, caplog):
    """It has no losses, but it has trained in each epoch."""
    write(tmp_path, {1: "1", 2: "2"}, {1: "1", 2: "2"})
    assert not drop_rows(tmp_path, 5, keep_copies=False)
    assert epochs(tmp_path, "train") == [1, 2]
    (record,) = caplog.records
    assert "no rows of epochs 3 to 4 of this run in scores_train.csv:" in record.message


@pytest.mark.parametrize("losses", [("1.5", "1.25"), ("9", "9")])
def test_a_checkpoint_whose_first_epochs_are_of_an_older_version_raises_no_alarm(tmp_path, caplog, losses):
    """It has the losses of its last epochs alone: rows of the epochs before may be any, and stay."""
    train, val = losses
    write(tmp_path, {1: train, 2: train, 3: "0.500000"}, {1: val, 2: val, 3: "0.750000"})
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED[2:])
    assert epochs(tmp_path, "train") == epochs(tmp_path, "val") == [1, 2, 3]
    assert not caplog.records


def test_score_files_that_are_not_there_are_no_gap(tmp_path, caplog):
    """Who resumes a checkpoint in a new folder knows that its scores begin there."""
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED)
    assert not caplog.records and not list(tmp_path.iterdir())
