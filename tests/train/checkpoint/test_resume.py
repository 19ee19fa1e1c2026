"""A run that is interrupted at any moment and resumed ends like a run without interruption."""

import copy
import json
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from network.weights.reading import read_checkpoint
from tests.processes import Process, Server
from tests.runs import (
    LAST,
    RUN,
    SCHEDULES,
    TINY,
    TINY_FLAGS,
    assert_all_whole,
    assert_same_run,
    rows,
    scores,
    state,
)
from tests.small_dataset import write_small_dataset

LENGTH = ("--end-epoch", 5, "--lr-steps", 2, 4, "--save-every-steps", 2, "--keep", 2)


def start(server: Server, dataset: Path, folder: Path, *flags: object) -> Process:
    flags = (*TINY_FLAGS, "--workers", 0, *LENGTH, *flags)
    return server.start(TINY, "--dataset", dataset, *flags, folder=folder)


def finish(process: Process) -> str:
    assert process.wait() == 0, process.output()
    return process.stdout


def test_two_runs_are_one(server, small_dataset, tmp_path):
    """N + M epochs in two runs give the same as N + M epochs in one, bit for bit."""
    finish(start(server, small_dataset, tmp_path, "--model-dir", "one", "--end-epoch", 4))
    finish(start(server, small_dataset, tmp_path, "--model-dir", "two", "--end-epoch", 2, "--lr-steps", 2))
    finish(start(server, small_dataset, tmp_path, "--model-dir", "two", "--end-epoch", 4, "--resume-epoch", 3))
    assert_same_run(tmp_path / "one" / RUN, tmp_path / "two" / RUN)
    # From a given file, as in the original's second command, into a new folder.
    given = tmp_path / "one" / RUN / "srtg_tiny_ep-0003.pth"
    flags = ("--model-dir", "three", "--end-epoch", 4, "--pretrained_3d", given, "--resume-epoch", 4)
    finish(start(server, small_dataset, tmp_path, *flags))
    one, three = tmp_path / "one" / RUN, tmp_path / "three" / RUN
    assert (three / "srtg_tiny_best.pth").exists()
    assert state(three)["progress"]["best_top1"] == pytest.approx(float(scores(three)[-1]["top1"]), abs=1e-3)
    assert scores(three) == [row for row in scores(one) if row["epoch"] == "4"]
    assert state(three).keys() == state(one).keys()
    assert all(value.equal(state(one)["weights"][name]) for name, value in state(three)["weights"].items())


def test_a_resumed_fine_tuning_keeps_its_two_rates(server, small_dataset, tmp_path):
    """A job script resumes with the same command: --fine-tune with --resume-epoch auto."""
    finish(start(server, small_dataset, tmp_path, "--model-dir", "source", "--end-epoch", 1, "--lr-steps", 9))
    source = tmp_path / "source" / RUN / LAST
    flags = ("--pretrained-3d", source, "--fine-tune", "--end-epoch", 3, "--resume-epoch", "auto", "--random-seed", 7)
    finish(start(server, small_dataset, tmp_path, "--model-dir", "one", *flags))
    process = start(server, small_dataset, tmp_path, "--model-dir", "two", *flags)
    process.wait_for("Epoch [002/")
    process.kill()
    output = finish(start(server, small_dataset, tmp_path, "--model-dir", "two", *flags))
    assert "resuming" in output
    groups = state(tmp_path / "two" / RUN)["optimizer"]["param_groups"]
    assert [group["lr_share"] for group in groups] == [1.0, 0.1]
    assert groups[0]["names"] == ["fc.weight", "fc.bias"]  # loaded, too
    assert_same_run(tmp_path / "one" / RUN, tmp_path / "two" / RUN)


