"""Whole runs of real scripts, as a user starts them."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from common.normalisation import NORMALISATIONS, SRTG
from network import create_network
from network.base import EPS
from tests.processes import ENVIRONMENT, ROOT, Process, Server
from tests.small_dataset import CLASSES, write_labels, write_small_dataset

TINY = ROOT / "tests" / "scripts" / "train_tiny.py"
SMALL = "--network srtg_r3d_10 --clip-length 2 --clip-size 16 --batch-size 4 --workers 0 --end-epoch 1 --device cpu"
TINY_FLAGS = ("--network", "srtg_tiny", "--device", "cpu", "--workers", 0, "--log-every", 4)

Start = Callable[..., Process]


@pytest.fixture
def tiny(server: Server, tmp_path: Path, small_dataset: Path) -> Start:
    """Run the tiny script to its end in the test's folder: tiny("--end-epoch", 2, ...) -> Process."""

    def run(*flags: object, dataset: Path | str = small_dataset, folder: Path = tmp_path) -> Process:
        process = server.start(TINY, "--dataset", dataset, *TINY_FLAGS, *flags, folder=folder)
        process.wait()
        return process

    return run


@pytest.fixture(scope="module")
def finished(_server: Server, tmp_path_factory: pytest.TempPathFactory, small_dataset: Path) -> Process:
    """A finished run, in the folder `finished.stdout_file.parent`; tests must not change it."""
    folder = tmp_path_factory.mktemp("finished")
    flags = ("--gates", "--task-name", "first", "--on-bad-video", "skip")
    process = _server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=folder)
    assert process.wait() == 0, process.output()
    return process


def folder_of(process: Process, name: str = "srtg_tiny_gates_True_first") -> Path:
    return process.stdout_file.parent / "results" / "custom" / name


def tensors(state: object) -> list[torch.Tensor]:
    """All tensors of a checkpoint."""
    if isinstance(state, torch.Tensor):
        return [state]
    parts = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def last_line(process: Process) -> dict[str, object]:
    return json.loads(process.stdout.splitlines()[-1])


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_goes_on_in_another_layout(tiny, tmp_path):
    """A run begun on a GPU is in channels-last, and its files must serve everywhere; the numbers differ by rounding."""
    weights = {}
    for name, layouts in (("one", ("contiguous", "contiguous")), ("both", ("channels-last", "contiguous"))):
        folder = tmp_path / "results" / "custom" / f"srtg_tiny_gates_False_{name}"
        for epoch, layout in enumerate(layouts, 1):
            flags = ("--task-name", name, "--long-cycles", "--end-epoch", 2, "--layout", layout)
            stop = ("--save-frequency", 1) if epoch == 1 else ("--resume-epoch", 2)
            process = tiny(*flags, *stop)
            assert process.wait() == 0, process.output()
            checkpoint = torch.load(folder / "srtg_tiny_last.pth", weights_only=True)
            assert all(tensor.is_contiguous() for tensor in tensors(checkpoint))
        weights[name] = checkpoint["weights"]
    one, both = (torch.cat([tensor.flatten().float() for tensor in each.values()]) for each in weights.values())
    assert 0 < (both - one).norm() / one.norm() < 0.02


def test_checkpointed_activations_train_the_same_weights(tiny, tmp_path):
    """--checkpoint-activations saves memory and changes no weight, in a run with sub-batches and gates."""
    weights = []
    for name, flags in (("plain", ()), ("checkpointed", ("--checkpoint-activations",))):
        process = tiny("--gates", "--long-cycles", "--end-epoch", 2, "--task-name", name, *flags)
        assert process.wait() == 0, process.output()
        folder = tmp_path / "results" / "custom" / f"srtg_tiny_gates_True_{name}"
        weights.append(torch.load(folder / "srtg_tiny_last.pth", weights_only=True)["weights"])
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(
    "flags",
    [
        ("--pretrained-3d", "LAST", "--fine-tune", "--gates", "--task-name", "next"),
        ("--pretrained-3d", "LAST", "--resume-epoch", 4, "--gates", "--task-name", "next", "--end-epoch", 4),
    ],
    ids=["fine-tuned", "resumed"],
)
def test_a_run_does_not_keep_the_checkpoint_that_it_started_from(server, finished, small_dataset, tmp_path, flags):
    """It was in the memory of every rank for the whole run: weights and optimiser, twice the network."""
    last = folder_of(finished) / "srtg_tiny_last.pth"
    words = [last if flag == "LAST" else flag for flag in flags]
    script = ROOT / "tests" / "scripts" / "train_noting_memory.py"
    process = server.start(script, "--dataset", small_dataset, *TINY_FLAGS, *words, folder=tmp_path)
    assert process.wait() == 0, process.output()
    read, left = map(int, (tmp_path / "memory").read_text().split())
    assert read > 50_000
    assert left < 1000  # the hashes of the videos go on into the run's own checkpoints


def test_a_run_leaves_what_is_documented_where_it_is_documented(finished):
    """Other tools and the user's next command look for these names."""
    folder = folder_of(finished)
    assert {path.name for path in folder.iterdir()} == {
        "srtg_tiny_ep-0001.pth", "srtg_tiny_ep-0002.pth", "srtg_tiny_ep-0003.pth", "srtg_tiny_last.pth",
        "srtg_tiny_best.pth", "scores_train.csv", "scores_val.csv", "train.log", "options.json", "tensorboard",
        ".train.lock", "passport.json",
    }  # fmt: skip
    assert [row["epoch"] for row in rows(folder / "scores_train.csv")] == ["1", "2", "3"]
    assert [row["videos"] for row in rows(folder / "scores_val.csv")] == ["7", "7", "7"]
    facts = json.loads((folder / "options.json").read_text())
    assert facts["options"]["network"] == "srtg_tiny"
    assert facts["options"]["lr_steps"] == [2]
    assert facts["options"]["device"] == "cpu"  # the values that `auto` stood for, so that the run can be repeated
    assert set(facts["versions"]) == {"srtg", "torch", "python"}
    assert "--gates" in facts["command"]


