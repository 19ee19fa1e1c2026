"""Runs with an average of the weights, precise batch norm and random layers resume exactly, and their files tell."""

import json
from pathlib import Path

import pytest
import torch

from network.weights.reading import read_checkpoint
from tests.runs import LAST, RUN, SCHEDULES, TINY, TINY_FLAGS, assert_same, scores, state
from tests.train.checkpoint.test_resume import finish, kill_and_resume, start

PARTS = ("--dropout", 0.3, "--drop-path", 0.3, "--zero-init-residual", "--ema", 0.9, "--precise-bn", 2)
ALL_PARTS = ("--recipe", "modern", "--drop-path", 0.3, "--ema", 0.9, "--repeat-clips", 2, "--layer-decay", 0.9)
FINE_TUNED = ("--fine-tune", "--freeze", "stem,layer1", "--unfreeze-after", 3)
CYCLES = (*SCHEDULES["both"], "--accumulate", 2, "--batch-size", 8)


def evaluated(server, dataset, file: Path, *flags):
    process = server.start(
        TINY, "--dataset", dataset, *TINY_FLAGS, "--workers", 0, "--evaluate", "--pretrained-3d", file, *flags,
        folder=file.parent,
    )  # fmt: skip
    return process, json.loads(finish(process).splitlines()[-1])


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("ranks", "workers"), [(1, 2), (2, 0)])
@pytest.mark.parametrize("begins", ["anew", "from a file"])
def test_killed_at_any_moment_a_run_with_all_parts_ends_as_if_it_had_not_been(
    server, small_dataset, tmp_path, begins, ranks, workers, kills
):
    """What a part keeps over steps, or draws, and is not in the checkpoint shows in the last weights."""
    flags = (*ALL_PARTS, *CYCLES, "--gpus", ranks, "--workers", workers)
    if begins == "from a file":
        finish(start(server, small_dataset, tmp_path, "--model-dir", "source", "--end-epoch", 1, "--lr-steps", 9))
        flags = (*flags, *FINE_TUNED, "--pretrained-3d", tmp_path / "source" / RUN / LAST)
    kill_and_resume(server, small_dataset, tmp_path, kills, *flags)


def test_precise_batch_norm_leaves_training_as_it_is(server, small_dataset, tmp_path):
    """Its batches come through the same workers: the order of videos, draws and statistics must be the run's own."""
    flags = (*CYCLES, "--end-epoch", 4, "--workers", 1, "--dropout", 0.2, "--ema", 0.9)
    states = []
    for folder, more in (("with", ("--precise-bn", 3)), ("without", ())):
        finish(start(server, small_dataset, tmp_path, "--model-dir", folder, *flags, *more))
        states.append(state(tmp_path / folder / RUN))
    assert states[0].pop("precise_bn").keys() == {
        name for name in states[0]["weights"] if name.endswith(("running_mean", "running_var"))
    }
    assert isinstance(states[0].pop("precise_bn_of"), int)
    for each in states:
        for name in ("best_top1", "best_score", "reported"):  # of the validations
            each["progress"].pop(name)
    assert_same(*states)
    rows = [[row for row in scores(tmp_path / name / RUN) if "lr" in row] for name in ("with", "without")]
    assert rows[0] == rows[1]


def test_a_file_is_evaluated_as_its_run_validated_it(server, small_dataset, tmp_path):
    """Else the score of a published file is not the one that chose it."""
    finish(start(server, small_dataset, tmp_path, *PARTS, "--end-epoch", 3))
    last = tmp_path / "results" / "custom" / RUN / LAST
    *_, validated = scores(last.parent)
    process, result = evaluated(server, small_dataset, last)
    assert result["loss"] == pytest.approx(float(validated["loss"]), abs=1e-4)
    assert "--ema" in process.output() and "--precise-bn" in process.output()
    process, raw = evaluated(server, small_dataset, last, "--weights", "raw", "--evaluation-dir", tmp_path / "raw")
    assert abs(raw["loss"] - result["loss"]) > 1e-3
    assert "--ema" not in process.output()
    summaries = [
        json.loads((folder / "summary.json").read_text())
        for folder in (last.parent / "evaluation_val_1x1", tmp_path / "raw")
    ]
    assert [summary["weights"] for summary in summaries] == ["ema, precise_bn", "raw"]


def test_a_run_that_starts_from_a_file_says_with_which_weights(server, small_dataset, tmp_path):
    """Fine-tuning takes the average; a resumed run goes on with the weights of training."""
    finish(start(server, small_dataset, tmp_path, "--model-dir", "source", "--end-epoch", 2, "--ema", 0.9))
    file = tmp_path / "source" / RUN / LAST
    flags = ("--end-epoch", 1, "--lr-base", 1e-30, "--warmup-lr", 1e-30, "--weight-decay", 0, "--lr-steps", 9)
    for weights in ("auto", "raw"):
        process = start(
            server,
            small_dataset,
            tmp_path,
            *flags,
            "--pretrained-3d",
            file,
            "--weights",
            weights,
            "--model-dir",
            weights,
        )
        assert ("moving average" in finish(process)) == (weights == "auto")
    saved = read_checkpoint(file)
    learned = [name for name, value in saved["weights"].items() if "running" not in name and value.is_floating_point()]
    for weights, expected in (("auto", saved["ema"]["weights"]), ("raw", saved["weights"])):
        found = read_checkpoint(tmp_path / weights / RUN / LAST)["weights"]
        assert all(torch.equal(found[name], expected[name]) for name in learned), weights


def test_flags_without_effect_are_named(server, small_dataset, tmp_path):
    """The user takes the run for another."""
    process = start(server, small_dataset, tmp_path, "--end-epoch", 1, "--lr-steps", 9, "--weights", "raw")
    assert "--weights raw has no effect" in finish(process)
    file = tmp_path / "results" / "custom" / RUN / LAST
    flags = ("--pretrained-3d", file, "--zero-init-residual", "--weights", "raw", "--model-dir", "second")
    output = finish(start(server, small_dataset, tmp_path, "--end-epoch", 1, "--lr-steps", 9, *flags))
    assert "--zero-init-residual has no effect" in output and "--weights raw has no effect" in output
    flags = ("--resume-epoch", "auto", "--end-epoch", 2, "--lr-steps", 9, "--weights", "raw", "--ema", 0.9)
    output = finish(start(server, small_dataset, tmp_path, *flags))
    assert "--weights raw has no effect" in output
    assert "--ema 0.0, now 0.9" in output and "the best is counted anew" in output


def test_a_damaged_average_is_an_error_with_its_file(server, small_dataset, tmp_path):
    """A traceback, or a run that goes on with another average."""
    finish(start(server, small_dataset, tmp_path, "--end-epoch", 1, "--lr-steps", 9, "--ema", 0.9))
    last = tmp_path / "results" / "custom" / RUN / LAST
    whole = read_checkpoint(last)
    for damaged in ({"weights": whole["ema"]["weights"]}, whole["ema"] | {"weights": {}}, None):
        checkpoint = dict(whole) | {"ema": damaged}
        if damaged is None:
            checkpoint.pop("ema")
        torch.save(checkpoint, last)
        process = start(
            server, small_dataset, tmp_path, "--end-epoch", 2, "--lr-steps", 9, "--ema", 0.9, "--resume-epoch", "auto"
        )
        assert process.wait() == 2, process.output()
        assert process.stderr.count("\n") == 1 and f"{LAST} cannot be resumed: its field `ema`" in process.stderr
