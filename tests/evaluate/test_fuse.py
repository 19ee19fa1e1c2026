"""`python -m evaluate.fuse`: ensembles, and the mean over official splits."""

import json

import numpy as np
import pytest

from common.cli import run_command
from evaluate.fuse import fuse, main
from evaluate.results.bootstrap import scores_with_intervals
from evaluate.results.predictions import Predictions, read_predictions
from tests.evaluate.predicted import make_predictions, write, write_evaluation


def run(server, folder, *arguments):
    """The JSON of the last line, after the command has succeeded."""
    process = server.start("-m", "evaluate.fuse", *arguments, folder=folder)
    assert process.wait() == 0, process.output()
    return json.loads(process.stdout.splitlines()[-1])


def split(number, checkpoint=None):
    """Predictions of a split: its videos are in no other."""
    each = make_predictions(seed=number, truth=number, skill=2, checkpoint=checkpoint or f"runs/split{number}.pth")
    ids = np.char.add(each.ids, f"_{number}")
    return Predictions(ids, each.labels, each.classes, each.log_probabilities, each.about)


def test_an_ensemble_is_the_mean_of_probabilities():
    """The mean of log-probabilities or logits is another ensemble."""
    parts = [make_predictions(seed=seed) for seed in (1, 2, 3)]
    weights = [0.5, 0.5, 0.0]
    expected = sum(
        w * np.exp(each.log_probabilities.astype(np.float64)) for w, each in zip(weights, parts, strict=True)
    )
    assert np.exp(fuse(parts, weights)) == pytest.approx(expected, abs=1e-6)
    parts[0].log_probabilities[0, 0] = parts[2].log_probabilities[0, 0] = -np.inf
    assert np.isfinite(fuse(parts, weights)).all()
    assert np.isneginf(fuse([parts[0], parts[2]], [0.5, 0.5])[0, 0])


def test_the_ensemble_is_written_and_names_its_parts(server, tmp_path):
    """It can be compared with another, or combined further; a second run replaces it."""
    one, other = (make_predictions(seed=seed, network=f"n{seed}", split="val") for seed in (4, 5))
    a, b = write(tmp_path / "a.npz", one), write(tmp_path / "b.npz", other)
    found = run(server, tmp_path, a, b, "--weights", 3, 1, "--output", "ensemble")
    written = read_predictions(tmp_path / "ensemble")
    assert written.log_probabilities == pytest.approx(fuse([one, other], [0.75, 0.25]), abs=1e-6)
    assert [part["about"]["network"] for part in written.about["parts"]] == ["n4", "n5"]
    assert [part["weight"] for part in written.about["parts"]] == [0.75, 0.25]
    assert (written.about["split"], written.about["network"]) == ("val", "n4 + n5")
    expected = scores_with_intervals(written)["top1"]
    assert found["ensemble"]["top1"] == {"value": expected.value, "interval": [expected.low, expected.high]}
    assert found["parts"][1]["scores"]["loss"]["value"] == scores_with_intervals(other)["loss"].value
    run(server, tmp_path, a, b, "--output", "ensemble/predictions.npz")
    assert read_predictions(tmp_path / "ensemble").about["parts"][0]["weight"] == 0.5


def test_an_ensemble_has_the_videos_of_all_its_parts(server, tmp_path):
    """A video that one part lacks would have another ensemble's prediction."""
    whole = make_predictions(videos=40, seed=6)
    rows = np.arange(39, 9, -1)
    part = Predictions(whole.ids[rows], whole.labels[rows], whole.classes, whole.log_probabilities[rows])
    a, b = write(tmp_path / "a.npz", whole), write(tmp_path / "b.npz", part)
    found = run(server, tmp_path, a, b, "--output", "e.npz")
    written = read_predictions(tmp_path / "e.npz")
    assert found["videos"] == 30 and list(written.ids) == sorted(part.ids)
    assert written.log_probabilities == pytest.approx(whole.log_probabilities[10:], abs=1e-5)
    assert found["warnings"]


def test_parts_and_splits_of_other_frames_are_told(server, tmp_path):
    """An ensemble whose parts saw other versions of the videos is none of those networks."""
    parts = [make_predictions(seed=number, source="frames") for number in (1, 2, 3)]
    for each, version in zip(parts, ("old", "old", "new"), strict=True):
        each.about["content"] = {"videos": "a", "counts": "c", "samples": {str(each.ids[0]): version}}
    files = [write(tmp_path / f"{number}.npz", each) for number, each in enumerate(parts)]
    found = run(server, tmp_path, *files, "--output", "e.npz")
    line = "other frames (in 1 of 1 videos looked at) under the same ids"
    assert found["warnings"] == [f"{files[0]} and {files[2]} were evaluated on {line}"]
    assert run(server, tmp_path, *files[:2], "--output", "same.npz")["warnings"] == []
    both = run(server, tmp_path, "same.npz", files[2])["warnings"]  # an ensemble has the frames of its parts
    assert both == [f"same.npz and {files[2]} were evaluated on {line}"]
    splits = [split(number) for number in (4, 5)]
    for each, version in zip(splits, ("old", "new"), strict=True):
        each.about.update(source="frames", content={"videos": version, "counts": version, "samples": {"x": version}})
    files = [write(tmp_path / f"split{number}.npz", each) for number, each in enumerate(splits)]
    assert run(server, tmp_path, "--splits", *files)["warnings"] == []  # not of a video of both