def test_the_console_shows_the_run_and_nothing_goes_to_stderr(finished):
    lines = finished.stdout.splitlines()
    assert finished.stderr == ""
    assert re.search(r"custom\b.*\b4 classes\b.*\b32 .*\b7 ", finished.stdout)
    assert "Plan of the run" in finished.stdout
    steps = [line for line in lines if "Speed (r=" in line]
    assert len(steps) == 6
    assert " loss " in steps[0]
    shapes = [line for line in lines if "(4, 3, 4, 32, 32) lr" in line]
    assert len(shapes) == 6
    assert "lr 2.00e-02" in shapes[0] and "open gates" in shapes[0]
    epochs = [line for line in lines if " done in " in line]
    assert len(epochs) == 3
    log = (folder_of(finished) / "train.log").read_text()
    assert [line for line in (*steps, *epochs) if line not in log] == []
    assert "\x1b" not in finished.stdout + log


def test_the_last_line_is_for_machines(finished):
    result = last_line(finished)
    val = rows(folder_of(finished) / "scores_val.csv")
    assert (result["epochs"], result["steps"]) == (3, 24)
    assert result["top1"] == pytest.approx(float(val[-1]["top1"]), abs=1e-3)
    assert result["loss"] == pytest.approx(float(val[-1]["loss"]), abs=1e-5)
    assert result["best_top1"] == pytest.approx(max(float(row["top1"]) for row in val), abs=1e-3)
    for name in ("best", "last"):
        assert (finished.stdout_file.parent / result[name]).is_file()


def plain_types(value: object) -> set[type]:
    if isinstance(value, dict):
        return set().union({dict}, *(plain_types(part) for pair in value.items() for part in pair))
    if isinstance(value, list | tuple):
        return set().union({type(value)}, *map(plain_types, value))
    return {type(value)}


def test_a_checkpoint_holds_all_that_is_documented_in_plain_types(finished):
    """Other types would not load with weights_only=True in another version of torch."""
    checkpoint = torch.load(folder_of(finished) / "srtg_tiny_ep-0002.pth", weights_only=True)
    types = plain_types({name: value for name, value in checkpoint.items() if name != "weights"})
    assert types <= {dict, list, tuple, str, int, float, bool, type(None), torch.Tensor}
    assert set(plain_types(dict(checkpoint["weights"]))) == {dict, str, torch.Tensor}
    assert set(checkpoint) == {
        "format", "network", "weights", "optimizer", "scaler", "batch_norm", "position", "progress", "rng", "classes",
        "loaded", "frozen", "source", "num_videos", "trained_videos", "videos", "content", "options", "run_key",
        "run_id", "world_size", "versions", "preprocessing",
    }  # fmt: skip
    assert checkpoint["position"] == {"epoch": 3, "step": 0}
    assert checkpoint["classes"] == list(CLASSES)
    facts = {"name": "srtg_tiny", "gates": True, "placement": "final", "num_classes": 4}
    assert checkpoint["network"] == facts | {"normalisation": SRTG.plain(), "eps": EPS}


def test_the_best_checkpoint_evaluates_to_the_score_it_was_chosen_for(finished, tiny):
    best = folder_of(finished) / "srtg_tiny_best.pth"
    process = tiny("--gates", "--evaluate", "--pretrained-3d", best)
    assert process.status == 0, process.output()
    result = last_line(process)
    assert result["top1"] == pytest.approx(last_line(finished)["best_top1"])
    assert (result["videos"], result["checkpoint"]) == (7, str(best))
    # The checkpoint may be in the folder of this command's own run.
    flags = ("--gates", "--task-name", "first", "--evaluate", "--pretrained-3d", best)
    before = sorted(path.name for path in folder_of(finished).iterdir())
    again = tiny(*flags, folder=finished.stdout_file.parent)
    assert last_line(again)["top1"] == result["top1"]
    views = tiny(*flags, "--val-clips", 3, "--val-batch-size", 2, folder=finished.stdout_file.parent)
    assert last_line(views)["videos"] == 7
    after = {path.name for path in folder_of(finished).iterdir() if path.suffix != ".out"}
    assert after - set(before) == {"evaluation_val_3x1"}
    summary = json.loads((folder_of(finished) / "evaluation_val_3x1" / "summary.json").read_text())
    assert len(summary["content"]["samples"]) == 7  # by which an evaluation of other frames is told
    assert summary["checkpoint_file"] == {"size": best.stat().st_size, "changed": best.stat().st_mtime_ns}
    probed = tiny("--evaluate", "--time-probe", "--pretrained-3d", best, "--evaluation-dir", "probed")
    assert probed.status == 0, probed.output()
    assert last_line(probed)["top1"] == result["top1"]
    assert (probed.stdout_file.parent / "probed" / "time_probe.csv").is_file()


