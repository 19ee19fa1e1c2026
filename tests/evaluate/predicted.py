"""Predictions to compare and combine."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.results.predictions import Predictions, write_predictions


def make_predictions(
    videos: int = 60,
    classes: int = 5,
    seed: int = 0,
    skill: float = 1.5,
    round_to: int = 6,
    truth: int = 0,
    **about: Any,
) -> Predictions:
    """Random scores, better for the label by `skill`; the labels depend on `truth` alone. Few digits make ties."""
    labels = np.random.default_rng(truth).integers(0, classes, videos)
    logits = np.random.default_rng(1000 + seed).normal(size=(videos, classes))
    logits[np.arange(videos), labels] += skill
    logits = logits.round(round_to)
    scores = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    ids = np.array([f"class{label}/video{number:04d}" for number, label in enumerate(labels)])
    order = np.argsort(ids)
    names = tuple(f"class{label}" for label in range(classes))
    return Predictions(ids[order], labels[order], names, scores[order].astype(np.float32), about)


def write(path: Path, predictions: Predictions) -> Path:
    """Write the file, with its folder, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_predictions(path, predictions)
    return path


def write_evaluation(folder: Path, predictions: Predictions, *warnings: str) -> Path:
    """Write an evaluation's predictions and a summary with these warnings to a folder, and return it."""
    write(folder / "predictions.npz", predictions)
    summary = {**predictions.about, "scores": {}, "warnings": list(warnings)}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder
