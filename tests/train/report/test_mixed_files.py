"""The report of a folder into which files of another evaluation were copied: it must not show them as one."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from evaluate.results.bootstrap import score_values, video_results
from evaluate.results.predictions import Predictions, read_predictions, write_predictions
from evaluate.results.tables import write_tables
from tests.evaluate.predicted import make_predictions
from train.report.evaluation_files import read_evaluations
from train.report.problems import Problems

ALL = ("summary.json", "per_class.csv", "worst.csv", "predictions.npz")


def evaluation(run: Path, seed: int, name: str = "evaluation_val_1x1", **changes: int) -> Path:
    """The files of an evaluation of one network, with a class that has no video."""
    made = make_predictions(seed=seed, skill=1.5, **changes)
    about = {"checkpoint": f"n{seed}.pth", "weights_digest": f"{seed}", "split": "val"}
    scores = np.concatenate([made.log_probabilities, np.full((len(made), 1), -30, np.float32)], axis=1)
    made = Predictions(made.ids, made.labels, (*made.classes, "no video"), scores, about)
    folder = run / name
    write_tables(folder, made)
    write_predictions(folder / "predictions.npz", made)
    loss, top1, top5, mean_class = score_values(video_results(made))
    values = {"loss": loss, "top1": top1, "top5": top5, "mean_class": mean_class}
    summary = {"scores": {name: {"value": float(value)} for name, value in values.items()}, "videos": len(made)}
    (folder / "summary.json").write_text(json.dumps(summary | about))
    return folder


def lines(run: Path) -> list[str]:
    """What the page warns of, which is also logged."""
    problems = Problems()
    (found,) = read_evaluations(run, problems)
    assert [line.partition(": ")[2] for line in problems.notes if "does not fit" in line] == found.warnings
    return found.warnings


@pytest.mark.parametrize("name", ALL)
def test_a_file_of_another_network_is_told(tmp_path, name):
    """The classes and videos of one network stood under the scores of another, without a word."""
    own, other = evaluation(tmp_path / "run", 1), evaluation(tmp_path / "other", 2)
    assert lines(tmp_path / "run") == []
    shutil.copy(other / name, own / name)
    found = lines(tmp_path / "run")
    assert found and all("as if it were of another evaluation" in line for line in found)
    assert {line.partition(" ")[0] for line in found} == ({*ALL[1:]} if name == ALL[0] else {name})


def test_a_table_of_other_videos_is_told(tmp_path):
    """Of another split, or of the same before a video was added."""
    own, other = evaluation(tmp_path / "run", 1), evaluation(tmp_path / "other", 1, videos=59)
    shutil.copy(other / "per_class.csv", own / "per_class.csv")
    assert any(line.startswith("per_class.csv") and "59 videos, and not 60" in line for line in lines(tmp_path / "run"))


@pytest.mark.parametrize("digits", [0, 1, 2])
@pytest.mark.parametrize("videos", [60, 4000])
def test_files_that_were_deleted_or_rounded_are_not(tmp_path, digits, videos):
    """A warning for a table that a spreadsheet saved with few digits would be one too many."""
    own = evaluation(tmp_path / "run", 1, videos=videos)
    table = (own / "per_class.csv").read_text().splitlines()
    cells = [line.split(",") for line in table[1:]]
    rounded = [",".join([*row[:2], f"{float(row[2]):.{digits}f}" if row[2] else "", *row[3:]]) for row in cells]
    (own / "per_class.csv").write_text("\n".join([table[0], *rounded]) + "\n")
    assert lines(tmp_path / "run") == []
    (own / "worst.csv").unlink()
    (own / "predictions.npz").unlink()
    assert lines(tmp_path / "run") == []
    (own / "summary.json").write_text("{}")
    assert lines(tmp_path / "run") == []


def test_the_list_of_the_worst_is_at_most_as_long_as_is_written(tmp_path):
    """1,000 rows of 2,000 misclassified videos are not those of another evaluation."""
    evaluation(tmp_path / "run", 1, videos=4000)
    assert lines(tmp_path / "run") == []
    assert len((tmp_path / "run" / "evaluation_val_1x1" / "worst.csv").read_text().splitlines()) == 1001


def test_predictions_on_other_frames_are_told(tmp_path):
    """Of the same weights and videos, before the videos were converted anew."""
    folder = evaluation(tmp_path / "run", 1)
    made = read_predictions(folder)
    content = {"videos": "a", "counts": "b", "samples": {str(made.ids[0]): "old"}}
    write_predictions(folder / "predictions.npz", replace(made, about={**made.about, "content": content}))
    assert lines(tmp_path / "run") == []
    summary = json.loads((folder / "summary.json").read_text())
    summary["content"] = content | {"samples": {str(made.ids[0]): "new"}}
    (folder / "summary.json").write_text(json.dumps(summary))
    assert "another content of the videos" in lines(tmp_path / "run")[0]
