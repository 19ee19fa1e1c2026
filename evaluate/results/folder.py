"""The folder of an evaluation, `evaluation_<split>_<clips>x<crops>`: summary.json, predictions, tables and picture."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from common.errors import DataError
from common.files import free_name, reason, sync_folder, what_is_at, write_errors
from common.json_text import json_text
from common.logs import LOG, log_table, print_result
from common.text import shortened
from common.version import versions
from data.labels.video_list import VideoList
from evaluate.evaluation import Evaluation, VideoRows
from evaluate.preprocessing import Preprocessing
from evaluate.results.bootstrap import ScoreInterval, scores_with_intervals
from evaluate.results.checkpoint_file import CHECKPOINT_FILE
from evaluate.results.console_table import score_table
from evaluate.results.content import CONTENT, other_frames, video_id
from evaluate.results.moving import check_movable, keep
from evaluate.results.predictions import FILE as PREDICTIONS
from evaluate.results.predictions import Predictions, write_predictions
from evaluate.results.summary import SUMMARY, bad_ids, changed_in, ids_of, read_summary, with_digests
from evaluate.results.tables import write_tables

BEFORE = "before"  # how the name of an earlier evaluation ends
SAME = (
    "checkpoint", "weights_digest", "clip", "interval", "crop_scale", "normalisation", "clips", "crops", "network",
    "gates", "placement", "dataset", "source", "split", "precision",
)  # fmt: skip
"""The facts that an evaluation must share with the one in its folder to replace it, beside the videos."""
SILENT = ("options", "weights_digest", "run_key", CHECKPOINT_FILE, CONTENT)  # facts that the JSON line leaves out


def folder_name(split: str, clips: int, crops: int) -> str:
    """`evaluation_val_10x3`."""
    return f"evaluation_{split}_{clips}x{crops}"


class Addition(NamedTuple):
    """What else an evaluation has: an entry of the summary, and files."""

    name: str
    entry: Mapping[str, Any]
    write: Callable[[Path], object]
    """Writes the files to a folder."""
    show: Callable[[], object]
    """Logs what it says."""


@dataclass(frozen=True)
class ResultFolder:
    """Where an evaluation is written; made by `result_folder`, which checks the place before the work begins."""

    path: Path
    about: Mapping[str, Any]
    flag: str
    """The flag that names another folder."""

    def write(
        self,
        evaluation: Evaluation,
        videos: VideoList,
        passport: Mapping[str, Any],
        additions: Sequence[Addition] = (),
        warnings: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Write all files, and return the summary. DataError if they cannot be written; then there is no new folder.

        An evaluation of another checkpoint, of other views, videos or frames, that was there, is kept under another
        name; so is one with files that this one does not have, or that were changed since it was written.
        """
        assert evaluation.rows is not None
        predictions = predictions_of(evaluation.rows, videos, self.about)
        scores = scores_with_intervals(predictions)
        summary = self._summary(evaluation, scores, videos, passport)
        summary |= {each.name: each.entry for each in additions} | {"warnings": list(warnings)}
        partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        with write_errors(self.path, f"give another folder with {self.flag}"):
            try:
                shutil.rmtree(partial, ignore_errors=True)  # left by a killed process that had the same process id
                partial.mkdir()
                write_predictions(partial / PREDICTIONS, predictions)
                paths = {video_id(videos, index): videos.path(index) for index in evaluation.rows.videos.tolist()}
                write_tables(partial, predictions, [str(paths[each]) for each in predictions.ids.tolist()])
                from evaluate.results.confusion import write_confusion  # loads matplotlib, which takes a second

                write_confusion(partial, predictions)
                for each in additions:
                    each.write(partial)
                summary = with_digests(summary, partial)
                (partial / SUMMARY).write_text(json_text(summary, indent=1) + "\n", encoding="utf-8")
                self._put(partial, summary)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        log_table(score_table(*_for_table(scores, summary["by_clips"])))
        LOG.info("predictions, tables and pictures in %s", self.path)
        return summary

    def _put(self, partial: Path, summary: Mapping[str, Any]) -> None:
        """`_replace`; if that fails, the finished evaluation is kept under another name, which a DataError tells."""
        try:
            self._replace(partial, summary)
        except OSError as error:
            if kept := keep(partial, self.path):
                raise DataError(
                    f"{self.path} cannot be replaced: {reason(error)}; the results are in {kept}"
                ) from error
            raise

    def _replace(self, partial: Path, summary: Mapping[str, Any]) -> None:
        """Put the folder `partial` in its place. What was there is removed only if it is the same evaluation."""
        old = None
        if what_is_at(self.path):
            before = _evaluation_at(self.path) or {}
            others = [name for name in SAME if before.get(name) != summary.get(name)]
            others += ["videos"] if ids_of(before) != ids_of(summary) else []
            others += ["the videos that were read"] if not bad_ids(summary) <= bad_ids(before) else []
            others += ["the frames of the videos"] if other_frames(before, summary) else []
            lost = {path.name for path in self.path.iterdir()} - {path.name for path in partial.iterdir()}
            changed = changed_in(self.path, before)
            old = free_name(self.path, BEFORE)
            self.path.rename(old)
            reasons = {"an evaluation that differs in": others, "also": sorted(lost), "changed files:": changed}
            if why := "; ".join(f"{text} {', '.join(names)}" for text, names in reasons.items() if names):
                LOG.warning("%s held %s: it is now %s", self.path, shortened(why, 200), old.name)
                old = None
        partial.rename(self.path)
        sync_folder(self.path.parent)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)

    def _summary(
        self,
        evaluation: Evaluation,
        scores: Mapping[str, ScoreInterval],
        videos: VideoList,
        passport: Mapping[str, Any],
    ) -> dict[str, Any]:
        assert evaluation.rows is not None
        total = int(evaluation.examples) + len(evaluation.bad_videos)
        return {
            "text": f"top-1 {evaluation.top1:.2f} % on {evaluation.examples:,.0f} of {total:,} videos",
            "scores": {name: asdict(each) for name, each in scores.items()},
            "by_clips": {str(clips): each.values() for clips, each in evaluation.by_clips.items()},
            "videos": int(evaluation.examples),
            "bad_videos": [
                {"id": video_id(videos, bad.video), "reason": bad.reason} for bad in evaluation.bad_videos
            ],
            **self.about,
            "passport": {str(self.about["split"]): dict(passport)},
            "versions": versions(),
            "command": sys.argv,
            "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        }  # fmt: skip


def result_folder(path: Path, about: Mapping[str, Any], flag: str) -> ResultFolder:
    """The folder `path` for an evaluation of which `about` are the facts ("split", "checkpoint" and others).

    `flag` is the flag of the command that names another folder, for messages.

    DataError if it cannot be written, or if something else than an evaluation is there.
    """
    given, path = path, Path(os.path.realpath(path))  # results go to where a link leads; "." has a name
    there = what_is_at(path)
    if not there and given.is_symlink():  # it would be made wherever the link leads
        raise DataError(f"{given} is a link to {path}, which does not exist: delete it, or give a folder with {flag}")
    if there not in ("", "folder"):
        raise DataError(f"{path} is a {there}: give another folder with {flag}")
    if there and any(path.iterdir()) and _evaluation_at(path) is None:
        raise DataError(f"{path} holds something else than an evaluation: give another folder with {flag}")
    parent = path.parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f".{path.name}."):
            pass
    except OSError as error:
        raise DataError(f"{path} cannot be written: {reason(error)}; give another folder with {flag}") from error
    if there:
        check_movable(path, flag)
    return ResultFolder(path, about, flag)