def test_a_resume_keeps_the_share_of_the_rate_unless_another_is_given(server, small_dataset, tmp_path):
    """It was silently ignored, and the log, options.json and the next checkpoint said that of the flag."""
    finish(start(server, small_dataset, tmp_path, "--model-dir", "source", "--end-epoch", 1, "--lr-steps", 9))
    flags = ("--pretrained-3d", tmp_path / "source" / RUN / LAST, "--fine-tune", "--lr-steps", 9, "--model-dir", "one")
    finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 1, "--loaded-lr-factor", 0.5))
    flags = (*flags, "--end-epoch", 2, "--resume-epoch", "auto")
    plain = (*flags, "--task-name", "plain")
    without = tuple(flag for flag in plain if flag not in ("--fine-tune", "--resume-epoch", "auto"))
    finish(start(server, small_dataset, tmp_path, *without, "--end-epoch", 1))
    refused = start(server, small_dataset, tmp_path, *plain)  # it trained all weights at the full rate, and went on so
    assert refused.wait() == 2 and "does not fine-tune" in refused.output()
    assert "learn at 0.5 " in finish(start(server, small_dataset, tmp_path, *flags))
    run = tmp_path / "one" / RUN
    assert read_checkpoint(run / LAST)["optimizer"]["param_groups"][1]["lr_share"] == 0.5
    assert read_checkpoint(run / LAST)["options"]["loaded_lr_factor"] == 0.5
    assert json.loads((run / "options.json").read_text())["options"]["loaded_lr_factor"] == 0.5
    output = finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 3, "--loaded-lr-factor", 0.01))
    assert "--loaded-lr-factor 0.5, now 0.01" in output and "learn at 0.01 " in output
    assert read_checkpoint(run / LAST)["optimizer"]["param_groups"][1]["lr_share"] == 0.01


def test_a_resume_deletes_no_checkpoints_that_the_run_kept(server, small_dataset, tmp_path):
    """A run with --keep 0 that was resumed without it lost its first epochs to the default, without a word."""
    finish(start(server, small_dataset, tmp_path, "--end-epoch", 12, "--keep", 0))
    run = tmp_path / "results" / "custom" / RUN
    flags = (*TINY_FLAGS, "--workers", 0, "--end-epoch", 13, "--lr-steps", 2, 4, "--resume-epoch", "auto")
    process = server.start(TINY, "--dataset", small_dataset, *flags, folder=tmp_path)
    assert "--keep 0" in finish(process)
    assert len(list(run.glob("*_ep-*.pth"))) == 13
    assert read_checkpoint(run / LAST)["options"]["keep"] == 0
    output = finish(start(server, small_dataset, tmp_path, "--end-epoch", 14, "--keep", 3, "--resume-epoch", "auto"))
    assert re.search(r"deleted \S+ep-0001\.pth to \S+ep-0011\.pth, as of --keep 3", output)
    assert len(list(run.glob("*_ep-*.pth"))) == 3


def test_resuming_at_an_earlier_epoch_replaces_the_later_ones(server, small_dataset, tmp_path):
    """With --resume-epoch N and other flags, the scores and the state are those of the new attempt."""
    finish(start(server, small_dataset, tmp_path, "--model-dir", "one", "--end-epoch", 3, "--keep", 0))
    output = finish(start(server, small_dataset, tmp_path, "--model-dir", "one", "--end-epoch", 3, "--keep", 0,
                          "--resume-epoch", 2, "--lr-base", 0.01))  # fmt: skip
    assert "--lr-base 0.02, now 0.01" in output
    run = tmp_path / "one" / RUN
    assert [row["epoch"] for row in rows(run / "scores_train.csv")] == ["1", "2", "3"]
    assert [row["lr"] for row in rows(run / "scores_train.csv")] == ["0.02", "0.01", "0.001"]
    # What the first attempt had written later is kept beside, and the best score is that of the best file.
    moved = {"srtg_tiny_ep-0002.pth", "srtg_tiny_ep-0003.pth", LAST, "scores_train.csv", "scores_val.csv"}
    assert [row["epoch"] for row in rows(run / "scores_val.csv.abandoned")] == ["1", "2", "3"]
    assert {f"{name}.abandoned" for name in moved} <= {path.name for path in run.glob("*.abandoned")}
    assert re.search(r"ep-0002\.pth\.abandoned, .*ep-0003\.pth\.abandoned", output)
    result = json.loads(output.splitlines()[-1])
    assert result["best_top1"] == read_checkpoint(tmp_path / result["best"])["progress"]["best_top1"]
    assert result["best_top1"] == state(run)["progress"]["best_top1"]


def kill_and_resume(server: Server, dataset: Path, folder: Path, kills: int, *flags: object) -> None:
    """Kill a run `kills` times at random moments, resume it each time, and compare it with an undisturbed run.

    If a run ends before it was killed often enough, compare it and start another one.
    """
    finish(start(server, dataset, folder, "--model-dir", "peace", *flags))
    attempt = done = 0
    while True:
        run = folder / f"attempt{attempt}" / RUN
        process = start(server, dataset, folder, "--model-dir", run.parent, "--resume-epoch", "auto", *flags)
        if done < kills:
            process.wait_for("Batch [", or_end=True)
            time.sleep(random.uniform(0, 1.0))
        if done < kills and process.poll() is None:
            process.kill()
            assert "no rows of" not in process.stdout
            done += 1
            assert_all_whole(run)
            continue
        assert "no rows of" not in finish(process) and not list(run.glob("*.abandoned*"))
        assert_same_run(run, folder / "peace" / RUN)
        attempt += 1
        if done == kills:
            return


# Two ranks of the same schedules are in test_distributed.py.
@pytest.mark.parametrize("kills", [1, pytest.param(25, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("schedule", "workers"), [("none", 2), ("short", 0), ("long", 0), ("both", 2)])
def test_killed_at_any_moment_a_run_ends_as_if_it_had_not_been(
    server, small_dataset, tmp_path, schedule, workers, kills
):
    """Power cuts and preemption without notice, also in the middle of an epoch, of a cycle and of saving."""
    flags = (*SCHEDULES[schedule], "--workers", workers)
    kill_and_resume(server, small_dataset, tmp_path, kills, *flags)


@pytest.mark.parametrize("kills", [2, pytest.param(25, marks=pytest.mark.slow)])
def test_killed_with_another_optimiser_schedule_and_loss_too(server, small_dataset, tmp_path, kills):
    """AdamW counts its updates, and the cosine falls at each step: both must go on where they were."""
    flags = ("--optimizer", "adamw", "--lr-base", 0.001, "--lr-schedule", "cosine", "--label-smoothing", 0.1)
    kill_and_resume(server, small_dataset, tmp_path, kills, *flags, *SCHEDULES["both"], "--workers", 0)


CROPS = {
    "jitter": ("--crop", "jitter"),
    "resized": ("--crop", "resized", "--crop-scale", "294/224", *SCHEDULES["short"]),
    "repeats": ("--repeat-clips", 2, *SCHEDULES["long"]),
    "all": ("--crop", "resized", "--repeat-clips", 4, *SCHEDULES["both"], "--workers", 2),
}


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize("crops", CROPS)
def test_killed_with_other_crops_and_repeated_clips_too(server, small_dataset, tmp_path, crops, kills):
    """Their draws are keyed, and a position in an epoch counts the videos of its clips."""
    table = tmp_path / "mirrored.csv"
    table.write_text("clap,jump\nrun,-\n", encoding="utf-8")
    kill_and_resume(server, small_dataset, tmp_path, kills, *CROPS[crops], "--flip-labels", table)


@pytest.mark.slow
def test_killed_two_ranks_with_repeated_clips_end_as_if_they_had_not_been(server, small_dataset, tmp_path):
    kill_and_resume(server, small_dataset, tmp_path, 20, *CROPS["all"], "--batch-size", 8, "--gpus", 2)


def test_another_number_of_repeats_cannot_resume_within_an_epoch(server, small_dataset, tmp_path):
    """As many clips are of fewer videos: some would be read twice and others never, though the step is the same."""
    begin = partial(start, server, small_dataset, tmp_path, "--model-dir")
    folder, _ = stopped_run(begin, signal.SIGTERM)
    again = begin(folder, "--resume-epoch", "auto", "--repeat-clips", 2)
    assert again.wait() == 2, again.output()
    assert re.search(r"step \d+ of epoch \d.*--repeat-clips 1, now 2.*--resume-epoch N", again.stderr)


def test_another_optimiser_cannot_resume(server, small_dataset, tmp_path):
    """Its state would be read into the wrong places."""
    finish(start(server, small_dataset, tmp_path, "--end-epoch", 1, "--lr-steps", 9))
    again = start(server, small_dataset, tmp_path, "--resume-epoch", "auto", "--optimizer", "adamw")
    assert again.wait() == 2
    assert again.stderr.count("\n") == 1
    assert "--optimizer adamw" in again.stderr and "sgd" in again.stderr


@pytest.mark.slow
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_killed_two_ranks_end_as_if_they_had_not_been(server, small_dataset, tmp_path, schedule):
    kill_and_resume(server, small_dataset, tmp_path, 25, *SCHEDULES[schedule], "--gpus", 2)


def stopped_run(begin: Callable[[str], Process], *numbers: int) -> tuple[str, Process]:
    """The folder and process of a run that signals have stopped after its first step.

    `begin` starts a run in a folder. On a busy machine a run may end before the signals are sent: then try again.
    """
    for attempt in range(10):
        folder = f"stopped{attempt}"
        process = begin(folder)
        process.wait_for("Batch [", or_end=True)
        for number in numbers:
            if process.poll() is None:
                process.send(number)
                time.sleep(0.01)
        if process.wait() != 0:
            assert process.wait() == 143, process.output()
            return folder, process
    raise AssertionError("no run was stopped by its signals")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_ends_the_run_with_status_143(server, small_dataset, tmp_path, number):
    """A scheduler sends it before it takes the machine away; a second signal must not damage the file."""
    flags = ("--long-cycles", "--short-cycles", "--save-every-steps", 0, "--workers", 1)
    finish(start(server, small_dataset, tmp_path, "--model-dir", "peace", *flags))
    folder, process = stopped_run(
        lambda folder: start(server, small_dataset, tmp_path, "--model-dir", folder, *flags), number, signal.SIGTERM
    )
    run = tmp_path / folder / RUN
    assert re.search(rf"stopped by a signal.* {folder}/\S+/srtg_tiny_last\.pth.*--resume-epoch auto", process.stdout)
    assert process.stderr == ""
    assert_all_whole(run)
    output = finish(start(server, small_dataset, tmp_path, "--model-dir", folder, "--resume-epoch", "auto", *flags))
    assert re.search(rf"resuming {folder}/.*last\.pth at (step \d+|the validation) of epoch \d+", output)
    assert_same_run(run, tmp_path / "peace" / RUN)


def batches(process: Process) -> list[str]:
    """The sources of the run's batches, from the log of --debug-mode."""
    return [line.split(" from ")[1] for line in process.stdout.splitlines() if line.startswith("clips (")]


def test_clips_already_seen_are_not_read_again(server, small_dataset, tmp_path):
    """After a resume the run reads the rest of the epoch, each clip once, then the next epochs."""
    flags = ("--debug-mode", "--end-epoch", 4, "--short-cycles")
    whole = start(server, small_dataset, tmp_path, "--model-dir", "whole", *flags)
    finish(whole)
    folder, process = stopped_run(
        lambda folder: start(server, small_dataset, tmp_path, "--model-dir", folder, *flags), signal.SIGTERM
    )
    steps = read_checkpoint(tmp_path / folder / RUN / LAST)["progress"]["global_step"]
    assert len(batches(process)) == steps > 0
    resumed = start(server, small_dataset, tmp_path, "--model-dir", folder, "--resume-epoch", "auto", *flags)
    finish(resumed)
    assert batches(process) + batches(resumed) == batches(whole)


def test_a_resume_in_the_middle_of_an_epoch_needs_the_same_batches(server, small_dataset, tmp_path):
    finish(start(server, small_dataset, tmp_path, "--end-epoch", 1, "--lr-steps", 9))
    last = tmp_path / "results" / "custom" / RUN / LAST
    checkpoint = read_checkpoint(last)
    checkpoint["position"] = {"epoch": 2, "step": 3}
    checkpoint["progress"] |= {"epoch": 2, "step": 3, "clips": 12}
    torch.save(checkpoint, last)
    again = start(server, small_dataset, tmp_path, "--resume-epoch", "auto", "--batch-size", 8)
    assert again.wait() == 2
    assert re.search(r"step 3 of epoch 2.*--batch-size 4, now 8.*--resume-epoch N", again.stderr)
    assert again.stderr.count("\n") == 1


def test_changed_labels_are_not_resumed_in_silence(server, small_dataset, tmp_path):
    """In the middle of an epoch some videos would be read twice; a best top-1 on other videos cannot be compared."""
    labels = tmp_path / "labels"
    shutil.copytree(small_dataset / "labels", labels)
    flags = ("--labels", labels, "--lr-steps", 9, "--keep", 0)
    finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 1))
    last = tmp_path / "results" / "custom" / RUN / LAST
    header, *lines = (labels / "train.csv").read_text().splitlines()
    (labels / "train.csv").write_text("\n".join([header, *reversed(lines)]) + "\n")
    header, *lines = (labels / "val.csv").read_text().splitlines()
    (labels / "val.csv").write_text("\n".join([header, *lines[:4]]) + "\n")
    checkpoint = read_checkpoint(last)
    saved = copy.deepcopy(checkpoint)
    checkpoint["position"] = {"epoch": 2, "step": 3}
    checkpoint["progress"] |= {"epoch": 2, "step": 3, "clips": 12}
    torch.save(checkpoint, last)
    again = start(server, small_dataset, tmp_path, *flags, "--end-epoch", 2, "--resume-epoch", "auto")
    assert again.wait() == 2
    assert re.search(r"step 3 of epoch 2.*training videos.*--resume-epoch N", again.stderr)
    saved["progress"]["best_top1"] = 100.0  # of the seven videos before
    torch.save(saved, last)
    output = finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 2, "--resume-epoch", "auto"))
    assert "training videos" in output and "validation videos" in output
    assert read_checkpoint(last)["progress"]["best_top1"] == float(scores(last.parent)[-1]["top1"])


