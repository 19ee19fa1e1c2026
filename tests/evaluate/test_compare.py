"""`python -m evaluate.compare`: its numbers against scipy, and what it says and refuses."""

import json
import os
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch

from common.cli import run_command
from evaluate.compare import main
from evaluate.comparison.comparing import compare_predictions, conclusion, shown_classes
from evaluate.comparison.later_weights import later_weights
from evaluate.fuse import main as fuse_main
from evaluate.model import load_model
from evaluate.results.bootstrap import video_results
from evaluate.results.checkpoint_file import checkpoint_facts
from evaluate.results.predictions import Predictions
from network import registry
from network.weights.tensors import checksum
from tests.evaluate.predicted import make_predictions, write, write_evaluation
from tests.evaluate.tiny_model import BUILDERS, write_checkpoint


def run(server, folder, *arguments):
    """The JSON of the last line, after the command has succeeded."""
    process = server.start("-m", "evaluate.compare", *arguments, folder=folder)
    assert process.wait() == 0, process.output()
    return json.loads(process.stdout.splitlines()[-1])


def seeds(folder, network, skill, count=3, **options):
    """Evaluations of some seeds of a run, as folders of runs."""
    for seed in range(count):
        write(
            folder / f"{network}_{seed}" / "evaluation_val_5x3" / "predictions.npz",
            make_predictions(
                videos=120, classes=6, seed=100 * len(network) + seed, skill=skill, network=network,
                checkpoint=f"{network}_{seed}.pth", options={"random_seed": seed, "network": network, **options},
            ),
        )  # fmt: skip
    return [folder / f"{network}_{seed}" for seed in range(count)]


def test_the_interval_of_a_difference_is_that_of_scipy():
    """Paired: of unpaired samples it would be half as wide again, and hide what the networks differ in."""
    a, b = make_predictions(videos=200, seed=1, skill=1.0), make_predictions(videos=200, seed=2, skill=1.4)
    found = compare_predictions([a], [b], resamples=20000).scores
    one, other = video_results(a), video_results(b)
    for name, values in {"loss": (one.loss, other.loss), "top1": (100.0 * one.top1, 100.0 * other.top1)}.items():
        expected = scipy.stats.bootstrap(
            values, lambda x, y, axis: (y - x).mean(axis=axis), paired=True, vectorized=True, n_resamples=10000,
            method="percentile", rng=np.random.default_rng(1),
        ).confidence_interval  # fmt: skip
        difference = found[name].difference
        assert difference.value == pytest.approx((values[1] - values[0]).mean())
        width = expected.high - expected.low
        assert (difference.low, difference.high) == pytest.approx(tuple(expected), abs=0.06 * width), name


def test_intervals_of_a_difference_cover_it():
    """150 pairs of networks that share half of their mistakes; the true difference is 10 points."""
    generator = np.random.default_rng(3)
    covered = 0
    labels = np.repeat(np.arange(3), 50)
    ids = np.char.mod("%03d", np.arange(150))
    for _ in range(150):
        shared = generator.random(150) < 0.5
        hits = [np.where(shared, generator.random(150) < 0.7, generator.random(150) < rate) for rate in (0.5, 0.7)]
        sides = [
            Predictions(
                ids, labels, tuple("abc"),
                np.log(np.where((np.arange(3) == labels[:, None]) == hit[:, None], 0.5, 0.25)).astype(np.float32),
            )
            for hit in hits
        ]  # fmt: skip
        difference = compare_predictions(sides[:1], sides[1:], resamples=400).scores["top1"].difference
        covered += difference.low <= 10 <= difference.high
    assert 0.90 <= covered / 150 <= 0.99


def test_wins_are_the_videos_that_one_alone_has_right():
    """McNemar's counts, in all and for each class."""
    a, b = make_predictions(videos=150, seed=4), make_predictions(videos=150, seed=5, skill=2.5)
    comparison = compare_predictions([a], [b], resamples=50)
    one, other = video_results(a), video_results(b)
    wins = int((one.top1 & ~other.top1).sum()), int((other.top1 & ~one.top1).sum())
    assert (comparison.discordant.a_wins, comparison.discordant.b_wins) == wins
    assert comparison.discordant.p == pytest.approx(scipy.stats.binomtest(wins[0], sum(wins)).pvalue)
    for each in comparison.classes:
        own = one.labels == a.classes.index(each.name)
        assert each.videos == own.sum()
        assert each.discordant.b_wins == (other.top1 & ~one.top1 & own).sum()
        assert each.b == pytest.approx(100 * other.top1[own].mean())
        assert each.holm_p >= each.discordant.p
    shown = shown_classes(comparison.classes, 3)
    assert [each.discordant.p for each in shown] == sorted(each.discordant.p for each in comparison.classes)[:3]