def test_an_evaluation_takes_network_and_clips_from_the_checkpoint(finished, tiny):
    """With the script's defaults the scores would be those of another network or shape, without a word."""
    best = folder_of(finished) / "srtg_tiny_best.pth"
    process = tiny("--evaluate", "--pretrained-3d", best)
    assert process.status == 0, process.output()
    result = last_line(process)
    assert result["top1"] == pytest.approx(last_line(finished)["best_top1"])
    assert (result["network"], result["gates"], result["clip"], result["interval"]) == ("srtg_tiny", True, "4x32x32", 1)
    assert not list(process.stdout_file.parent.glob("results/*"))  # an evaluation writes only where it is asked to
    process = tiny(
        "--evaluate", "--pretrained-3d", best, "--clip-size", 24, "--gates", "False", "--log-file", "./e.log"
    )
    assert (last_line(process)["gates"], last_line(process)["clip"]) == (False, "4x24x24")
    for fact in ("gates True", "gates False", "clip size 32", "clip size 24"):
        assert fact in (process.stdout_file.parent / "e.log").read_text()


def test_an_evaluation_tells_of_other_videos_than_the_run_had(finished, tiny, tmp_path):
    """Scores on the training videos, by swapped label files for example, look like a very good network."""
    dataset = write_small_dataset(tmp_path / "data")
    best = folder_of(finished) / "srtg_tiny_best.pth"
    lines = {}
    for name in ("val.csv", "train.csv"):
        if name != "val.csv":
            shutil.copy(dataset / "labels" / name, dataset / "labels" / "val.csv")
        process = tiny("--evaluate", "--pretrained-3d", best, dataset=dataset)
        assert process.status == 0, process.output()
        lines[name] = process.stdout
    assert "trained on these very videos" not in lines["val.csv"]
    assert "trained on these very videos" in lines["train.csv"]


def test_validation_videos_that_the_weights_were_trained_on_are_counted(finished, tiny, tmp_path):
    """After a new split of the same videos the scores are too high. Only the very list of training videos was found."""
    dataset = write_small_dataset(tmp_path / "data")
    best = folder_of(finished) / "srtg_tiny_best.pth"
    labels = {name: rows(dataset / "labels" / name) for name in ("train.csv", "val.csv")}
    train, val = ([(row["label"], row["id"]) for row in labels[name]] for name in labels)
    write_labels(dataset / "labels" / "val.csv", train[:4] + val[4:])
    write_labels(dataset / "labels" / "train.csv", train[4:] + val[:4])

    def warned(number: int, name: object, *flags: object) -> Process:
        process = tiny(*flags, "--model-dir", "out", dataset=dataset)
        assert process.status == 0, process.output()
        assert f"{number} of 7 validation videos are among the training videos of {name}" in process.stdout
        return process

    warned(4, best, "--evaluate", "--pretrained-3d", best)
    run = tmp_path / "out" / "srtg_tiny_gates_True"
    warned(4, best, "--pretrained-3d", best, "--fine-tune", "--end-epoch", 1, "--lr-steps", 5)
    last = torch.load(run / "srtg_tiny_last.pth", weights_only=True)
    assert len(last["trained_videos"]) == 36  # those of both runs
    write_labels(dataset / "labels" / "val.csv", train[:3] + val[:3] + val[4:5])
    flags = ("--gates", "--end-epoch", 2, "--lr-steps", 5, "--resume-epoch", "auto")
    warned(6, "out/srtg_tiny_gates_True/srtg_tiny_last.pth", *flags)
    write_labels(dataset / "labels" / "val.csv", train[:7])
    process = tiny("--evaluate", "--pretrained-3d", best, dataset=dataset)
    assert f"{best} was trained on these very videos" in process.stdout
    torch.save(last | {"trained_videos": torch.zeros(3)}, tmp_path / "other.pth")
    for flags in (("--evaluate",), ("--end-epoch", 1, "--model-dir", "new")):
        process = tiny(*flags, "--pretrained-3d", "other.pth", dataset=dataset)
        assert_one_line(process, "other.pth", "trained_videos")
    del last["trained_videos"]  # as of older versions
    torch.save(last, tmp_path / "other.pth")
    process = tiny("--evaluate", "--pretrained-3d", "other.pth", dataset=dataset)
    assert process.status == 0 and "training videos of" not in process.output()


def test_an_evaluation_tells_of_other_frames_under_the_same_names(finished, tiny, small_dataset, tmp_path):
    """Scores on other cuts, or frames of another size, are not those that the run reported."""
    best = folder_of(finished) / "srtg_tiny_best.pth"
    other = write_small_dataset(tmp_path / "other", frames=9)
    said = tiny("--evaluate", "--pretrained-3d", best, dataset=other).stdout
    assert re.search(
        r"validated on other numbers of frames and other frames \(in 7 of 7 .*"
        rf"--dataset {re.escape(str(small_dataset))}, now {re.escape(str(other))}",
        said,
    ), said
    shutil.copy(other / "labels" / "train.csv", other / "labels" / "val.csv")
    said = tiny("--evaluate", "--pretrained-3d", best, dataset=other).stdout
    assert "trained on these very videos, with other numbers of frames" in said and "validated on" not in said
    shutil.copytree(small_dataset, tmp_path / "copy")
    said = tiny("--evaluate", "--pretrained-3d", best, dataset=tmp_path / "copy").stdout
    assert "validated on" not in said and "trained on these" not in said


def test_frames_of_the_validation_that_are_too_small_are_told(finished, tiny, tmp_path):
    """Validation videos that were converted smaller than the others are scored blurred."""
    dataset = write_small_dataset(tmp_path / "data", train=8)
    for video in write_small_dataset(tmp_path / "tiny", train=1, height=20, width=24).glob("jpg/*/val_*"):
        shutil.copytree(video, dataset / "jpg" / video.parent.name / video.name, dirs_exist_ok=True)
    line = "frames are enlarged in 7 of 7 sampled validation videos (the median of the shorter sides is 20 pixels)"
    said = " ".join(tiny("--end-epoch", 1, dataset=dataset).stdout.split())
    assert said.count(line) == 1 and "training videos (the median" not in said
    process = tiny("--evaluate", "--pretrained-3d", folder_of(finished) / "srtg_tiny_best.pth", dataset=dataset)
    assert " ".join(process.stdout.split()).count(line) == 1
    assert "frames are enlarged" not in finished.stdout


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda weight: weight[:3], "is a network of 3 classes, and the labels have 4"),
        (lambda weight: weight[:, :3], "lacks weights of srtg_tiny"),
        (lambda weight: weight.sum(), "lacks weights of srtg_tiny"),
    ],
    ids=["classes", "features", "scalar"],
)
def test_an_evaluation_names_what_is_wrong_with_a_classifier(finished, tiny, tmp_path, change, reason):
    """A classifier of no rows was a traceback, and one of other features a network of other classes."""
    weights = torch.load(folder_of(finished) / "srtg_tiny_best.pth")["weights"]
    torch.save({"state_dict": weights | {"fc.weight": change(weights["fc.weight"])}}, tmp_path / "other.pth")
    process = tiny("--evaluate", "--pretrained-3d", tmp_path / "other.pth")
    assert process.status == 2 and reason in process.output()


def test_an_evaluation_needs_no_training_videos(finished, tiny, tmp_path):
    dataset = write_small_dataset(tmp_path / "data", train=1, val=7)
    (dataset / "labels" / "train.csv").unlink()
    shutil.rmtree(dataset / "jpg" / CLASSES[0] / "train_000")
    best = folder_of(finished) / "srtg_tiny_best.pth"
    process = tiny("--evaluate", "--pretrained-3d", best, dataset=dataset)
    assert process.status == 0, process.output()
    assert last_line(process)["top1"] == pytest.approx(last_line(finished)["best_top1"])
    write_labels(dataset / "labels" / "val.csv", [("clapping", "val_000")])
    assert_one_line(tiny("--evaluate", "--pretrained-3d", best, dataset=dataset), "val.csv", "clapping", "4")


def test_the_same_command_again_does_not_overwrite_the_run(finished, tiny):
    before = (folder_of(finished) / "srtg_tiny_last.pth").read_bytes()
    process = tiny("--gates", "--task-name", "first", folder=finished.stdout_file.parent)
    assert_one_line(process, "srtg_tiny_gates_True_first", "--resume-epoch auto", "--task-name")
    assert (folder_of(finished) / "srtg_tiny_last.pth").read_bytes() == before


def test_a_finished_run_that_is_resumed_has_nothing_to_do(finished, tiny):
    """options.json says how the weights were trained, and nothing was trained with these flags."""
    before = (folder_of(finished) / "options.json").read_bytes()
    process = tiny(
        "--gates", "--task-name", "first", "--resume-epoch", "auto", "--lr-base", 5, folder=finished.stdout_file.parent
    )  # fmt: skip
    assert (folder_of(finished) / "options.json").read_bytes() == before
    assert process.status == 0
    assert re.search(r"nothing to do.*\b3 epochs", process.stdout) and "Epoch [" not in process.stdout
    now, before_now = last_line(process), last_line(finished)
    assert now.keys() == before_now.keys()  # a sweep that reads them found no scores in a job that ran twice
    scores = [name for name, value in before_now.items() if isinstance(value, float)]
    assert {"best_top1", "top1", "loss"} <= set(scores)
    assert all(now[name] == pytest.approx(before_now[name], abs=1e-4) for name in scores)


def test_a_finished_run_claims_no_scores_of_another_one(finished, tiny, tmp_path):
    """Another run's `last` was put in the folder: its state got the scores and the best file of the folder's run."""
    shutil.copytree(folder_of(finished).parents[1], tmp_path / "results")
    last = tmp_path / "results" / "custom" / "srtg_tiny_gates_True_first" / "srtg_tiny_last.pth"
    saved = torch.load(last, weights_only=True) | {"run_key": "other"}
    for entry in saved["progress"]["reported"]:
        entry[1] += 1.0
    torch.save(saved, last)
    process = tiny("--gates", "--task-name", "first", "--resume-epoch", "auto")
    assert process.status == 0
    result = last_line(process)
    assert (result["best_top1"], result["best"]) == (-1, None)
    assert not {"loss", "top1"} & result.keys()
    assert "scores of another run" in process.stdout


def test_workers_change_nothing(finished, tiny, tmp_path):
    """The same seed gives the same run on a machine with more cores."""
    process = tiny("--gates", "--workers", 2, "--model-dir", "out")
    assert process.status == 0, process.output()
    ours = torch.load(tmp_path / "out" / "srtg_tiny_gates_True" / "srtg_tiny_last.pth", weights_only=True)
    theirs = torch.load(folder_of(finished) / "srtg_tiny_last.pth", weights_only=True)
    assert all(torch.equal(value, theirs["weights"][name]) for name, value in ours["weights"].items())


def test_debug_mode_prints_the_network_and_the_source_of_every_batch(tiny):
    process = tiny("--debug-mode", "--end-epoch", 1, "--lr-steps", 5)
    assert process.status == 0, process.output()
    assert "layer1.0.conv1.0.0.weight" in process.stdout
    assert "4x4x3x3x3" in process.stdout
    sources = [line for line in process.stdout.splitlines() if line.startswith("clips (4, 3, 4, 32, 32) from ")]
    assert len(sources) == 8
    videos = [word for line in sources for word in line.split(" from ")[1].split(" /")]
    assert len(set(videos)) == 32