def test_the_mean_over_splits_is_that_of_their_scores(server, tmp_path):
    """As papers report UCF-101 and HMDB-51."""
    files = [write(tmp_path / f"{number}.npz", split(number)) for number in (1, 2, 3)]
    found = run(server, tmp_path, "--splits", *files)
    values = [scores_with_intervals(split(number))["mean_class"].value for number in (1, 2, 3)]
    assert [each["scores"]["mean_class"]["value"] for each in found["splits"]] == values
    assert found["mean"]["mean_class"]["value"] == pytest.approx(np.mean(values))


def test_an_ensemble_says_what_its_parts_warned_of(server, tmp_path):
    """Parts that were trained on the videos make a score that is none; an ensemble of the ensemble has it, too."""
    line = "60 of 60 validation videos are among the training videos of x.pth"
    parts = [make_predictions(seed=seed, weights_digest=str(seed), split="val") for seed in (1, 2, 3)]
    a, b, c = (
        write_evaluation(tmp_path / name, part, *lines)
        for name, part, lines in zip("abc", parts, ((), (line,), ("same", "same")), strict=True)
    )
    assert run(server, tmp_path, a, b, "--output", "e.npz")["warnings"] == [f"{b}: {line}"]
    assert run(server, tmp_path, "e.npz", c)["warnings"] == [f"e.npz: {b}: {line}", f"{c}: same"]


def test_the_mean_over_splits_has_no_scores_of_training_videos(server, tmp_path):
    """The wrong split by mistake: its "test" videos are in the training, and the mean was far too high."""
    parts = [split(number) for number in (1, 2)]
    for number, each in enumerate(parts):
        each.about["weights_digest"] = str(number)
    trained = "x.pth was trained on these very videos", "7 of 60 validation videos are among the training videos of x"
    one = write_evaluation(tmp_path / "a", parts[0])
    for line in (*trained, f"{trained[0]}, with other frames (--dataset A, now B)"):
        other = write_evaluation(tmp_path / "b", parts[1], line)
        process = server.start("-m", "evaluate.fuse", "--splits", one, other, folder=tmp_path)
        assert process.wait() == 2 and f"error: {other} has no test scores: {line}" in process.output()
    few = "2 of 60 validation videos are among the training videos of x"  # as official lists may have it
    other = write_evaluation(tmp_path / "b", parts[1], few)
    assert run(server, tmp_path, "--splits", one, other)["warnings"] == [f"{other}: {few}"]


WRONG = {
    "nothing": "",
    "one part": "a.npz",
    "the same part twice": "a.npz a.npz",
    "the same part by another path": "a.npz b.npz folder/../a.npz",
    "no such file": "a.npz nowhere.npz",
    "a text file": "a.npz text.npz",
    "an empty folder": "a.npz folder",
    "other classes": "a.npz classes.npz",
    "too few weights": "a.npz b.npz --weights 1",
    "negative weights": "a.npz b.npz --weights 2 -1",
    "weights of nothing": "a.npz b.npz --weights 0 0",
    "weights that are no numbers": "a.npz b.npz --weights 1 nan",
    "huge weights": "a.npz b.npz --weights 1e308 1e308",
    "an output that is read": "a.npz ensemble.npz --output ensemble.npz",
    "an output that is an evaluation": "a.npz b.npz --output b.npz",
    "an output that is a run": "a.npz b.npz --output run",
    "an output that is a file": "a.npz b.npz --output text.txt",
    "an output below a file": "a.npz b.npz --output text.txt/x.npz",
    "parts and splits": "a.npz b.npz --splits split1.npz split2.npz",
    "one split": "--splits split1.npz",
    "the same split twice": "--splits split1.npz split1.npz",
    "splits of the same videos": "--splits a.npz b.npz",
    "splits of the same weights": "--splits split1.npz same_weights.npz",
    "splits of other classes": "--splits split1.npz classes.npz",
    "splits with weights": "--splits split1.npz split2.npz --weights 1 1",
    "splits with an output": "--splits split1.npz split2.npz --output x.npz",
    "an evaluation of no run": "a.npz b.npz --evaluation evaluation_val_1x1",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    for number, name in enumerate("ab"):
        write(folder / f"{name}.npz", make_predictions(seed=number))
    write(folder / "ensemble.npz", make_predictions(seed=3, parts=[]))
    for number in (1, 2):
        write(folder / f"split{number}.npz", split(number))
    write(folder / "same_weights.npz", split(3, checkpoint="runs/split1.pth"))
    first = make_predictions()
    classes = ("other", *first.classes[1:])
    write(folder / "classes.npz", Predictions(first.ids, first.labels, classes, first.log_probabilities))
    (folder / "text.npz").write_text("ids,labels\n")
    (folder / "text.txt").write_text("mine\n")
    (folder / "folder").mkdir()
    (folder / "run").mkdir()
    (folder / "run" / "options.json").write_text("{}")
    return folder


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_command_is_one_line(monkeypatch, capsys, inputs, name):
    """Status 2, and nothing was written or changed."""
    before = {path: path.stat().st_mtime_ns for path in inputs.rglob("*")}
    monkeypatch.chdir(inputs)
    monkeypatch.setattr("sys.argv", ["fuse", *WRONG[name].split()])
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    output = capsys.readouterr()
    assert len(output.err.splitlines()) == 1 and not output.out
    assert {path: path.stat().st_mtime_ns for path in inputs.rglob("*")} == before
