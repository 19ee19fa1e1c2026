"""`python -m train.plot_scores` on the score files of two runs: a table, a picture, and one line for a mistake."""

import os
import re
import subprocess
import sys

import pytest

from common.cli import run_command
from data.clips.types import BadVideo
from evaluate.evaluation import Evaluation
from tests.processes import ROOT
from tests.runs import evaluation, make_scores
from train.monitor.curves import main, plt
from train.monitor.reports import EpochReport
from train.monitor.score_files import ScoreFiles

TOP1 = {"plain": (10, 40, 30), "gated": (20, 50, 60, 55)}  # of each epoch's validation, in percent


def report(epoch: int, val: Evaluation) -> EpochReport:
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
            files.on_epoch(report(epoch, evaluation(120.0, top1, 90, 100)))
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


def test_the_last_epoch_is_the_last_one_in_any_order_of_rows(runs, monkeypatch, capsys):
    """A spreadsheet that sorted the file by top-1 would make the best epoch the last one."""
    for name in ("scores_train.csv", "scores_val.csv"):
        header, *lines = (runs[1] / name).read_text().splitlines()
        (runs[1] / name).write_text("\n".join([header, *sorted(lines, key=lambda line: line.split(",")[3])]))
    _, out, _ = plot(monkeypatch, capsys, runs[1])
    assert re.search(r"gated +4 .*\b55\.00 % +60\.00 % in epoch 3", out)


VALIDATION = {"clip": "4x32x32", "interval": 2, "clips_per_video": 1, "video_list": "v0a"}


def test_a_validation_that_changed_is_marked(tmp_path, monkeypatch, capsys):
    """A resume with other labels or clips made one curve of scores that cannot be compared, and a best of all."""
    (tmp_path / "run").mkdir()
    validations = [
        None,
        None,
        VALIDATION,
        VALIDATION | {"video_list": "v1b"},
        VALIDATION | {"video_list": "v1b", "clips_per_video": 3},
    ]
    for epoch, (validation, examples) in enumerate(zip(validations, (90, 100, 100, 100, 100), strict=True), start=1):
        ScoreFiles(tmp_path / "run", validation).on_epoch(report(epoch, evaluation(120.0, 90 - epoch, 90, examples)))
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    status, out, _ = plot(monkeypatch, capsys, tmp_path / "run", "--output", tmp_path / "x.png")
    notes = [line for line in out.splitlines() if line.startswith("run: ")]
    found = [re.search(r"other (.*) from epoch (\d)", note).groups() for note in notes]
    assert (status, found) == (0, [("videos", "2"), ("videos", "4"), ("clips", "5")])
    assert "85.00 % in epoch 5" in out  # not epoch 1, which is of other videos
    for axis in figures[0].axes:
        assert [text.get_text() for text in axis.texts] == ["other videos", "other videos", "other clips"]
        solid = [list(line.get_xdata()) for line in axis.lines if line.get_linestyle() == "-"]
        assert solid == [[1], [2, 3], [4], [5]]


def test_runs_validated_on_other_videos_or_clips_are_named(tmp_path, monkeypatch, capsys):
    """A table of runs is what one publishes: the labels or clips may have changed between two of them."""
    others = {
        "first": VALIDATION,
        "same": VALIDATION,
        "list": VALIDATION | {"video_list": "v1b"},
        "views": VALIDATION | {"clips_per_video": 3},
    }
    for name, validation in others.items():
        (tmp_path / name).mkdir()
        ScoreFiles(tmp_path / name, validation).on_epoch(report(1, evaluation(120.0, 30, 90, 100)))
    figures = []
    monkeypatch.setattr(plt, "close", figures.append)
    folders = [tmp_path / name for name in others]
    status, out, _ = plot(monkeypatch, capsys, *folders, "--output", tmp_path / "x.png")
    found = re.findall(r"^(\w+): validated on other (\w+) than first", out, re.MULTILINE)
    assert (status, found) == (0, [("list", "videos"), ("views", "clips")])
    legend = [text.get_text() for text in figures[0].axes[1].get_legend().get_texts()]
    assert [text for text in legend if "other" in text] == [
        "list, validation (other videos)",
        "views, validation (other clips)",
    ]


def test_averages_of_weights_interrupt_a_curve_but_are_compared_between_runs(tmp_path, monkeypatch, capsys):
    """Within a run they begin a new best; whether an average is better than none is what a table of runs is for."""
    with_scale = VALIDATION | {"crop_scale": "1.14844", "weights": "raw"}
    average = {"weights": "ema 0.99"}
    changes = [VALIDATION, with_scale, with_scale | average, with_scale | average | {"crop_scale": "6"}]
    (tmp_path / "run").mkdir()
    for epoch, validation in enumerate(changes, start=1):
        ScoreFiles(tmp_path / "run", validation).on_epoch(report(epoch, evaluation(120.0, 90 - epoch, 90, 100)))
    for name, validation in {"first": with_scale, "old": VALIDATION, "average": with_scale | average}.items():
        (tmp_path / name).mkdir()
        ScoreFiles(tmp_path / name, validation).on_epoch(report(1, evaluation(120.0, 30, 90, 100)))
    _, out, _ = plot(monkeypatch, capsys, *(tmp_path / name for name in ("first", "old", "average", "run")))
    found = re.findall(r"^(\w+): validated on other (\w+) (?:from epoch (\d)|than first)", out, re.MULTILINE)
    assert found == [("run", "averages", "3"), ("run", "clips", "4"), ("run", "clips", "")]
    assert "86.00 % in epoch 4" in out