def test_the_log_goes_to_the_file_given(tiny, tmp_path):
    assert tiny("--end-epoch", 1, "--log-file", tmp_path / "logs" / "mine.log", "--model-dir", "out").status == 0
    assert "Plan of the run" in (tmp_path / "logs" / "mine.log").read_text()
    assert not list((tmp_path / "out").rglob("train.log"))


def assert_one_line(process: Process, *parts: object, status: int = 2) -> None:
    """The process ended with `status` and one line on stderr that has all parts; no traceback anywhere."""
    assert process.status == status, process.output()
    assert "Traceback" not in process.output()
    assert process.stderr.count("\n") == 1, process.stderr
    assert "error: " in process.stderr
    for part in parts:
        assert str(part) in process.stderr


def write_bad_labels(folder: Path, *rows_: tuple[str, str]) -> Path:
    write_labels(folder / "train.csv", rows_)
    return write_labels(folder / "val.csv", rows_).parent


BAD_FLAGS = {
    "more GPUs than there are": (["--device", "auto", "--gpus", 2], ["--gpus 2", "--device cpu"]),
    "no GPU at all": (["--device", "cuda"], ["--device cuda", "0 GPUs"]),
    "batch over ranks": (["--gpus", 3], ["--batch-size 4", "3 GPUs", "multiple of 3"]),
    "batch over parts": (["--accumulate", 3], ["--batch-size 4", "--accumulate 3", "multiple of 3"]),
    "one clip of one value": (["--batch-size", 1], ["--batch-size 1:", "4x32x32", "--batch-size 2"]),
    "parts of one clip": (["--accumulate", 4], ["--accumulate 4:", "4x32x32", "--accumulate 2"]),
    "batch larger than the dataset": (["--batch-size", 33], ["--batch-size 33", "--batch-size 32"]),
    "network": (["--network", "srtg_r3d_35"], ["'srtg_r3d_35'", "srtg_r3d_50"]),
    "flag": (["--leaning-rate", 0.1], ["'--leaning-rate'"]),
    "near flag": (["--clip-sise", 32], ["'--clip-sise'", "--clip-size"]),
    "labels": (["--labels", "nowhere.csv"], ["nowhere.csv"]),
    "checkpoint": (["--pretrained-3d", "nowhere.pth"], ["nowhere.pth"]),
    "checkpoint of another kind": (["--pretrained-3d", "text.pth"], ["text.pth"]),
    "checkpoint of another network": (["--pretrained-3d", "other.pth"], ["other.pth"]),
    "checkpoint without state": (
        ["--pretrained-3d", "weights.pth", "--resume-epoch", 21], ["weights.pth", "--pretrained-3d"]
    ),
    "epoch that was not saved": (["--resume-epoch", 21], ["srtg_tiny_ep-0020.pth"]),
    "nothing to evaluate": (
        ["--resume-epoch", "auto", "--evaluate"], ["custom/srtg_tiny_gates_False", "--pretrained-3d"]
    ),
    "part of the weights to evaluate": (
        ["--pretrained-3d", "weights.pth", "--evaluate"], ["weights.pth", "--network", "--placement"]
    ),
    "lr steps": (["--lr-steps", 3, 2], ["--lr-steps 3 2"]),
    "warm-up": (["--warmup-epochs", 3], ["--warmup-epochs 3"]),
    "per-epoch without long cycles": (["--multigrid", "per-epoch"], ["--multigrid per-epoch", "--long-cycles"]),
}  # fmt: skip


def test_mistakes_of_the_command_line_are_one_line_each(server, small_dataset, tmp_path):
    """Users must see the flag or file, its value and the remedy; the status is 2."""
    (tmp_path / "text.pth").write_text("no checkpoint")
    torch.save({"body.weight": torch.zeros(3)}, tmp_path / "other.pth")
    torch.save({"state_dict": {"fc.weight": torch.zeros(4, 8)}}, tmp_path / "weights.pth")
    for name, (flags, parts) in BAD_FLAGS.items():
        process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=tmp_path)
        process.wait()
        print(name)
        assert_one_line(process, *parts)


def test_mistakes_in_the_dataset_are_one_line_each(tiny, small_dataset, tmp_path):
    assert_one_line(tiny(dataset="nowhere"), "nowhere")
    (tmp_path / "empty").mkdir()
    assert_one_line(tiny(dataset="empty"), "empty", "jpg")
    labels = write_bad_labels(tmp_path / "a", ("clap", "train_000"), ("fly", "train_001"))
    assert_one_line(tiny("--labels", labels), "'fly'")
    labels = write_bad_labels(tmp_path / "b", ("clap", "x_1"), ("jump", "x_2"))
    assert_one_line(tiny("--labels", labels), "x_1", small_dataset / "jpg", "train_000")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "train.csv").write_text("label,id\nclap\n")
    assert_one_line(tiny("--labels", tmp_path / "c"), tmp_path / "c", "train.csv", "val.csv")
    (tmp_path / "c" / "val.csv").write_text("label,id\nclap,train_000\n")
    assert_one_line(tiny("--labels", tmp_path / "c"), "train.csv", "line 2")


