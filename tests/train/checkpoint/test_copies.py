"""Copies of a run's folder that go on apart: what a resume finds of the other one is not taken for its own."""

import json
import shutil

import pytest

from network.weights.reading import read_checkpoint
from tests.runs import LAST, RUN, TINY, TINY_FLAGS, rows, scores
from train.report.events import event_files, read_scalars

FILES = ("scores_train.csv", "scores_val.csv")


def trained(server, dataset, folder, name, epochs, *flags):
    """The output of a run of the folder `name` that goes on to the end of `epochs`."""
    flags = (*TINY_FLAGS, "--workers", 0, "--lr-steps", 9, "--model-dir", name, "--resume-epoch", "auto", *flags)
    process = server.start(TINY, "--dataset", dataset, "--end-epoch", epochs, *flags, folder=folder)
    assert process.wait() == 0, process.output()
    return process.stdout


@pytest.fixture(scope="module")
def copies(_server, small_dataset, tmp_path_factory):
    """A run of 4 epochs, and a copy of it after epoch 2 that went on to epoch 6 at another rate."""
    folder = tmp_path_factory.mktemp("copies")
    trained(_server, small_dataset, folder, "one", 2, "--keep", 0)
    shutil.copytree(folder / "one", folder / "copy")
    trained(_server, small_dataset, folder, "one", 4)
    trained(_server, small_dataset, folder, "copy", 4, "--lr-base", 0.001)
    shutil.copytree(folder / "copy", folder / "copy4")
    trained(_server, small_dataset, folder, "copy", 6, "--lr-base", 0.001)
    return folder


def mixed(copies, tmp_path, source, *names):
    """The first run's folder with these checkpoints of the copy `source`, or with all of them."""
    shutil.copytree(copies / "one", tmp_path / "mixed")
    run = tmp_path / "mixed" / RUN
    for path in (copies / source / RUN).glob("*.pth"):
        if not names or path.name in names:
            shutil.copyfile(path, run / path.name)
    return run


def epochs_of(path):
    return [int(row["epoch"]) for row in rows(path)]


@pytest.mark.parametrize(("source", "end"), [("copy", 6), ("copy4", 4)])
def test_scores_of_another_attempt_do_not_stay_among_those_of_the_checkpoints(
    server, small_dataset, tmp_path, copies, source, end
):
    """They would be plotted, and published, as those of weights that they are not of; also without a gap."""
    run = mixed(copies, tmp_path, source)
    before = {name: (run / name).read_text() for name in FILES}
    output = trained(server, small_dataset, tmp_path, "mixed", end + 1, "--lr-base", 0.001)
    for name in FILES:
        assert epochs_of(run / name) == [1, 2, end + 1]
        assert (run / f"{name}.abandoned").read_text() == before[name]
        assert rows(run / name)[:2] == rows(copies / source / RUN / name)[:2]
    (line,) = [line for line in output.splitlines() if "no rows of" in line]
    assert f"epochs 3 to {end} of this run in scores_train.csv and scores_val.csv" in line
    assert "scores_train.csv.abandoned, scores_val.csv.abandoned" in output
    points = read_scalars(event_files(run / "tensorboard"), ("val/top1",))["val/top1"]
    assert [step for step, *_ in points] == [int(row["step"]) for row in rows(run / FILES[1])]
    assert "tensorboard holds points that are not of this run, after step" in output
    again = trained(server, small_dataset, tmp_path, "mixed", end + 2, "--lr-base", 0.001)
    assert "no rows of" not in again  # it is told once
    assert len(list(run.glob("*.abandoned*"))) == 2


def test_epochs_that_the_score_files_lack_are_told(server, small_dataset, tmp_path, copies):
    """The checkpoints of the same attempt, but later ones: all rows are of it, and some are not there."""
    run = mixed(copies, tmp_path, "copy")
    for name in FILES:
        shutil.copyfile(copies / "copy4" / RUN / name, run / name)
    output = trained(server, small_dataset, tmp_path, "mixed", 7, "--lr-base", 0.001)
    assert "no rows of epochs 5 to 6 of this run in scores_train.csv and scores_val.csv" in output
    assert epochs_of(run / "scores_val.csv") == [1, 2, 3, 4, 7]
    assert not list(run.glob("*.abandoned"))


def test_checkpoints_of_another_attempt_are_moved_aside(server, small_dataset, tmp_path, copies):
    """An epoch's file would be evaluated as that of this run, and resumed from."""
    run = mixed(copies, tmp_path, "copy", LAST)
    trained(server, small_dataset, tmp_path, "mixed", 7, "--lr-base", 0.001)
    moved = {path.name for path in run.glob("*.pth.abandoned")}
    assert {"srtg_tiny_ep-0003.pth.abandoned", "srtg_tiny_ep-0004.pth.abandoned"} <= moved
    assert {path.name for path in run.glob("*_ep-*.pth")} == {f"srtg_tiny_ep-000{epoch}.pth" for epoch in (1, 2, 7)}


def test_a_finished_run_gives_no_scores_of_another_attempt(server, small_dataset, tmp_path, copies):
    """The JSON line of `copy4` would have the scores of the first run's epoch 4."""
    mixed(copies, tmp_path, "copy4")
    output = trained(server, small_dataset, tmp_path, "mixed", 4, "--lr-base", 0.001)
    _, _, loss, _, scores = read_checkpoint(tmp_path / "mixed" / RUN / LAST)["progress"]["reported"][-1]
    result = json.loads(output.splitlines()[-1])
    assert "epoch 4 is of another attempt" in output and result["loss"] == loss and result["top1"] == scores["top1"]
    shutil.copytree(copies / "copy4", tmp_path / "whole")
    output = trained(server, small_dataset, tmp_path, "whole", 4, "--lr-base", 0.001)
    assert "attempt" not in output and "loss" in json.loads(output.splitlines()[-1])


def test_a_copy_with_its_own_scores_goes_on_in_silence(server, small_dataset, tmp_path, copies):
    """Also where a spreadsheet sorted and rounded the rows, and not each epoch was validated."""
    shutil.copytree(copies / "copy4", tmp_path / "own")
    trained(server, small_dataset, tmp_path, "own", 7, "--lr-base", 0.001, "--val-frequency", 3)
    run = tmp_path / "own" / RUN
    path = run / "scores_val.csv"
    header, *lines = path.read_text().splitlines()
    column = header.split(",").index("loss")
    cells = [line.split(",") for line in lines]
    for row in cells:
        row[column] = f"{float(row[column]):.2f}".rstrip("0")
    path.write_text("\n".join([header, *(",".join(row) for row in reversed(cells))]) + "\n")
    output = trained(server, small_dataset, tmp_path, "own", 8, "--lr-base", 0.001)
    assert "no rows of" not in output and not list(run.glob("*.abandoned"))
    assert epochs_of(path) == [1, 2, 3, 4, 6, 7, 8]
    assert epochs_of(run / "scores_train.csv") == [*range(1, 9)]
    losses = {epoch: val for epoch, _, val, *_ in read_checkpoint(run / LAST)["progress"]["reported"]}
    assert {int(row["epoch"]): float(row["loss"]) for row in rows(path)} == pytest.approx(
        {epoch: loss for epoch, loss in losses.items() if loss is not None}, abs=0.006
    )
    assert len(scores(run)) == 15