def in_mid_epoch(last: Path) -> None:
    """Turn the checkpoint of a finished epoch 1 into one of step 3 of epoch 2."""
    checkpoint = read_checkpoint(last)
    checkpoint["position"] = {"epoch": 2, "step": 3}
    checkpoint["progress"] |= {"epoch": 2, "step": 3, "clips": 12}
    torch.save(checkpoint, last)


def test_a_dataset_with_other_frames_under_the_same_names_is_not_resumed_in_silence(server, small_dataset, tmp_path):
    """The run went on with the pixels of another dataset, also in the middle of an epoch, and kept the old best."""
    other = write_small_dataset(tmp_path / "other", frames=9)
    shutil.copytree(small_dataset, tmp_path / "copy")
    flags = ("--lr-steps", 9, "--end-epoch", 2, "--resume-epoch", "auto")
    finish(start(server, small_dataset, tmp_path, "--lr-steps", 9, "--end-epoch", 1))
    last = tmp_path / "results" / "custom" / RUN / LAST
    whole = read_checkpoint(last)
    whole["progress"]["best_top1"] = 100.0  # of the frames before
    in_mid_epoch(last)
    again = start(server, other, tmp_path, *flags)
    assert again.wait() == 2 and again.stderr.count("\n") == 1, again.output()
    what = r"other numbers of frames and other frames \(in 32 of 32 .* training videos"
    paths = f"--dataset {re.escape(str(small_dataset))}, now {re.escape(str(other))}"
    assert re.search(rf"step 3 of epoch 2.*{what}.*{paths}.*--resume-epoch N", again.stderr), again.stderr
    torch.save(whole, last)
    output = finish(start(server, other, tmp_path, *flags))
    assert re.search(rf"trained with .*{what}.*\(in 7 of 7.* validation videos.*{paths}.*counted anew", output), output
    top1 = pytest.approx(float(scores(last.parent)[-1]["top1"]), abs=1e-3)
    assert read_checkpoint(last)["progress"]["best_top1"] == top1
    assert read_checkpoint(last)["content"] != whole["content"]
    # A copy elsewhere is the same dataset.
    whole["progress"]["best_top1"] = -1.0
    torch.save(whole, last)
    in_mid_epoch(last)
    output = finish(start(server, tmp_path / "copy", tmp_path, *flags))
    length = "--end-epoch 1, now 2"
    assert "the videos are the same" in output and re.findall("trained with (.*)", output) == [length]
    # A checkpoint of an older version compares names and labels alone.
    for name in ("content", "videos"):
        whole.pop(name)
        torch.save(whole, last)
        output = finish(start(server, other, tmp_path, *flags))
        assert "does not tell" in output and re.findall("trained with (.*)", output) == [length]