@pytest.fixture(scope="module")
def damaged_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with a training video that cannot be read."""
    dataset = write_small_dataset(tmp_path_factory.mktemp("damaged"), train=16, val=4, frames=4)
    (dataset / "jpg" / CLASSES[1] / "train_005" / "frames.db").write_bytes(b"no database")
    return dataset


def test_a_damaged_video_stops_training_with_its_name_or_is_replaced_and_listed(tiny, damaged_dataset):
    process = tiny(dataset=damaged_dataset)
    assert_one_line(process, damaged_dataset / "jpg" / CLASSES[1] / "train_005" / "frames.db", "--on-bad-video skip")
    skip = ("--on-bad-video", "skip")
    process = tiny(*skip, "--model-dir", "a", "--end-epoch", 1, dataset=damaged_dataset)
    assert process.status == 0, process.output()
    assert re.search(r"^ *1 videos", process.stdout, re.MULTILINE)
    assert "train_005/frames.db" in process.stdout
    assert "train_005/frames.db" in next(process.stdout_file.parent.glob("a/*/train.log")).read_text()
    # The error of a worker must look the same.
    process = tiny("--workers", 1, "--model-dir", "b", dataset=damaged_dataset)
    assert_one_line(process, "train_005/frames.db")


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_damaged_validation_video_costs_no_epoch(tiny, tmp_path, ranks):
    """It is found after the epoch's last step. `stop` must keep that epoch, and `skip` must not score another video."""
    dataset = write_small_dataset(tmp_path / "data", train=8, val=5, frames=4)
    (dataset / "jpg" / CLASSES[2] / "val_002" / "frames.db").write_bytes(b"no database")
    flags = ("--gpus", ranks, "--end-epoch", 1, "--lr-steps", 9, "--val-clips", 2)
    stopped = tiny(*flags, dataset=dataset)
    assert_one_line(stopped, "validation", "val_002/frames.db", "--on-bad-video skip")
    run = folder_of(stopped, "srtg_tiny_gates_False")
    assert torch.load(run / "srtg_tiny_last.pth", weights_only=True)["position"] == {"epoch": 1, "step": 2}
    assert "val_002/frames.db" in (run / "train.log").read_text()
    process = tiny(*flags, "--on-bad-video", "skip", "--resume-epoch", "auto", dataset=dataset)
    assert process.status == 0, process.output()
    assert "Speed" not in process.stdout  # straight to the validation
    assert re.search(r"validation .*\(4 of 5 videos; 1 could not be read\)", process.stdout)
    assert process.stdout.count("val_002/frames.db") == 1
    (row,) = rows(run / "scores_val.csv")
    assert (row["videos"], row["bad_videos"]) == ("4", "1")
    assert [row["clips"] for row in rows(run / "scores_train.csv")] == ["8"]


def test_a_validation_without_a_readable_video_is_no_score(tiny, tmp_path):
    dataset = write_small_dataset(tmp_path / "data", train=4, val=2, frames=4)
    for path in (dataset / "jpg").glob("*/val_*/frames.db"):
        path.write_bytes(b"no database")
    process = tiny("--end-epoch", 1, "--on-bad-video", "skip", "--model-dir", "a", dataset=dataset)
    assert_one_line(process, "none of the 2 validation videos", "--dataset")
    process = tiny("--end-epoch", 1, "--on-bad-video", "skip", "--bad-video-limit", 1, dataset=dataset)
    assert_one_line(process, "2 bad videos", "--bad-video-limit allows 1")


def test_too_many_damaged_videos_stop_the_run(tiny, tmp_path):
    dataset = write_small_dataset(tmp_path / "data", train=8, val=2, frames=4)
    for number in (0, 3, 5):
        (dataset / "jpg" / CLASSES[number % 4] / f"train_{number:03d}" / "frames.db").write_bytes(b"")
    process = tiny("--on-bad-video", "skip", "--bad-video-limit", 2, dataset=dataset)
    assert_one_line(process, "frames.db", " bad videos", "--bad-video-limit allows 2")


def test_a_loss_that_is_not_finite_ends_the_run_with_status_1(tiny, tmp_path):
    process = tiny("--lr-base", "1e30", "--model-dir", "out")
    assert process.status == 1
    for fact in ("step 2 of epoch 1", "batch 4,", "4x32x32", "lr 1e+30", "--lr-base", "--debug-mode"):
        assert fact in process.stdout.splitlines()[-1]
    assert "Traceback" not in process.output()
    assert not list((tmp_path / "out").rglob("*.pth"))


def test_a_reading_process_that_dies_ends_the_run_with_a_remedy(server, small_dataset, tmp_path):
    """If memory runs out, the system kills a worker; torch's own message is a traceback with a process number."""
    flags = ("--workers", 1, "--end-epoch", 500)
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=tmp_path)
    process.wait_for("[0008/0008]")
    (worker, *_) = process.children()
    process.send(signal.SIGKILL, worker)
    assert process.wait() == 1
    for fact in (str(worker), "--workers", "--batch-size"):
        assert fact in process.stdout.splitlines()[-1]


def published_checkpoint(path: Path) -> dict[str, torch.Tensor]:
    """Weights of 400 classes as the original's code saves them."""
    torch.manual_seed(3)
    weights = create_network("srtg_tiny", 400).state_dict()
    torch.save({"epoch": 80, "state_dict": {f"module.{name}": value for name, value in weights.items()}}, path)
    return weights