def test_seeds_of_both_sides(server, tmp_path):
    """Mean, sample standard deviation, and an interval that is wider than that of the videos alone."""
    a, b = seeds(tmp_path, "plain", 1.2), seeds(tmp_path, "gated", 2.4, lr_base=0.5)
    output = tmp_path / "out" / "comparison.json"
    found = run(server, tmp_path, *a, "--with", *b, "--output", output)
    top1 = found["scores"]["top1"]
    assert found["seeds"] == [3, 3]
    assert top1["a"]["standard_deviation"] == pytest.approx(np.std(top1["a"]["seeds"], ddof=1))
    assert top1["difference"] == pytest.approx(np.mean(top1["b"]["seeds"]) - np.mean(top1["a"]["seeds"]))
    low, high = top1["interval"]
    assert high - low >= 2 * 1.95 * top1["spread"]["videos"]
    assert found["mcnemar_p"] is None  # it would not cover seeds
    assert found["interval_covers"] == ["videos", "seeds"]
    assert [each["name"] for each in found["options"]] == ["network", "lr_base", "checkpoint"]
    written = json.loads(output.read_text())
    assert len(written.pop("classes")) == 6
    assert written == found
    assert run(server, tmp_path, *a, "--with", *b, "--output", output) == found  # replaces its own output


def hits(videos, *misses):
    """Predictions of the class 0 for videos of this class, but for those that are missed."""
    scores = np.tile(np.log([0.75, 0.25]), (videos, 1)).astype(np.float32)
    scores[list(misses)] = scores[list(misses), ::-1]
    ids = np.char.mod("a/%04d", np.arange(videos))
    return Predictions(ids, np.zeros(videos, np.int64), ("a", "b"), scores)


