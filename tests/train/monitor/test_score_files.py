"""Rows of the score files that are of another attempt than the checkpoint that is resumed."""

import logging
import tracemalloc

import pytest

from common.files import OtherFileError
from evaluate.metrics import Scores
from tests.runs import make_scores
from train.checkpoint.progress import Progress
from train.monitor.reported import SPLITS, is_reported, rows_of_others
from train.monitor.score_files import FILES, drop_rows, epoch_of, parse_rows, scores_of_epoch

SPLITS_OF = list(zip(FILES, SPLITS, strict=True))

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
    assert drop_rows(tmp_path, 4, keep_copies=False, reported=reported) == ([], None)
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
    (copy,), own_steps = drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED)
    assert own_steps is None  # as those of training say
    assert copy.name == "scores_val.csv.abandoned" and len(copy.read_text().splitlines()) == 1 + len(val)
    assert epochs(tmp_path, "train") == [1, 2, 3] and epochs(tmp_path, "val") == kept
    (record,) = caplog.records
    missing = "epoch 3" if kept else "epochs 1 to 3"
    assert record.levelno == logging.WARNING and f"no rows of {missing} of this run in scores_val.csv" in record.message


@pytest.mark.parametrize(
    ("train", "val", "steps"),
    [
        ("1,10,1.5\n2,20,9\n3,30,9", "", 10),
        ("1,10,1.5\n2,20,1.123456\n3,30,9", "1,10,9", 20),
        ("1,10,9\n2,20,1.12", "", 0),
        ("1,,1.5\n2,20,9", "", 0),
        ("1,x,1.5\n2,20,9", "", 0),
        ("", "1,10,1.25\n3,30,9", 10),
    ],
)
def test_the_steps_before_another_attempt_are_told(tmp_path, caplog, train, val, steps):
    """TensorBoard showed the other attempt's points in one curve with those of this one."""
    for name, text in (("train", train), ("val", val)):
        (tmp_path / f"scores_{name}.csv").write_text(f"epoch,step,loss\n{text}\n")
    assert drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED).own_steps == steps


def test_a_checkpoint_of_an_older_version_tells_only_epochs_without_a_row(tmp_path, caplog):
    """It has no losses, but it has trained in each epoch."""
    write(tmp_path, {1: "1", 2: "2"}, {1: "1", 2: "2"})
    assert not drop_rows(tmp_path, 5, keep_copies=False).copies
    assert epochs(tmp_path, "train") == [1, 2]
    (record,) = caplog.records
    assert "no rows of epochs 3 to 4 of this run in scores_train.csv:" in record.message


def test_a_checkpoint_that_says_a_huge_epoch_takes_no_memory(tmp_path, caplog):
    """Its epochs were listed: 40 GB for an epoch of a thousand million, which one byte of a file can make."""
    write(tmp_path, {1: "1", 2: "2"}, {1: "1", 2: "2"})
    tracemalloc.start()
    drop_rows(tmp_path, 10**6, keep_copies=False)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 2**22 and "no rows of epochs 3 to 999999 of this run" in caplog.text


@pytest.mark.parametrize("losses", [("1.5", "1.25"), ("9", "9")])
def test_a_checkpoint_whose_first_epochs_are_of_an_older_version_raises_no_alarm(tmp_path, caplog, losses):
    """It has the losses of its last epochs alone: rows of the epochs before may be any, and stay."""
    train, val = losses
    write(tmp_path, {1: train, 2: train, 3: "0.500000"}, {1: val, 2: val, 3: "0.750000"})
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED[2:]).copies
    assert epochs(tmp_path, "train") == epochs(tmp_path, "val") == [1, 2, 3]
    assert not caplog.records


def test_score_files_that_are_not_there_are_no_gap(tmp_path, caplog):
    """Who resumes a checkpoint in a new folder knows that its scores begin there."""
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED).copies
    assert not caplog.records and not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_emptied", [True, False], ids=["emptied", "deleted"])
def test_a_score_file_without_rows_beside_one_with_rows_is_a_gap(tmp_path, caplog, is_emptied):
    """Plots and reports began at the resume, and nothing said that epochs before it were gone."""
    write(tmp_path, {1: "1.5", 2: "1.123456", 3: "0.5"}, {1: "1.25", 3: "0.75"})
    path = tmp_path / "scores_train.csv"
    path.write_text("") if is_emptied else path.unlink()
    drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED)
    assert "no rows of epochs 1 to 3 of this run in scores_train.csv:" in caplog.text
    assert len(caplog.records) == 1 + is_emptied