@pytest.mark.parametrize("flag", ["--val-clips", "--val-frame-interval", "--clip-size"])
def test_a_best_top_1_of_another_validation_is_counted_anew(server, small_dataset, tmp_path, flag):
    """A score of three clips of each video is not beaten by the scores of one clip, nor can it be compared."""
    flags = ("--lr-steps", 9, "--keep", 0)
    finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 1))
    run = tmp_path / "results" / "custom" / RUN
    for name in (LAST, "srtg_tiny_best.pth"):
        saved = read_checkpoint(run / name)
        saved["progress"]["best_top1"] = 100.0
        torch.save(saved, run / name)
    output = finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 2, "--resume-epoch", "auto"))
    assert "counted anew" not in output and read_checkpoint(run / LAST)["progress"]["best_top1"] == 100.0
    again = ("--end-epoch", 3, "--resume-epoch", "auto", flag, 24 if flag == "--clip-size" else 3)
    output = finish(start(server, small_dataset, tmp_path, *flags, *again))
    assert re.search(rf"trained with .*{flag} \d+, now .*another validation.*counted anew", output), output
    top1 = pytest.approx(float(scores(run)[-1]["top1"]), abs=1e-3)
    assert read_checkpoint(run / LAST)["progress"]["best_top1"] == top1
    assert read_checkpoint(run / "srtg_tiny_best.pth.abandoned")["progress"]["best_top1"] == 100.0
    # No epoch is left, so nothing is counted.
    output = finish(start(server, small_dataset, tmp_path, *flags, "--end-epoch", 3, "--resume-epoch", "auto"))
    assert "counted anew" not in output