@pytest.mark.parametrize(("lost", "is_difference"), [(4, False), (5, False), (6, True)])
def test_seeds_that_agree_by_chance_are_no_difference(tmp_path, monkeypatch, capsys, lost, is_difference):
    """Two seeds with as many hits each have no spread: four videos would make one method better than another."""
    a = [hits(24, 22), hits(24, 23)]
    b = [hits(24, *range(lost // 2), 22), hits(24, *range(lost // 2, lost), 23)]
    assert compare_predictions(a, b).scores["top1"].difference.high < 0
    found = conclusion(compare_predictions(a, b))
    assert found.startswith("A has a higher" if is_difference else "Not distinguishable"), found
    assert is_difference or f"only {lost} of them" in found
    files = [write(tmp_path / f"{number}.npz", each) for number, each in enumerate([*a, *b])]
    monkeypatch.setattr("sys.argv", ["compare", *map(str, files[:2]), "--with", *map(str, files[2:])])
    assert main() == 0
    warnings = json.loads(capsys.readouterr().out.splitlines()[-1])["warnings"]
    assert any("two seeds" in each and "A and B" in each for each in warnings)


def test_names_of_options_cannot_steer_the_terminal(server, tmp_path):
    """predictions.npz that somebody gave could clear the screen, or show another conclusion."""
    (a,) = seeds(tmp_path, "one", 1.0, count=1, **{"a\x1b[2J": "\x1b[31m1"})
    (b,) = seeds(tmp_path, "two", 1.0, count=1, **{"a\x1b[2J": "2\x9b"})
    process = server.start("-m", "evaluate.compare", a, b, folder=tmp_path)
    assert process.wait() == 0, process.output()
    assert "a\\x1b[2J" in process.stdout and not {"\x1b", "\x9b"} & set(process.stdout)


def test_one_seed_a_side(server, tmp_path):
    """The same numbers each time; videos of one side alone are counted."""
    whole = make_predictions(videos=90, seed=6)
    a = write(tmp_path / "a.npz", whole)
    rows = slice(0, 80)
    part = make_predictions(videos=90, seed=7)
    b = write(
        tmp_path / "b.npz", Predictions(part.ids[rows], part.labels[rows], part.classes, part.log_probabilities[rows])
    )
    found = run(server, tmp_path, a, b)
    assert (found["videos"], found["left_out"]) == (80, [10, 0])
    assert found["mcnemar_p"] == pytest.approx(
        scipy.stats.binomtest(found["a_wins"], found["a_wins"] + found["b_wins"]).pvalue
    )
    assert found == run(server, tmp_path, a, b)


@pytest.mark.parametrize("command", [main, fuse_main], ids=["compare", "fuse"])
def test_weights_that_were_trained_further_are_told(tmp_path, monkeypatch, capsys, command):
    """An evaluation outlives its weights: it would be compared in the name of those that are there now."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", BUILDERS["srtg_tiny"])
    monkeypatch.chdir(tmp_path)
    files = []
    for name, own in (("same", None), ("other", "0badc0de")):
        path = tmp_path / name / "x_best.pth"
        path.parent.mkdir()
        write_checkpoint(path)
        about = {"checkpoint": f"elsewhere/{path.name}", "weights_digest": own or load_model(path).weights_digest()}
        evaluation = path.parent / "evaluation_val_1x1"
        files.append(write(evaluation / "predictions.npz", make_predictions(seed=len(name), **about)))
        summary = {"date": "2026-01-02T03:04:05+00:00", "weights_digest": about["weights_digest"]}
        (evaluation / "summary.json").write_text(json.dumps(summary))
        os.utime(path, (1.9e9, 1.9e9))
        os.utime(files[-1], (2e9, 2e9))  # as a copy has it
    monkeypatch.setattr("sys.argv", ["x", *map(str, files)])
    assert command() == 0
    warnings = json.loads(capsys.readouterr().out.splitlines()[-1])["warnings"]
    (told,) = [each for each in warnings if "other weights now" in each]
    assert told.startswith(str(files[1].parent))
    (tmp_path / "other" / "x_best.pth").unlink()
    assert command() == 0
    assert "other weights now" not in capsys.readouterr().out


def test_a_checkpoint_of_an_earlier_clock_is_told(tmp_path, monkeypatch):
    """Of a machine whose clock is behind, or restored from a backup: its time says that it was there before."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", BUILDERS["srtg_tiny"])
    monkeypatch.chdir(tmp_path)
    for folder in ("run", "elsewhere"):
        Path(folder).mkdir()
    path = Path("elsewhere", "x_best.pth")
    write_checkpoint(path)
    about = {"checkpoint": str(path), "weights_digest": load_model(path).weights_digest()} | checkpoint_facts(path)
    now = path.stat().st_mtime + 100

    def told(**other):
        return later_weights({**about, **other}, tmp_path / "run", now)

    assert told(weights_digest="0badc0de") is None  # as it was found: not read
    copy = tmp_path / "run" / path.name
    write_checkpoint(copy, seed=1)
    os.utime(copy, (now - 7200, now - 7200))
    assert f"the scores are of {path}, and {copy}, which has the same name" in told()  # as of a backup, or another run
    write_checkpoint(copy)
    os.utime(copy, (now - 7100, now - 7100))
    assert told() is None
    copy.unlink()
    os.utime(path, (now - 7200, now - 7200))
    assert told() is None  # a copy with another time has the same weights
    write_checkpoint(path, seed=1)
    os.utime(path, (now - 3600, now - 3600))
    assert "was written again after this evaluation (its time, " in told()
    assert told(checkpoint_file=None) is None  # of an older version, which does not tell how it found the file


def test_weights_without_averages_are_compared_with_their_like(tmp_path, monkeypatch):
    """`--weights raw` evaluates others than a file is read as: a copy of it would be called trained further."""
    monkeypatch.setitem(registry._builders, "srtg_tiny", BUILDERS["srtg_tiny"])
    path = tmp_path / "x_last.pth"
    raw = write_checkpoint(path).state_dict()
    average = {name: each + 1 if each.is_floating_point() else each for name, each in raw.items()}
    write_checkpoint(path, ema={"updates": torch.tensor(1), "weights": average})
    mean = load_model(path).weights_digest()
    about = {"checkpoint": path.name, "weights_digest": f"{checksum(raw):08x}", "weights": "raw"}
    assert mean != about["weights_digest"]
    assert later_weights(about, tmp_path, 0) is None
    assert later_weights(about | {"weights": "ema", "weights_digest": mean}, tmp_path, 0) is None
    assert "other weights" in later_weights(about | {"weights_digest": mean}, tmp_path, 0)


def test_an_export_is_known_by_its_bytes(tmp_path):
    """Loading it to tell would cost seconds, and log tracebacks of a file that is damaged."""
    path = tmp_path / "x.onnx"
    path.write_bytes(b"exported")
    digest = f"{zlib.crc32(b'exported'):08x}"  # as `read_exported` makes it
    assert later_weights({"checkpoint": "x.onnx", "weights_digest": digest}, tmp_path, 0) is None
    assert "other content" in later_weights({"checkpoint": "x.onnx", "weights_digest": "0badc0de"}, tmp_path, 0)


def test_a_file_that_is_no_export_is_not_read_into_memory(tmp_path):
    """A hole of 40 GB, which a small archive may hold, ended the report for lack of memory."""
    with (tmp_path / "x.onnx").open("wb") as file:
        file.truncate(40 * 2**30)
    assert later_weights({"checkpoint": "x.onnx", "weights_digest": "0badc0de"}, tmp_path, 0) is None
    with (tmp_path / "y.onnx").open("wb") as file:
        file.truncate(2**28)
    code = (
        "import pathlib, resource; from evaluate.comparison.later_weights import later_weights; "
        "used = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; before = used(); "
        "print(later_weights({'checkpoint': 'y.onnx', 'weights_digest': '0'}, pathlib.Path(%r), 0)); "
        "assert used() - before < 2**17"  # KiB
    )
    result = subprocess.run([sys.executable, "-c", code % str(tmp_path)], capture_output=True, text=True, check=True)
    assert "other content" in result.stdout


def test_the_same_predictions_are_no_result(server, tmp_path):
    """The same file twice looks like two networks that agree."""
    a = write(tmp_path / "a.npz", make_predictions(seed=8))
    found = run(server, tmp_path, a, a)
    assert found["scores"]["top1"]["interval"] == [0, 0]
    assert found["mcnemar_p"] == 1
    assert any("same" in warning for warning in found["warnings"])


def on_frames(seed, version, videos=60, **about):
    """Predictions of videos that were converted for the `version`th time."""
    found = make_predictions(seed=seed, videos=videos, source="frames", **about)
    samples = dict.fromkeys(found.ids.tolist()[::6], f"{version}")
    found.about["content"] = {"videos": "a", "counts": "c", "samples": samples}
    return found


def test_other_frames_under_the_same_ids_are_told(server, tmp_path):
    """Videos that were converted anew, smaller, would make one network better than another."""
    a, b, c = (
        write(tmp_path / f"{number}.npz", on_frames(number, version))
        for number, version in enumerate(["old", "new", "new"])
    )
    other = "other frames (in 10 of 10 videos looked at) under the same ids"
    (line,) = [each for each in run(server, tmp_path, a, b)["warnings"] if "other frames" in each]
    assert line.startswith(f"A and B were evaluated on {other}")
    found = run(server, tmp_path, b, c)
    assert not any("other frames" in each for each in found["warnings"])
    assert not any("content" in each["name"] for each in found["options"])
    lines = [each for each in run(server, tmp_path, a, b, "--with", c)["warnings"] if "other frames" in each]
    assert lines[1].startswith(f"the files of A were evaluated on {other}") and len(lines) == 2
    old = write(tmp_path / "old.npz", make_predictions(seed=5))  # of an older version
    assert not any("other frames" in each for each in run(server, tmp_path, a, old)["warnings"])


def test_frames_of_videos_that_are_left_out_do_not_count(server, tmp_path):
    """A warning of them would send a user to look for a difference that is not there."""
    whole, other = on_frames(1, "old"), on_frames(2, "old")
    whole.about["content"]["samples"][str(whole.ids[0])] = "new"
    rows = slice(1, None)
    part = Predictions(
        other.ids[rows], other.labels[rows], other.classes, other.log_probabilities[rows], other.about
    )  # fmt: skip
    a, b = write(tmp_path / "a.npz", whole), write(tmp_path / "b.npz", part)
    assert not any("other frames" in each for each in run(server, tmp_path, a, b)["warnings"])


def test_an_infinite_loss_is_null_in_the_json(server, tmp_path):
    """NaN and Infinity are words that most parsers of JSON refuse."""
    predictions = make_predictions(seed=9)
    scores = predictions.log_probabilities[0]
    scores[predictions.labels[0]] = -np.inf
    scores -= np.log(np.exp(scores).sum())
    a, b = write(tmp_path / "a.npz", predictions), write(tmp_path / "b.npz", make_predictions(seed=10))
    loss = run(server, tmp_path, a, b)["scores"]["loss"]
    assert loss["a"]["mean"] is None and loss["interval"] == [None, None]
    c = write(tmp_path / "c.npz", make_predictions(seed=11))
    assert run(server, tmp_path, a, c, "--with", b)["scores"]["loss"]["interval"] == [None, None]


WRONG = {
    "no such file": "a.npz nowhere.npz",
    "a text file": "a.npz text.npz",
    "a damaged file": "a.npz cut.npz",
    "an empty file": "a.npz empty.npz",
    "an empty folder": "a.npz folder",
    "a pipe": "a.npz pipe",
    "one path": "a.npz",
    "three paths": "a.npz b.npz c.npz",
    "a path too long": f"a.npz {'x' * 300}",
    "no seeds of B": "a.npz --with",
    "the same seed twice": "a.npz a.npz --with b.npz",
    "the same seed by another path": "a.npz folder/../a.npz --with b.npz",
    "a copy of a seed": "a.npz copy.npz --with b.npz",
    "other classes": "a.npz classes.npz",
    "other labels": "a.npz labels.npz",
    "other videos": "a.npz ids.npz",
    "several evaluations": "a.npz run",
    "an evaluation that is not there": "a.npz run --evaluation evaluation_val_9x9",
    "an evaluation elsewhere": "a.npz run --evaluation ../run/evaluation_val_1x1",
    "an evaluation of no run": "a.npz b.npz --evaluation evaluation_val_1x1",
    "an output of another kind": "a.npz b.npz --output out.csv",
    "an output that is a folder": "a.npz b.npz --output folder.json",
    "an output that is another's": "a.npz b.npz --output options.json",
    "an output below a file": "a.npz b.npz --output a.npz/out.json",
    "an unknown flag": "a.npz b.npz --outptu x.json",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    a = write(folder / "a.npz", make_predictions())
    (folder / "copy.npz").write_bytes(a.read_bytes())
    (folder / "cut.npz").write_bytes(a.read_bytes()[:500])
    (folder / "empty.npz").touch()
    (folder / "text.npz").write_text("ids,labels\n")
    (folder / "options.json").write_text('{"options": {}}')
    (folder / "folder").mkdir()
    (folder / "folder.json").mkdir()
    os.mkfifo(folder / "pipe")
    for name in ("b", "c"):
        write(folder / f"{name}.npz", make_predictions(seed=ord(name)))
    first = make_predictions()
    for name, ids, labels, classes in (
        ("classes", first.ids, first.labels, ("other", *first.classes[1:])),
        ("labels", first.ids, (first.labels + 1) % 5, first.classes),
        ("ids", np.char.add(first.ids, "x"), first.labels, first.classes),
    ):
        write(folder / f"{name}.npz", Predictions(ids, labels, classes, first.log_probabilities))
    for name in ("evaluation_val_1x1", "evaluation_val_5x3"):
        write(folder / "run" / name / "predictions.npz", first)
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_command_is_one_line(monkeypatch, capsys, inputs, name):
    """Status 2, and nothing was written or changed."""
    before = {path: path.stat().st_mtime_ns for path in inputs.rglob("*")}
    monkeypatch.chdir(inputs)
    monkeypatch.setattr("sys.argv", ["compare", *WRONG[name].split()])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 1 and not output.out
    assert {path: path.stat().st_mtime_ns for path in inputs.rglob("*")} == before


def test_what_an_evaluation_warned_of_is_said_again(server, tmp_path):
    """B had been trained on the videos: its higher score was read as a result.

    A line for what several have; none of a summary that is of other predictions.
    """
    sides = [make_predictions(seed=seed, weights_digest=str(seed), split="val") for seed in (1, 2, 3)]
    trained, exchanged = "x.pth was trained on these very videos", "2 of 7 videos looked at hold others"
    a, b, c = (
        write_evaluation(tmp_path / name, side, *lines)
        for name, side, lines in zip("abc", sides, ((exchanged,), (exchanged, trained), (exchanged,)), strict=True)
    )
    process = server.start("-m", "evaluate.compare", a, b, folder=tmp_path)
    assert process.wait() == 0 and f"warning: {b}: {trained}" in process.output()
    own = [f"{a}, {b}: {exchanged}", f"{b}: {trained}"]
    assert [each for each in run(server, tmp_path, a, b)["warnings"] if str(tmp_path) in each] == own
    found = run(server, tmp_path, a, c, "--with", b)["warnings"]
    assert f"{a}, {c} and 1 more: {exchanged}" in found
    for change in (
        {"weights_digest": "2", "split": "test"},
        {"weights_digest": "9"},
        {"weights_digest": "2", "warnings": 5},
    ):
        (b / "summary.json").write_text(json.dumps({"split": "val", "warnings": [trained], **change}))
        assert not any(trained in each for each in run(server, tmp_path, a, b)["warnings"])