WITH_SCORES = [
    [1, 1.5, 1.25, {"top1": 12.5}, {"top1": 33.33333, "mean_class": 30.0}],
    [2, 1.1234564, None, {"top1": 50.0}, {}],
    [3, 0.5, 0.75, {"top1": 100.0}, {"top1": 66.66667, "mean_class": 60.0}],
]


def write_top1(folder, train, val):
    write(
        folder,
        {1: f"1.5,{train[0]}", 2: "1.123456,50", 3: f"0.5,{train[1]}"},
        {1: f"1.25,{val[0]}", 3: f"0.75,{val[1]}"},
    )
    for name in FILES:
        text = (folder / name).read_text()
        (folder / name).write_text(text.replace("epoch,loss", "epoch,loss,top1", 1))


def top1_of(folder, name):
    return {epoch_of(row): row["top1"] for row in parse_rows(folder / name, ())}


@pytest.mark.parametrize(("train", "val"), [(("12.5", "1E+2"), ("33.3", "")), (("12.5000", "100"), ("33.3333", "67"))])
def test_accuracies_as_a_spreadsheet_tells_them_are_the_run_s(tmp_path, caplog, train, val):
    """A false alarm at each restart of a job would be read by nobody."""
    write_top1(tmp_path, train, val)
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=WITH_SCORES).copies
    assert scores_of_epoch(tmp_path, 3, WITH_SCORES) == {"loss": 0.75, **WITH_SCORES[2][4]}
    assert not any(rows_of_others(parse_rows(tmp_path / name, ()), WITH_SCORES, split) for name, split in SPLITS_OF)
    assert not caplog.records and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("name", FILES)
def test_an_edited_accuracy_is_not_the_run_s(tmp_path, caplog, name):
    """The JSON line of the run, its table and its curves gave it as their own; the loss beside it was right."""
    write_top1(
        tmp_path, ("12.5", "1E+02" if name == FILES[1] else "99"), ("33.3333", "90.5" if name == FILES[1] else "66.7")
    )
    found = {each: rows_of_others(parse_rows(tmp_path / each, ()), WITH_SCORES, split) for each, split in SPLITS_OF}
    assert found == {each: "top1 of epoch 3" if each == name else "" for each in FILES}
    scores = scores_of_epoch(tmp_path, 3, WITH_SCORES)
    assert scores == {"loss": 0.75, "top1": 66.66667, "mean_class": 60.0}
    assert ("another top1, as if edited; those of the checkpoint are given" in caplog.text) == (name == FILES[1])
    caplog.clear()
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=WITH_SCORES).copies
    own = {FILES[0]: {1: "12.5", 2: "50", 3: "100.0000"}, FILES[1]: {1: "33.3333", 3: "66.6667"}}
    assert top1_of(tmp_path, name) == own[name]
    (record,) = caplog.records
    assert "top1 of epoch 3" in record.message and f"{name}.edited" in record.message
    assert top1_of(tmp_path, f"{name}.edited")[3] in ("99", "90.5")
    caplog.clear()
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=WITH_SCORES).copies and not caplog.records


def test_epochs_of_an_older_version_have_their_losses_alone(tmp_path, caplog):
    """Its checkpoints still resume, and nothing tells whether an accuracy was edited."""
    write_top1(tmp_path, ("12.5", "100"), ("33.3333", "90.5"))
    assert all(map(is_reported, [*REPORTED, *WITH_SCORES]))
    assert not drop_rows(tmp_path, 4, keep_copies=False, reported=REPORTED).copies
    assert scores_of_epoch(tmp_path, 3, REPORTED) == {"loss": 0.75, "top1": 90.5} and not caplog.records


def test_a_file_without_bound_is_not_read(tmp_path):
    """Of 64 MB, a resume and a table took half a minute before a word was said."""
    write(tmp_path, {1: "1.5"}, {1: "1.25"})
    with (tmp_path / FILES[0]).open("a") as file:
        file.write("2,1.5\n" * 1_500_000)
    with pytest.raises(OtherFileError):
        parse_rows(tmp_path / FILES[0], ())


def test_an_epoch_is_kept_with_all_scores():
    """A score that was not counted, as in a run that goes on from an older version, is left out."""
    val = Scores(4.0, {"loss": (3.0,), "top1": (3.0,), "mean_class": (1.0, 2.0, 2.0, 2.0)})
    progress = Progress(scores=make_scores(2.5, 1, 2, 4))
    progress.next_epoch(val)
    (entry,) = progress.reported
    assert entry == [1, 0.625, 0.75, {"top1": 25.0, "top5": 50.0}, {"top1": 75.0, "mean_class": 75.0}]
    assert is_reported(entry) and not is_reported([*entry[:4], {"top1": float("nan")}])