def test_a_validation_that_stayed_the_same_has_no_mark(runs, tmp_path, monkeypatch, capsys):
    """Also if some of its videos could not be read, and after a spreadsheet or an older version wrote the file."""
    files = ScoreFiles(runs[0], VALIDATION)
    files.on_epoch(report(4, evaluation(120.0, 30, 90, 99, (BadVideo(7, "damaged", None),))))
    files.on_epoch(report(5, evaluation(120.0, 30, 90, 100)))
    assert "other" not in plot(monkeypatch, capsys, runs[0])[1]
    path = runs[0] / "scores_val.csv"
    path.write_text(path.read_text().replace(",100,0", ",,"))
    assert plot(monkeypatch, capsys, runs[0])[1].count("other") == 0


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
    "no seconds": damage("epoch,loss,top1\n1,2,3\n"),
    "a pipe": lambda run: ((run / "scores_train.csv").unlink(), os.mkfifo(run / "scores_train.csv")),
    "2 GiB": lambda run: os.truncate(run / "scores_train.csv", 2**31),
    "binary": lambda run: (run / "scores_train.csv").write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_folder_without_whole_score_files_is_one_line_that_names_the_file(runs, tmp_path, monkeypatch, capsys, name):
    """A traceback of the csv module would not say which of many runs is damaged."""
    MISTAKES[name](runs[1])
    status, out, error = plot(monkeypatch, capsys, runs[1], "--output", tmp_path / "curves.png")
    assert status == 2 and not out
    assert error.count("\n") == 1 and str(runs[1] / "scores_train.csv") in error
    assert not (tmp_path / "curves.png").exists()
    # The other runs are drawn, and the status tells that one is missing.
    status, out, error = plot(monkeypatch, capsys, *runs, "--output", tmp_path / "curves.png")
    assert status == 1 and "plain" in out and "gated" not in out
    assert error.count("\n") == 1 and str(runs[1] / "scores_train.csv") in error
    assert (tmp_path / "curves.png").exists()


def test_two_runs_of_the_same_name_are_two_curves(runs, tmp_path, monkeypatch, capsys):
    """Runs of different datasets have the same folder name; one would silently replace the other."""
    (tmp_path / "other" / "plain").mkdir(parents=True)
    for path in runs[1].iterdir():
        (tmp_path / "other" / "plain" / path.name).write_bytes(path.read_bytes())
    both = (runs[0], tmp_path / "other" / "plain")
    status, out, _ = plot(monkeypatch, capsys, *both, "--output", tmp_path / "curves.png")
    assert status == 0 and "40.00 % in epoch 2" in out and "60.00 % in epoch 3" in out
    monkeypatch.chdir(runs[0])
    status, out, _ = plot(monkeypatch, capsys, ".", "--output", tmp_path / "curves.png")
    assert status == 0 and out.split("plain")[1:]


def test_a_score_that_is_not_a_number_is_never_the_best(runs, tmp_path, monkeypatch, capsys):
    path = runs[0] / "scores_val.csv"
    path.write_text("\ufeff" + path.read_text().replace("10.0000", "nan", 1))  # also with a spreadsheet's mark
    status, out, _ = plot(monkeypatch, capsys, runs[0], "--output", tmp_path / "curves.png")
    assert status == 0 and "40.00 % in epoch 2" in out
    assert "plain: the validation has no loss or top-1 in 1 of 3 epochs, the first of them 1" in out
    assert "the training has no" not in out


@pytest.mark.parametrize("score", ["5000", "-1", "inf"])
def test_a_score_that_is_no_percentage_is_refused(runs, monkeypatch, capsys, score):
    """It was shown as the best top-1."""
    path = runs[0] / "scores_val.csv"
    path.write_text(path.read_text().replace("40.0000", score, 1))
    status, out, error = plot(monkeypatch, capsys, *runs)
    assert status == 1 and "gated" in out and "plain" not in out
    assert f"{path} is not a score file" in error and f"row 2 has '{score}' as top1" in error


def test_a_picture_that_cannot_be_written_is_one_line(runs, tmp_path, monkeypatch, capsys):
    (tmp_path / "folder.png").mkdir()
    for output in (tmp_path / "folder.png", runs[0] / "scores_val.csv" / "curves.png"):
        status, _, error = plot(monkeypatch, capsys, runs[0], "--output", output)
        assert status == 2
        assert error.count("\n") == 1 and str(output) in error and "--output" in error


def test_a_reader_that_ends_early_changes_nothing(runs, tmp_path):
    """`| head` is how a long table is looked at; the picture must be drawn all the same."""
    command = [sys.executable, "-m", "train.plot_scores", *runs, "--output", tmp_path / "curves.png"]
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "curves.png").exists()


def test_a_wrong_suffix_is_one_line_that_names_the_file(runs, tmp_path, monkeypatch, capsys):
    status, _, error = plot(monkeypatch, capsys, *runs, "--output", tmp_path / "curves.doc")
    assert status == 2
    assert error.count("\n") == 1 and f"--output {tmp_path / 'curves.doc'}" in error and ".png" in error


def test_names_of_runs_cannot_steer_the_terminal(runs, monkeypatch, capsys):
    """A folder that somebody gave could clear the screen, or show scores that no run has."""
    odd = runs[0].rename(runs[0].with_name("plain\x1b[2J"))
    broken = runs[1].rename(runs[1].with_name("gated\x1b[2J"))
    (broken / "scores_val.csv").write_text("nothing")
    status, out, err = plot(monkeypatch, capsys, odd, broken)
    assert status == 1 and "\x1b" not in out + err
    assert "plain\\x1b[2J" in out and "gated\\x1b[2J" in err