def test_fine_tuning_from_a_published_checkpoint(tiny, tmp_path, monkeypatch):
    """400 classes, names of DataParallel, BGR: these are the files that users of the original have."""
    from network.registry import _builders
    from tests.tiny_network import register_tiny_networks

    monkeypatch.setattr("network.registry._builders", dict(_builders))
    register_tiny_networks()
    weights = published_checkpoint(tmp_path / "published.pth")
    flags = ("--pretrained_3d", "published.pth", "--fine-tune", "True", "--lr-base", "1e-9", "--lr-steps", 9)
    process = tiny(*flags, "--end-epoch", 1)
    assert process.status == 0, process.output()
    assert "BGR" in process.stdout
    assert re.search(r"400x8\b.*\b4x8\b", process.stdout)
    assert re.search(r"fine-tuning: \d+ .*\b0\.1\b.*\b2 others .*: fc\.weight, fc\.bias$", process.stdout, re.MULTILINE)
    # The rate is almost zero, so that the weights are still those that were loaded.
    trained = torch.load(folder_of(process, "srtg_tiny_gates_False") / "srtg_tiny_last.pth", weights_only=True)
    torch.testing.assert_close(trained["weights"]["stem.0.weight"], weights["stem.0.weight"].flip(1))
    recursion = "layer3.0.sar.lstm.weight_hh_l1"
    torch.testing.assert_close(trained["weights"][recursion], weights[recursion])
    assert trained["network"]["normalisation"] == NORMALISATIONS["srtg-original"].plain()
    assert set(trained["loaded"]) == set(weights) - {"fc.weight", "fc.bias"}
    factors = {group["lr_share"]: len(group["params"]) for group in trained["optimizer"]["param_groups"]}
    assert factors == {1.0: 2, 0.1: len(list(create_network("srtg_tiny", 4).parameters())) - 2}


def test_real_scripts_train_fine_tune_and_resume(tmp_path):
    """Like the original's third command, with the scripts themselves: from one dataset's weights to another dataset."""
    first = write_small_dataset(tmp_path / "ucf" / "videos", train=4, val=2, frames=4,
                                files=("ucf101_split1_train.csv", "ucf101_split1_val.csv"))  # fmt: skip
    second = write_small_dataset(tmp_path / "kinetics" / "videos", classes=("a", "b", "c"), train=4, val=2, frames=4,
                                 files=("kinetics-700_train.csv", "kinetics-700_val.csv"))  # fmt: skip

    def run(script: str, *flags: object) -> str:
        command = [sys.executable, ROOT / script, *SMALL.split(), *flags]
        done = subprocess.run(
            list(map(str, command)), cwd=tmp_path, env=ENVIRONMENT | {"PATH": ""}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("train_ucf101.py", "--dataset", first)
    checkpoint = tmp_path / "results" / "UCF101" / "srtg_r3d_10_gates_False" / "srtg_r3d_10_ep-0001.pth"
    output = run(
        "train_kinetics.py", "--dataset", second, "--variant", "700", "--pretrained_3d", checkpoint,
        "--fine-tune", "True", "--long-cycles", "False", "--short-cycles", "False",
    )  # fmt: skip
    assert re.search(r"4x512\b.*\b3x512\b", output)
    assert re.search(r"fine-tuning: .*\b2 others .*: fc\.weight, fc\.bias$", output, re.MULTILINE)
    assert (tmp_path / "results" / "Kinetics-700" / "srtg_r3d_10_gates_False" / "srtg_r3d_10_ep-0001.pth").is_file()


def shared_memory_of(pids: Iterable[int]) -> set[str]:
    """The files in /dev/shm that one of these processes has mapped or whose name has its number; no semaphores."""
    found = set()
    for pid in pids:
        with suppress(OSError):  # it has just ended
            found.update(re.findall(r"/dev/shm/(?!sem\.)(\S+)", Path(f"/proc/{pid}/maps").read_text()))
        numbered = re.compile(rf"(?<!\d){pid}(?!\d)")
        found.update(path.name for path in Path("/dev/shm").iterdir() if numbered.search(path.name))
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_interrupted_or_killed_leaves_no_process_and_no_shared_memory(
    server, small_dataset, tmp_path, number
):
    """Ctrl-C goes to all processes of the terminal, a kill only to the main process."""
    flags = ("--workers", 2, "--end-epoch", 500)
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=tmp_path)
    process.wait_for("[0008/0008]")
    assert len(process.children()) >= 2
    members = process.members()
    used = shared_memory_of(members)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)
        assert process.wait() == 130
        assert "Traceback" not in process.output()
    else:
        process.send(number)
        assert process.wait() == -number
    deadline = time.monotonic() + 120
    while process.members():
        assert time.monotonic() < deadline, process.members()
        time.sleep(0.02)
    left = {name for name in used | shared_memory_of(members) if (Path("/dev/shm") / name).exists()}
    assert not left


def test_a_folder_belongs_to_one_run_at_a_time(server, tiny, small_dataset, tmp_path):
    """Two runs mixed their score rows and overwrote each other's checkpoints, and both ended with status 0."""
    flags = ("--model-dir", "runs", "--end-epoch", 500)
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=tmp_path)
    process.wait_for("Epoch [001/500] validation")
    run = tmp_path / "runs" / "srtg_tiny_gates_False"
    for more in ((), ("--resume-epoch", "auto")):
        second = tiny("--model-dir", "runs", *more)
        assert_one_line(second, run.relative_to(tmp_path), f"process {process.pid}", "--task-name")
    evaluation = tiny("--model-dir", "runs", "--evaluate", "--resume-epoch", "auto")
    assert evaluation.status == 0, evaluation.output()
    process.send(signal.SIGKILL)
    process.wait()
    resumed = server.start(
        TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, "--resume-epoch", "auto", folder=tmp_path
    )
    resumed.wait_for("Plan of the run")  # at once: the lock ends with its process
    resumed.send(signal.SIGTERM)
    assert resumed.wait() == 143, resumed.output()
    assert "evaluating" not in (run / "train.log").read_text()