def test_a_run_that_is_resumed_with_another_best_by_counts_the_best_anew(server, small_dataset, tmp_path):
    """The best by top-1 is kept aside, and is not taken for the best by loss; the last line names both scores."""

    def result(*flags):
        output = finish(start(server, small_dataset, tmp_path, "--lr-steps", 9, "--keep", 0, *flags))
        return output, json.loads(output.splitlines()[-1])

    run, auto = tmp_path / "results" / "custom" / RUN, ("--resume-epoch", "auto")
    _, first = result("--end-epoch", 1)
    assert first["best_by"] == "top1" and "best_loss" not in first
    output, second = result("--end-epoch", 2, *auto, "--best-by", "loss")
    assert re.search(r"trained with .*--best-by top1, now loss.*counted anew", output), output
    assert "another validation" not in output
    assert (second["best_by"], second["best_loss"]) == ("loss", second["loss"])
    kept = read_checkpoint(run / "srtg_tiny_best.pth.abandoned")
    assert (kept["position"]["epoch"], kept["progress"]["best_by"]) == (2, "top1")
    output, fourth = result("--end-epoch", 4, *auto, "--best-by", "loss")
    assert "counted anew" not in output
    val = [row for row in rows(run / "scores_val.csv") if int(row["epoch"]) > 1]
    best = min(val, key=lambda row: float(row["loss"]))
    assert fourth["best_loss"] == pytest.approx(float(best["loss"]), abs=1e-5)
    assert fourth["best_top1"] == pytest.approx(float(best["top1"]), abs=1e-3)
    assert read_checkpoint(run / "srtg_tiny_best.pth")["position"]["epoch"] == int(best["epoch"]) + 1


def test_unfinished_files_of_killed_processes_are_removed(server, small_dataset, tmp_path):
    """Half a checkpoint may have gigabytes; one for each preempted job fills a disk."""
    run = tmp_path / "results" / "custom" / RUN
    run.mkdir(parents=True)
    (run / ".srtg_tiny_last.pth.4711.tmp").write_bytes(b"half")
    finish(start(server, small_dataset, tmp_path, "--end-epoch", 1, "--lr-steps", 9))
    assert not list(run.glob(".*.tmp"))
