"""The reports of a run: console, score files, TensorBoard, progress bar."""

import csv
import errno
import io
import logging
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from common.errors import DataError
from common.logs import LOG, ConsoleHandler, log_table, log_to_file
from data.clips.types import BadVideo
from evaluate.metrics import METRICS
from tests.runs import evaluation, make_scores
from train.monitor.callbacks import ConsoleLog, ProgressBar, speed_text
from train.monitor.guarded import Guarded
from train.monitor.reports import EpochReport, LogReport, Speeds
from train.monitor.score_files import FILES, ScoreFiles, drop_rows, scores_of_epoch
from train.monitor.tensorboard import TensorBoardLog

SPEEDS = Speeds(read=153_000.0, forward=98.4, backward=17.8, clips=15.0, wait_share=0.034)
LOGGED = LogReport(
    epoch=3, num_epochs=120, step=20, steps=350, global_step=720, scores=make_scores(6.9, 1, 2, 4), speeds=SPEEDS,
    batch_shape=(48, 3, 16, 224, 224), lr=0.1, grad_norm=1.5, memory_bytes=0, skipped_updates=0, open_gates={},
)  # fmt: skip


@pytest.fixture(autouse=True)
def published_metrics(monkeypatch):
    """Loss, top-1 and top-5, whatever else the list has."""
    monkeypatch.setattr("evaluate.metrics.METRICS", [m for m in METRICS if m.name in ("loss", "top1", "top5")])


def epoch_report(epoch, val=True, **changes):
    report = EpochReport(
        epoch=epoch, num_epochs=9, global_step=10 * epoch, lr=0.1 / epoch, train=make_scores(8.0, 1, 3, 4),
        val=evaluation(2.5, 1, 2, 2) if val is True else val or None, is_best=False, seconds=12.5, clips=40,
        repeated_frames=0, bad_videos=(), checkpoint=None,
    )  # fmt: skip
    return replace(report, **changes)


@pytest.fixture
def console(monkeypatch):
    """What the log prints, colours included."""
    output = io.StringIO()
    handler = ConsoleHandler(Console(file=output, force_terminal=True, color_system="standard", width=300))
    monkeypatch.setattr(LOG, "handlers", [handler])
    monkeypatch.setattr(LOG, "propagate", False)
    monkeypatch.setattr(LOG, "level", logging.INFO)
    monkeypatch.setattr(LOG, "_cache", {})  # what is logged at the level of before
    return output


def plain(output):
    return re.sub(r"\x1b\[[0-9;]*m", "", output.getvalue())


def test_the_speed_has_the_original_s_form():
    """Scripts that parse the original's logs can parse these too."""
    assert speed_text(SPEEDS).plain == "Speed (r=1.53e+5 f=9.84e+1 b=1.78e+1)"
    slow = Speeds(read=0.0, forward=0.05, backward=1e10, clips=0.0, wait_share=1.0)
    assert speed_text(slow).plain == "Speed (r=0.00e+0 f=5.00e-2 b=1.00e+10)"


@pytest.mark.parametrize(
    ("read", "forward", "backward", "colours"),
    [
        (99.9, 49.9, 19.9, ["red"] * 3),
        (100, 50, 20, ["yellow"] * 3),
        (2999, 299, 199, ["yellow"] * 3),
        (3000, 300, 200, ["green"] * 3),
        (50, 100, 1000, ["red", "yellow", "green"]),
    ],
)
def test_colours_tell_slow_from_fast(read, forward, backward, colours):
    text = speed_text(Speeds(read, forward, backward, 1.0, 0.0))
    assert [str(span.style) for span in text.spans] == colours


def test_the_console_line_has_all_of_the_original_s_values(console):
    ConsoleLog().on_log(LOGGED)
    assert plain(console) == (
        "Epoch [003/120] Batch [0020/0350] Speed (r=1.53e+5 f=9.84e+1 b=1.78e+1) "
        "loss 1.7250 top-1 25.00% top-5 50.00%\n"
        "  (48, 3, 16, 224, 224) lr 1.00e-01 wait 3%\n"
    )
    assert "\x1b[32mr=1.53e+5" in console.getvalue()
    assert "\x1b[33m f=9.84e+1" in console.getvalue()
    assert "\x1b[31m b=1.78e+1" in console.getvalue()


def test_the_console_line_adds_memory_skipped_updates_and_gates_if_there_are_any(console):
    gates = {"layer1.0": 0.5, "layer2.0": 1.0}
    ConsoleLog().on_log(replace(LOGGED, memory_bytes=3 * 2**30, skipped_updates=2, open_gates=gates))
    assert plain(console).endswith("mem 3.0 GiB skipped updates 2 open gates 75%\n")


def test_lines_fit_120_columns(console):
    """A terminal breaks a wider line, sometimes within a number."""
    gates = {f"layer{stage}.{block}": 1.0 for stage in range(1, 5) for block in range(36)}
    wide = replace(
        LOGGED, num_epochs=358, step=51246, steps=51246, scores=make_scores(4e30, 4, 4, 4), memory_bytes=139 * 2**30,
        batch_shape=(4096, 3, 64, 320, 320), skipped_updates=99999, open_gates=gates,
    )  # fmt: skip
    wide_val = evaluation(2.0, 240_000, 240_000, 240_000)
    ConsoleLog().on_log(wide)
    ConsoleLog().on_epoch(
        epoch_report(358, num_epochs=358, seconds=86400.0, is_best=True, train=make_scores(4e30, 4, 4, 4),
                     val=replace(wide_val, sums=wide_val.sums | {"mean_class": (9.0, 1.0) * 2}))
    )  # fmt: skip
    lines = plain(console).splitlines()
    assert len(lines) == 4 and max(map(len, lines)) <= 120, lines


def test_the_epoch_s_line_and_what_was_replaced_in_it(console):
    """If replaced videos were not listed, the dataset would shrink silently."""
    bad = (BadVideo(7, "DIR/jpg/run/v_7/frames.db is damaged", 3),)
    ConsoleLog().on_epoch(epoch_report(2, is_best=True, repeated_frames=5, bad_videos=bad))
    text = plain(console)
    assert "Epoch [002/009] done in 12.5 s | train loss 2.0000 top-1 25.00% top-5 75.00%" in text
    assert "Epoch [002/009] validation loss 1.2500 top-1 50.00% top-5 100.00% (2 videos) best" in text
    assert re.search(r"^ *5 frames", text, re.MULTILINE)
    assert re.search(r"^ *1 videos", text, re.MULTILINE)
    assert re.search(r"video 7 .*video 3: DIR/jpg/run/v_7/frames\.db is damaged$", text, re.MULTILINE)


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_epoch_has_a_row_of_scores(tmp_path):
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    files.on_epoch(epoch_report(2, val=False))
    files.on_epoch(epoch_report(3))
    train, val = rows(tmp_path / "scores_train.csv"), rows(tmp_path / "scores_val.csv")
    assert [row["epoch"] for row in train] == ["1", "2", "3"]
    assert [row["epoch"] for row in val] == ["1", "3"]
    assert train[1] == {
        "epoch": "2", "step": "20", "lr": "0.05", "loss": "2.000000", "top1": "25.0000", "top5": "75.0000",
        "clips": "40", "seconds": "12.50", "repeated_frames": "0", "bad_videos": "0",
    }  # fmt: skip
    assert val[1] == {"epoch": "3", "step": "30", "loss": "1.250000", "top1": "50.0000", "top5": "100.0000",
                      "videos": "2", "bad_videos": "0"}  # fmt: skip


def test_a_run_resumed_at_an_earlier_epoch_replaces_its_rows(tmp_path):
    """Epochs that are trained again must not have two rows, nor rows of the earlier attempt."""
    for epoch in (1, 2, 3, 4):
        ScoreFiles(tmp_path).on_epoch(epoch_report(epoch))
    ScoreFiles(tmp_path).on_epoch(epoch_report(3, clips=7))
    for name in ("scores_train.csv", "scores_val.csv"):
        assert [row["epoch"] for row in rows(tmp_path / name)] == ["1", "2", "3"]
    assert [row["clips"] for row in rows(tmp_path / "scores_train.csv")] == ["40", "40", "7"]


