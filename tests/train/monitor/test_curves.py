"""`python -m train.plot_scores` on the score files of two runs: a table, a picture, and one line for a mistake."""

import re
import sys

import pytest

from common.cli import run_command
from evaluate.metrics import Scores
from tests.runs import make_scores
from train.monitor.curves import main
from train.monitor.reports import EpochReport
from train.monitor.score_files import ScoreFiles

TOP1 = {"plain": (10, 40, 30), "gated": (20, 50, 60, 55)}  # of each epoch's validation, in percent


def report(epoch: int, val: Scores) -> EpochReport:
    return EpochReport(
        epoch=epoch, num_epochs=9, global_step=10 * epoch, lr=0.1, train=make_scores(150.0, 5, 70, 100), val=val,
        is_best=False, seconds=90.0, clips=100, repeated_frames=0, bad_videos=(), checkpoint=None,
    )  # fmt: skip


@pytest.fixture
def runs(tmp_path):
    """The folders of two runs with their score files."""
    for name, scores in TOP1.items():
        (tmp_path / name).mkdir()
        files = ScoreFiles(tmp_path / name)
        for epoch, top1 in enumerate(scores, start=1):
            files.on_epoch(report(epoch, make_scores(120.0, top1, 90, 100)))
    return [tmp_path / name for name in TOP1]


def plot(monkeypatch, capsys, *words):
    """Exit status, stdout and stderr of the command."""
    monkeypatch.setattr(sys, "argv", ["train.plot_scores", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        run_command(main)
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def test_the_table_names_the_runs_with_their_epochs_and_best_top_1(runs, tmp_path, monkeypatch, capsys):
    """Users compare runs by this table; the best epoch is seldom the last one."""
    output = tmp_path / "new" / "curves.png"
    status, out, _ = plot(monkeypatch, capsys, *runs, "--output", output)
    assert status == 0
    for name, facts in (("plain", "3 4.5 5.00 % 30.00 % 40.00 % 2"), ("gated", "4 6.0 5.00 % 55.00 % 60.00 % 3")):
        (row,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert re.findall(r"[\d.]+(?: %)?", row) == re.findall(r"[\d.]+(?: %)?", facts)
    assert str(output) in out
    assert output.read_bytes().startswith(b"\x89PNG") and [path.name for path in output.parent.iterdir()] == [
        output.name
    ]


def test_the_module_is_a_command(server, runs, tmp_path):
    """The documented name of the command, as a user types it."""
    process = server.start("-m", "train.plot_scores", *runs, "--output", tmp_path / "curves.svg", folder=tmp_path)
    assert process.wait() == 0, process.output()
    assert "<svg" in (tmp_path / "curves.svg").read_text()


def no_scores(run):
    for path in run.iterdir():
        path.unlink()


def damage(text):
    return lambda run: (run / "scores_train.csv").write_text(text)


MISTAKES = {
    "no scores": no_scores,
    "empty": damage(""),
    "header only": damage("epoch,step,loss,top1,seconds\n"),
    "not a number": damage("epoch,step,loss,top1,seconds\n1,10,1.2,x,3\n"),
    "another file": damage("<html>\n<body>\n"),
    "cut within a row": damage("epoch,loss,top1,seconds\n1,2,3,4\n2,1\n"),
    "too many cells": damage("epoch,loss,top1,seconds\n1,2,3,4,5\n"),
    "no top-1": damage("epoch,loss,seconds\n1,2,3\n"),
    "binary": lambda run: (run / "scores_train.csv").write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_folder_without_whole_score_files_is_one_line_that_names_the_file(runs, tmp_path, monkeypatch, capsys, name):
    """A traceback of the csv module would not say which of many runs is damaged."""
    MISTAKES[name](runs[1])
    status, out, error = plot(monkeypatch, capsys, *runs, "--output", tmp_path / "curves.png")
    assert status == 2 and not out
    assert error.count("\n") == 1 and str(runs[1] / "scores_train.csv") in error
    assert not (tmp_path / "curves.png").exists()


def test_a_wrong_suffix_is_one_line_that_names_the_file(runs, tmp_path, monkeypatch, capsys):
    status, _, error = plot(monkeypatch, capsys, *runs, "--output", tmp_path / "curves.doc")
    assert status == 2
    assert error.count("\n") == 1 and f"--output {tmp_path / 'curves.doc'}" in error and ".png" in error