def refused_folder(folder: Path) -> dict[str, tuple[object, ...]]:
    (folder / "file").write_text("no folder")
    (folder / "logs").mkdir()
    return {
        "file": ("--model-dir", "file"),
        "proc": ("--model-dir", "/proc/here"),
        "File name too long": ("--model-dir", "x" * 300),
        "--log-file": ("--model-dir", "new", "--log-file", "./logs"),
        "nowhere": ("--model-dir", "new", "--dataset", "nowhere"),
    }


def test_a_command_that_is_refused_leaves_nothing_behind(server, small_dataset, tmp_path):
    """An empty run folder with a log looks like a run that has failed."""
    for fact, flags in refused_folder(tmp_path).items():
        process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags, folder=tmp_path)
        process.wait()
        assert_one_line(process, fact)
        assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("output", ["closed pipe", "/dev/full"])
def test_a_run_goes_on_without_its_console_and_says_why(small_dataset, tmp_path, output):
    """`| head`, a killed `tee` or a closed terminal ended a run with no reason anywhere, and with nothing saved."""
    reader, writer = os.pipe()
    os.close(reader)
    target = writer if output == "closed pipe" else os.open(output, os.O_WRONLY)
    command = [sys.executable, TINY, "--dataset", small_dataset, *TINY_FLAGS, "--end-epoch", 1, "--lr-steps", 9]
    done = subprocess.run(
        list(map(str, command)), cwd=tmp_path, env=os.environ | ENVIRONMENT, stdout=target, stderr=subprocess.PIPE,
        check=False,
    )  # fmt: skip
    os.close(target)
    assert (done.returncode, done.stderr) == (0, b"")
    run = tmp_path / "results" / "custom" / "srtg_tiny_gates_False"
    log = (run / "train.log").read_text()
    assert log.count("standard output is gone") == 1 and "Epoch [001/001] validation" in log
    assert (run / "srtg_tiny_ep-0001.pth").is_file()


def test_text_that_the_console_cannot_show_ends_no_run(tmp_path):
    """Class names may have any letters, and names of files any bytes, also those that move the cursor."""
    dataset = write_small_dataset(tmp_path / "d\x1b[2Jé→", classes=("né→", "[red]"), train=4, val=2, frames=4)
    with (dataset / "labels" / "train.csv").open("a") as file:
        file.write("né→,missing\n")
    for encoding in ("ascii", "utf-8:strict"):
        command = [sys.executable, TINY, "--dataset", dataset, *TINY_FLAGS, "--end-epoch", 1, "--lr-steps", 9]
        done = subprocess.run(
            [*map(str, command), "--model-dir", encoding], cwd=tmp_path, capture_output=True, check=False,
            env=os.environ | ENVIRONMENT | {"PYTHONIOENCODING": encoding},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout
        (log,) = (tmp_path / encoding).glob("*/train.log")
        assert "\x1b" not in log.read_text(encoding="utf-8")


def test_the_terminal_s_end_is_like_other_signals_unless_it_is_ignored(server, small_dataset, tmp_path):
    """SIGHUP ended a run with its steps unsaved; under nohup it must stay without effect."""
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, "--end-epoch", 500, folder=tmp_path)
    process.wait_for("Speed")
    process.send(signal.SIGHUP)
    assert process.wait() == 129, process.output()
    run = tmp_path / "results" / "custom" / "srtg_tiny_gates_False"
    assert "SIGHUP" in (run / "train.log").read_text().splitlines()[-1]
    assert torch.load(run / "srtg_tiny_last.pth", weights_only=True)["progress"]["global_step"] > 0
    flags = ("--end-epoch", 3, "--model-dir", "nohup")
    command = ["nohup", sys.executable, TINY, "--dataset", small_dataset, *TINY_FLAGS, *flags]
    ignoring = subprocess.Popen(
        list(map(str, command)), cwd=tmp_path, env=os.environ | ENVIRONMENT, stdout=subprocess.PIPE, text=True
    )
    assert ignoring.stdout is not None
    with ignoring.stdout:
        for line in ignoring.stdout:
            if "Speed" in line:
                ignoring.send_signal(signal.SIGHUP)
    assert ignoring.wait() == 0


def test_a_signal_before_the_first_step_is_one_line(server, small_dataset, tmp_path):
    process = server.start(TINY, "--dataset", small_dataset, *TINY_FLAGS, "--workers", 0, folder=tmp_path)
    process.wait_for("training on the CPU")
    process.send(signal.SIGTERM)
    if process.wait() == 143:
        assert "Traceback" not in process.output() and process.stderr == ""
        assert process.stdout.splitlines()[-1].startswith("stopped by a signal (SIGTERM)")


def test_weights_that_are_not_finite_are_neither_a_score_nor_a_start(finished, tiny, tmp_path):
    """The last line was no JSON, and the top-1 was the share of the first class."""
    weights = dict(torch.load(folder_of(finished) / "srtg_tiny_best.pth", weights_only=True)["weights"])
    weights["stem.1.running_var"] = torch.full_like(weights["stem.1.running_var"], float("nan"))
    torch.save({"state_dict": weights}, tmp_path / "nan.pth")
    for flags in (("--evaluate",), ()):
        assert_one_line(tiny("--gates", *flags, "--pretrained-3d", "nan.pth"), "nan.pth", "stem.1.running_var")