def test_an_interrupted_write_leaves_the_old_rows(tmp_path, monkeypatch):
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    monkeypatch.setattr(csv.DictWriter, "writerows", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        files.on_epoch(epoch_report(2))
    assert [row["epoch"] for row in rows(tmp_path / "scores_train.csv")] == ["1"]
    assert {path.name for path in tmp_path.iterdir()} == {"scores_train.csv", "scores_val.csv"}


def scalars(folder):
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_tensorboard_has_a_curve_for_everything(tmp_path):
    board = TensorBoardLog(tmp_path, steps_done=0)
    board.on_log(replace(LOGGED, open_gates={"layer1.0": 0.5}, memory_bytes=2**31))
    board.on_epoch(epoch_report(72))
    board.close()
    found = scalars(tmp_path)
    assert set(found) == {
        "train/loss", "train/top1", "train/top5", "train/grad_norm", "train/skipped_updates",
        "val/loss", "val/top1", "val/top5",
        "schedule/lr", "schedule/epoch", "schedule/batch", "schedule/frames", "schedule/size",
        "speed/read", "speed/forward", "speed/backward", "speed/clips", "speed/wait_share",
        "memory/peak_gib", "open_gates/layer1.0",
    }  # fmt: skip
    assert all(step == 720 for values in found.values() for step, _ in values)
    expected = {"train/loss": 1.725, "schedule/batch": 48, "schedule/frames": 16, "schedule/size": 224,
                "memory/peak_gib": 2.0, "open_gates/layer1.0": 0.5, "val/top1": 50.0}  # fmt: skip
    for tag, value in expected.items():
        assert found[tag][0][1] == pytest.approx(value)


def test_a_resumed_run_drops_only_the_points_after_its_checkpoint_from_tensorboard(tmp_path):
    """A curve with two points for a step cannot be read; the point of the saved step itself must stay."""
    board = TensorBoardLog(tmp_path, steps_done=0)
    for step in (10, 20, 30, 40):
        board.on_log(replace(LOGGED, global_step=step, lr=1.0))
    board.on_epoch(epoch_report(2))
    board.close()
    board = TensorBoardLog(tmp_path, steps_done=20)
    for step in (30, 40):
        board.on_log(replace(LOGGED, global_step=step, lr=2.0))
    board.close()
    found = scalars(tmp_path)
    assert found["schedule/lr"] == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0)]
    assert [step for step, _ in found["val/top1"]] == [20]


@pytest.mark.parametrize("own_steps", [0, 10])
def test_points_of_another_run_are_dropped_from_tensorboard_with_a_line(tmp_path, caplog, monkeypatch, own_steps):
    """The curves of two runs were shown as one, where a run from elsewhere goes on in the folder of another."""
    monkeypatch.setattr(LOG, "propagate", True)
    for lr, steps in ((1.0, (10, 20, 30)), (2.0, (40, 50))):
        board = TensorBoardLog(tmp_path, steps_done=steps[0] - 10)
        board.keep_only(own_steps if lr == 2.0 else 0)
        assert ("points that are not of this run" in caplog.text) == (lr == 2.0)
        for step in steps:
            board.on_log(replace(LOGGED, global_step=step, lr=lr))
        board.close()
    own = [(10, 1.0)] if own_steps else []
    assert scalars(tmp_path)["schedule/lr"] == [*own, (40, 2.0), (50, 2.0)]
    assert ("after step 10" in caplog.text) == bool(own_steps)


def test_the_progress_bar_shows_on_a_terminal_only(console):
    for is_terminal in (True, False):
        output = io.StringIO()
        bar = ProgressBar(Console(file=output, force_terminal=is_terminal, width=80))
        for epoch in (1, 2):  # it must appear again after the end of an epoch
            output.truncate(0)
            for step in (1, 2):
                bar.on_step(step, 3)
            bar.on_log(replace(LOGGED, epoch=epoch, num_epochs=9))
            bar.progress.refresh()
            shown = output.getvalue()
            assert ("2/3" in shown) == is_terminal
            assert (f"epoch {epoch}/9" in shown) == is_terminal
            bar.on_step(3, 3)  # the validation that follows has its own bar
            with Progress(console=bar.progress.console):
                pass
            bar.on_epoch(epoch_report(epoch))
        bar.close()


def test_a_score_file_of_an_older_version_keeps_all_its_columns(tmp_path, monkeypatch):
    """A new metric is a new column; a resumed run must neither fail at old rows nor lose their columns."""
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    old = (tmp_path / "scores_val.csv").read_text().replace("bad_videos", "gone").replace(",2,0\n", ",2,x\n")
    (tmp_path / "scores_val.csv").write_text(old.replace(",top5", "").replace(",100.0000", ""), newline="")
    files.on_epoch(epoch_report(2))
    first, second = rows(tmp_path / "scores_val.csv")
    assert first["epoch"] == "1" and first["top5"] == "" and first["gone"] == "x" and first["videos"] == "2"
    assert second["top5"] == "100.0000" and second["gone"] == ""


def test_an_attempt_before_leaves_no_scores_among_those_of_the_next(tmp_path):
    """A run went back to epoch 2 and validates less often: the old scores of epochs 2 and 3 were plotted as its own."""
    files = ScoreFiles(tmp_path)
    for epoch in (1, 2, 3, 4):
        files.on_epoch(epoch_report(epoch))
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(2, val=False))
    assert [row["epoch"] for row in rows(tmp_path / "scores_train.csv")] == ["1", "2"]
    assert [row["epoch"] for row in rows(tmp_path / "scores_val.csv")] == ["1"]
    files.on_epoch(epoch_report(3, val=False))
    files.on_epoch(epoch_report(4))
    assert [row["epoch"] for row in rows(tmp_path / "scores_val.csv")] == ["1", "4"]
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1, val=False))
    assert rows(tmp_path / "scores_val.csv") == []
    files.on_epoch(epoch_report(2))
    assert rows(tmp_path / "scores_val.csv")[0]["top5"] == "100.0000"


def test_the_rows_of_an_attempt_that_is_given_up_are_kept_aside(tmp_path):
    """Its checkpoints are kept as .abandoned; the scores that tell which of them is good were deleted."""
    files = ScoreFiles(tmp_path)
    for epoch in (1, 2, 3):
        files.on_epoch(epoch_report(epoch))
    before = (tmp_path / "scores_val.csv").read_bytes()
    assert [path.name for path in drop_rows(tmp_path, 2, keep_copies=True).copies] == [
        f"{name}.abandoned" for name in FILES
    ]
    assert (tmp_path / "scores_val.csv.abandoned").read_bytes() == before
    for name in FILES:
        assert [row["epoch"] for row in rows(tmp_path / name)] == ["1"]
    assert drop_rows(tmp_path, 2, keep_copies=True).copies == []
    assert drop_rows(tmp_path / "new", 1, keep_copies=True).copies == []


def test_sorted_score_files_are_put_in_order_again(tmp_path):
    """A spreadsheet sorts by a score and saves; the newest rows must still be those of the last epochs."""
    files = ScoreFiles(tmp_path)
    for epoch in (1, 2, 3):
        files.on_epoch(epoch_report(epoch))
    header, *lines = (tmp_path / "scores_train.csv").read_text().splitlines()
    (tmp_path / "scores_train.csv").write_text("\n".join([header, *reversed(lines)]))
    files.on_epoch(epoch_report(3))
    assert [row["epoch"] for row in rows(tmp_path / "scores_train.csv")] == ["1", "2", "3"]


def test_a_table_in_the_log_file_has_no_colour_codes(monkeypatch):
    """They make the file unreadable in an editor, and grep blind."""
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    messages = []
    monkeypatch.setattr(LOG, "info", lambda message, extra: messages.append(message))
    table = Table(title="Plan")
    table.add_column("epoch", style="bold")
    table.add_row("1")
    log_table(table)
    assert "epoch" in messages[0] and "\x1b" not in messages[0]


def test_a_table_is_logged_where_standard_output_is_full(monkeypatch):
    """Ranks other than the first log no table, but one that failed to make its text ended the run."""
    messages = []
    monkeypatch.setattr(LOG, "info", lambda message, extra: messages.append(message))
    with Path("/dev/full").open("wb", buffering=0) as full, monkeypatch.context() as context:
        context.setattr("sys.stdout", io.TextIOWrapper(full, write_through=True))
        log_table(Table("epoch"))
    assert "epoch" in messages[0]