def predictions_of(rows: VideoRows, videos: VideoList, about: Mapping[str, Any]) -> Predictions:
    """The predictions of an evaluation's rows, in the order of the videos' ids."""
    ids = np.array([video_id(videos, index) for index in rows.videos.tolist()], dtype=str)
    order = np.argsort(ids, kind="stable")
    return Predictions(ids[order], rows.labels[order], videos.classes, rows.log_probabilities[order], about)


def _evaluation_at(folder: Path) -> dict[str, Any] | None:
    """The summary of an evaluation's folder; None if it has none."""
    found = read_summary(folder / SUMMARY)
    return found if found and "scores" in found else None


def _for_table(
    scores: Mapping[str, ScoreInterval], by_clips: Mapping[str, Mapping[str, float]]
) -> tuple[dict[str, tuple[float, float, float]], dict[int, Mapping[str, float]]]:
    shown = {name: scores[name] for name in ("top1", "top5", "mean_class", "loss") if name in scores}
    return (
        {name: (each.value, each.low, each.high) for name, each in shown.items()},
        {int(clips): values for clips, values in by_clips.items()},
    )


def evaluation_facts(
    network: Mapping[str, Any],
    preprocessing: Preprocessing,
    views: tuple[int, int],
    source: str,
    split: str,
    dataset: Path,
    precision: str,
    checkpoint: Mapping[str, Any],
) -> dict[str, Any]:
    """What is evaluated and how, for the JSON line, the summary and the predictions.

    `network` has "name", "gates" and "placement"; `views` are clips and crops. The options of the training, and the key
    of its run, are those of `checkpoint`, if it has them.
    """
    size, options, run_key = preprocessing.clip_size, checkpoint.get("options"), checkpoint.get("run_key")
    return {
        "network": network["name"],
        "gates": network["gates"],
        "placement": network["placement"],
        "source": source,
        "split": split,
        "dataset": str(dataset),
        "clip": f"{preprocessing.clip_length}x{size}x{size}",
        "interval": preprocessing.interval,
        "crop_scale": preprocessing.crop_scale,
        "normalisation": preprocessing.normalisation.show(),
        "clips": views[0],
        "crops": views[1],
        "precision": precision,
        "options": options if isinstance(options, dict) else {},
        **({"run_key": run_key} if isinstance(run_key, str) else {}),
    }


def show_and_write(
    evaluation: Evaluation,
    videos: VideoList,
    target: ResultFolder,
    passport: dict[str, Any],
    additions: Sequence[Addition] = (),
    warnings: Sequence[str] = (),
) -> None:
    """Log the scores, write the folder, and print the result as JSON; on the first rank.

    `warnings` are kept with the results: what whoever reads them later should know, such as training videos among them.
    """
    LOG.info("%s: %s on %s", target.about["checkpoint"], evaluation.show(), evaluation.show_videos())
    for bad in evaluation.bad_videos:
        LOG.warning("  %s left out of the scores: %s", video_id(videos, bad.video), bad.reason)
    summary = target.write(evaluation, videos, passport, additions, warnings)
    for each in additions:
        each.show()
    intervals = {name: [each["low"], each["high"]] for name, each in summary["scores"].items()}
    facts = {name: value for name, value in target.about.items() if name not in SILENT}
    counts = {"videos": int(evaluation.examples), "bad_videos": len(evaluation.bad_videos)}
    result = evaluation.values() | counts | facts | {"intervals": intervals, "by_clips": summary["by_clips"]}
    more = {each.name: each.entry for each in additions} | {"warnings": list(warnings)}
    print_result(json_text(result | {"folder": str(target.path)} | more))