DAMAGES = {
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "UTF-16": lambda text: text.encode("utf-16"),
    "a row cut short": lambda text: text[:-20].encode(),
    "a row with more cells": lambda text: text.rstrip().encode() + b",9,9\n",
    "a column twice": lambda text: text.replace("seconds", "lr", 1).encode(),
    "no epoch": lambda text: text.replace("epoch", "e", 1).encode(),
    "an epoch twice": lambda text: (text + text.splitlines()[-1] + "\n").encode(),
    "an epoch that is no number": lambda text: re.sub(r"\n\d,", "\none,", text).encode(),
    "a top-1 that is no percentage": lambda text: re.sub(r"(\n(?:[^,]*,){4})[^,]*", r"\g<1>5000", text).encode(),
    "NULs": lambda text: bytes(200),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_score_file_is_kept_aside_and_a_new_one_begins(tmp_path, console, name):
    """A spreadsheet that saved the file must cost neither its rows nor, as before, every later epoch."""
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    for number, aside in enumerate(("scores_train.csv.damaged", "scores_train.csv.damaged-2"), start=2):
        damaged = DAMAGES[name]((tmp_path / "scores_train.csv").read_text())
        (tmp_path / "scores_train.csv").write_bytes(damaged)
        files.on_epoch(epoch_report(number))
        assert (tmp_path / aside).read_bytes() == damaged
        assert plain(console).count(f"it is now {aside}") == 1
        assert [row["epoch"] for row in rows(tmp_path / "scores_train.csv")] == [str(number)]
    assert [row["epoch"] for row in rows(tmp_path / "scores_val.csv")] == ["1", "2", "3"]


def test_a_pipe_or_a_huge_file_in_place_of_scores_is_moved_aside(tmp_path, console):
    """A pipe was waited for without end, and the memory of a huge file is not there in the middle of a run."""
    os.mkfifo(tmp_path / "scores_train.csv")
    (tmp_path / "scores_val.csv").touch()
    os.truncate(tmp_path / "scores_val.csv", 2**31)
    ScoreFiles(tmp_path).on_epoch(epoch_report(1))
    for name in ("scores_train.csv", "scores_val.csv"):
        assert [row["epoch"] for row in rows(tmp_path / name)] == ["1"]
        assert plain(console).count(f"it is now {name}.damaged") == 1
    assert (tmp_path / "scores_train.csv.damaged").is_fifo()


def test_a_log_is_appended_to_no_other_file(tmp_path):
    """--log-file with the path of a checkpoint or of labels: they would be damaged by the first line."""
    for name, content in (("net.pth", bytes(range(256)) * 9), ("notes.txt", b"mine\n")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} exists and is no log.*--log-file"):
            log_to_file(tmp_path / name)
        assert (tmp_path / name).read_bytes() == content


def test_a_pipe_in_place_of_the_log_is_one_line(tmp_path):
    """The run waited without a word until somebody read the pipe."""
    os.mkfifo(tmp_path / "train.log")
    with pytest.raises(DataError, match=r"train\.log is a pipe.*--log-file"):
        log_to_file(tmp_path / "train.log")


HARMLESS = {
    "a mark of a spreadsheet": lambda text: "\ufeff" + text,
    "an empty row": lambda text: text + ",,,,,,,,,\n\n",
    "a column more": lambda text: "\n".join(f"{line},x" for line in text.splitlines()) + "\n",
    "nothing yet": lambda text: text,
}


@pytest.mark.parametrize("name", HARMLESS)
def test_a_score_file_that_can_be_read_keeps_its_rows(tmp_path, name):
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    path = tmp_path / "scores_train.csv"
    path.write_text(HARMLESS[name](path.read_text()), newline="")
    files.on_epoch(epoch_report(2))
    assert [(row["epoch"], row["clips"]) for row in rows(path)] == [("1", "40"), ("2", "40")]
    assert not list(tmp_path.glob("*.damaged*"))


def test_a_score_file_that_was_emptied_is_told(tmp_path, caplog):
    """As a crash of the machine may leave it: the rows of the epochs before were gone without a word."""
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    path = tmp_path / "scores_train.csv"
    path.write_text("")
    files.on_epoch(epoch_report(2))
    assert [row["epoch"] for row in rows(path)] == ["2"]
    assert list(tmp_path.glob("*.damaged*")) and "no score file of a run" in caplog.text


class Failing:
    """A callback that cannot write until `works`."""

    works = False

    def __init__(self):
        self.reports = []

    def on_step(self, step, steps):
        self.on_log(step)

    def on_log(self, report):
        self.reports.append(report)
        if not self.works:
            raise OSError(errno.ENOSPC, "No space left on device", "curve.dat")

    def on_epoch(self, report):
        self.on_log(report)

    def close(self):
        self.on_log("closed")


def test_a_callback_that_fails_is_reported_once_and_tried_again(console):
    """A full disk for the curves must not end a run of weeks."""
    first, second = Failing(), Failing()
    second.works = True
    guarded = Guarded([first, second])
    for _ in range(3):
        guarded.on_step(1, 2)
        guarded.on_log(LOGGED)
    guarded.on_epoch(epoch_report(1))
    first.works = True
    guarded.close()
    assert plain(console).count("the disk is full (curve.dat)") == 1
    assert plain(console).count("\n") == 1
    assert len(first.reports) == len(second.reports) == 8


def test_rows_that_could_not_be_written_are_written_with_the_next(tmp_path):
    files = ScoreFiles(tmp_path / "run")
    with pytest.raises(FileNotFoundError):
        files.on_epoch(epoch_report(1))
    (tmp_path / "run").mkdir()
    files.on_epoch(epoch_report(2))
    for name in ("scores_train.csv", "scores_val.csv"):
        assert [row["epoch"] for row in rows(tmp_path / "run" / name)] == ["1", "2"]


def test_tensorboard_begins_a_new_file_after_an_error(tmp_path, console, capfd):
    """Its folder may be removed, or the disk full for a while; its thread's traceback would fill the terminal."""
    board = TensorBoardLog(tmp_path, steps_done=0)
    guarded = Guarded([board])
    (tmp_path / "tensorboard").write_text("no folder")
    guarded.on_log(LOGGED)
    guarded.on_epoch(epoch_report(72))
    (tmp_path / "tensorboard").unlink()
    guarded.on_log(replace(LOGGED, global_step=730))
    while (tmp_path / "tensorboard").exists():  # its thread may be creating a file there
        shutil.rmtree(tmp_path / "tensorboard", ignore_errors=True)
    for step in (740, 750, 760):
        guarded.on_log(replace(LOGGED, global_step=step))
        guarded.on_epoch(epoch_report(step // 10))
    guarded.close()
    assert scalars(tmp_path)["schedule/lr"][-1] == (760, pytest.approx(0.1))
    assert plain(console).count("TensorBoardLog failed") in (1, 2)  # no folder; folder gone
    assert "Traceback" not in "".join(capfd.readouterr())


def test_a_log_with_a_second_name_is_copied(tmp_path, monkeypatch):
    """A run in a folder made by `cp -al` added its lines to the log of the original."""
    line = "2026-01-01 12:00:00,000 INFO    an epoch\n"
    (tmp_path / "train.log").write_text(line)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "train.log"
    copy.hardlink_to(tmp_path / "train.log")
    monkeypatch.setattr(LOG, "handlers", [])
    log_to_file(copy)
    LOG.warning("another epoch")
    LOG.handlers[-1].close()
    assert (tmp_path / "train.log").read_text() == line
    assert copy.read_text().startswith(line) and "another epoch" in copy.read_text()


def test_the_scores_of_videos_have_a_column_in_validation_alone(tmp_path):
    """A score file of an older version goes on, with the old rows' cells empty."""
    files = ScoreFiles(tmp_path)
    files.on_epoch(epoch_report(1))
    val = evaluation(2.5, 1, 2, 2)
    files.on_epoch(epoch_report(2, val=replace(val, sums=val.sums | {"mean_class": (1.0, 0.0, 1.0, 1.0)})))
    assert [row["mean_class"] for row in rows(tmp_path / "scores_val.csv")] == ["", "50.0000"]
    assert "mean_class" not in rows(tmp_path / "scores_train.csv")[0]
    assert scores_of_epoch(tmp_path, 1) == {"loss": 1.25, "top1": 50.0, "top5": 100.0}
    assert scores_of_epoch(tmp_path, 2)["mean_class"] == 50.0
