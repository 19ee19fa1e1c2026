"""Predict the classes of videos with a trained network: python -m evaluate.predict CHECKPOINT VIDEO|FOLDER|camera:0

CHECKPOINT is a file of this project: .pth, .safetensors, .onnx or .pt2. It names its classes and the clips that it was
trained with. VIDEO is a video file or the folder of a frames.db; FOLDER holds such, at any depth. A video that cannot
be read is listed and does not stop the others. The exit status is 1 if there is one, and 2 if no video could be read.
The last line on standard output is JSON.

With --window, long videos are predicted window by window. camera:0 is the first camera: its predictions are JSON lines;
Ctrl-C ends it.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from common.cli import CommandParser, run_command
from common.console import safe_console
from common.device import tune_device
from common.errors import DataError
from common.json_text import json_text
from common.known_errors import machine_errors
from common.logs import LOG, log_table, make_console, print_result, start_logging
from common.machine import MachineOptions, with_machine, with_precision
from common.options import add_options, flag_name, option, read_options
from common.precision import DTYPES
from data.clips.one_video import SHORT_SIDE
from data.labels.class_order import read_class_index
from data.labels.text import counted
from data.prepare.report import progress_bar
from evaluate.model import TrainedModel, load_model
from evaluate.prediction.camera import CAMERA, Live, open_camera, watch
from evaluate.prediction.film import write_film
from evaluate.prediction.reading import Job, Reading, read_all
from evaluate.prediction.results import Segment, VideoResult, segments_of
from evaluate.prediction.scoring import Scorer, score_all
from evaluate.prediction.tables import (
    PRINTED,
    check_place,
    remove_old_segments,
    segment_table,
    segments_path,
    video_table,
    write_csv,
    write_json,
    write_segments,
)
from evaluate.prediction.videos import Found, find_videos
from evaluate.preprocessing import Preprocessing
from evaluate.views import ClipOptions, chosen_preprocessing

CAMERA_WINDOW, EVERY = 2.0, 0.5  # seconds
LISTED = 20  # warnings


@dataclass(frozen=True)
class PredictOptions(ClipOptions):
    """The flags of a prediction."""

    top: int = option(5, "classes of each video; at most as many as the network has", "result", minimum=1)
    output: Path | None = option(
        None, "write all results to x.csv or x.json, or one video with its scores drawn below it to x.mp4", "result",
        metavar="FILE",
    )  # fmt: skip
    classes: Path | None = option(
        None, "class names for a checkpoint that has none, one a line, in the order of its logits", "network",
        metavar="FILE",
    )  # fmt: skip
    network: str = option("", "the network, for weights of another project that do not name it", "network")
    window: float | None = option(
        None, f"predict windows of so many seconds (camera: the last seconds; default there: {CAMERA_WINDOW:g})",
        "windows", minimum=0.05, below=3601, metavar="SECONDS",
    )  # fmt: skip
    stride: float | None = option(
        None, "seconds from the start of a window to that of the next, at most --window (default: half of it)",
        "windows", minimum=0.01, below=3601, metavar="SECONDS",
    )  # fmt: skip
    threshold: float | None = option(
        None, "a window whose best class scores less belongs to no segment (default: 0, each belongs to one)",
        "windows", minimum=0, below=1,
    )  # fmt: skip
    every: float | None = option(
        None, f"seconds from a prediction to the next (default: {EVERY:g})", "camera", minimum=0.01, below=3601,
        metavar="SECONDS",
    )  # fmt: skip
    speed: float | None = option(
        None, "play the file of camera:FILE so many times as fast (default: 1)", "camera", minimum=0.01, below=1001
    )
    short_side: int = option(
        SHORT_SIDE, "pixels that the shorter side of a file's frames is scaled down to before crops are cut: as of "
        "data.prepare.convert for the videos of the training", "data", minimum=2, maximum=8192,
    )  # fmt: skip
    keep_partial: bool = option(False, "of a damaged file, use the frames that can be decoded, with a warning", "data")
    workers: int = option(
        -1, "processes that read videos; 0: read in the main process; -1: by the number of CPU cores and videos",
        "machine", minimum=-1, maximum=1000,
    )  # fmt: skip
    val_batch_size: int | None = option(
        None, "clips that go through the network at a time (default: 16 on a GPU, 4 on the CPU, where more take memory "
        "and no less time)", "machine", minimum=1, metavar="N",
    )  # fmt: skip
    device: str = option(
        "auto", "auto: the GPU if torch sees one, else the CPU", "machine", choices=("auto", "cuda", "cpu")
    )
    precision: str = option(
        "auto", "auto: bf16 on a GPU that has it, else fp16; fp32 on the CPU", "machine", choices=("auto", *DTYPES)
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict as the command line says; return the exit status."""
    parser = CommandParser(prog="python -m evaluate.predict", description=__doc__)
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT", help="a trained network")
    parser.add_argument("source", metavar="VIDEO|FOLDER|camera:0", help="what to predict")
    add_options(parser, PredictOptions(), ("data", "windows", "result", "camera"))
    parsed = parser.parse_args(arguments)
    options = read_options(PredictOptions, parsed)
    is_camera = parsed.source.startswith(CAMERA)
    console = safe_console(stderr=True) if is_camera else make_console()
    start_logging(console, True, False)
    _check(options, is_camera)
    with machine_errors("lower --val-batch-size or --workers"):
        if is_camera:
            return _camera(parsed.checkpoint, parsed.source, options)
        return _videos(parsed.checkpoint, Path(parsed.source), options)


def _check(options: PredictOptions, is_camera: bool) -> None:
    """DataError for flags that would have no effect."""
    without: tuple[str, ...] = ("every", "speed")
    why = "is for a camera"
    if is_camera:
        without, why = ("output", "stride", "threshold", "keep_partial"), "has no effect on a camera"
    elif options.window is None:
        _refuse(options, ("stride", "threshold"), "needs --window")
    elif options.stride is not None and options.stride > options.window:
        raise DataError(
            f"--stride {options.stride:g} is longer than --window {options.window:g}: what lies between two windows "
            "would be seen by none"
        )
    _refuse(options, without, why)
    if options.precision == "fp16" and options.device == "cpu":
        raise DataError("--precision fp16 needs a GPU: on the CPU use fp32 or bf16")


def _refuse(options: PredictOptions, names: Sequence[str], why: str) -> None:
    for name in names:
        if getattr(options, name) not in (None, False):
            raise DataError(f"{flag_name(name)} {why}")


def _videos(checkpoint: Path, place: Path, options: PredictOptions) -> int:
    output, has_windows = options.output, options.window is not None
    if output:
        check_place(output, place, has_windows)
    found = find_videos(place, output)
    is_film = output is not None and output.suffix.lower() == ".mp4"
    if is_film and len(found.videos) != 1:
        raise DataError(f"--output {output}: {place} holds {len(found.videos)} videos; an .mp4 shows one")
    model, preprocessing, scorer, classes = _load(checkpoint, options)
    stride = options.stride or (options.window or 0.0) / 2
    sampling = preprocessing.sampling(options.val_clips, options.val_crops)
    reading = Reading(sampling, preprocessing.shape, options.short_side, options.keep_partial, options.window, stride)
    started = time.monotonic()
    results = _predict(found, reading, scorer, _workers(options, len(found.videos)), options)
    seconds = time.monotonic() - started
    read = [each for each in results if each.windows]
    if not read:
        first = f" such as {results[0].problem}" if len(results) > 1 else f" {results[0].problem}"
        raise DataError(f"none of {len(results)} videos can be read,{first}" if len(results) > 1 else first.strip())
    segments = None
    if has_windows:
        segments = {each.name: segments_of(each.windows, stride, options.threshold or 0.0) for each in read}
    top = min(options.top, len(classes))
    counts = {
        "videos": len(results),
        "predicted": len(read),
        "problems": len(results) - len(read),
        **({"windows": sum(len(each.windows) for each in read)} if has_windows else {}),
        "clips": scorer.clips,
        "seconds": round(seconds, 3),
        "clips_per_second": round(scorer.clips / seconds, 2),
    }
    about = _about(model, preprocessing, options, stride)
    _show(results, segments, classes, top, None if output is None or is_film else PRINTED)
    if output:
        _write(output, results, segments, classes, top, about | counts, options, stride)
        LOG.info("results in %s", output)
    print_result(json_text(counts | about | {"output": output and str(output)}))
    return 1 if len(read) < len(results) else 0


def _load(checkpoint: Path, options: PredictOptions) -> tuple[TrainedModel, Preprocessing, Scorer, tuple[str, ...]]:
    """The network, the clips that it gets, and its class names."""
    machine = with_machine(MachineOptions(device=options.device))
    precision = with_precision(options.precision, machine.device)
    if precision == "fp16" and machine.device == "cpu":
        raise DataError("--precision fp16 needs a GPU: on the CPU use fp32 or bf16")
    tune_device(machine.device)
    names = read_class_index(options.classes) if options.classes else None
    device = torch.device(machine.device)
    model = load_model(checkpoint, device, options.network, names, options.normalisation)
    classes = model.class_names()
    preprocessing, line = chosen_preprocessing(options, model)
    LOG.info("%s: %s, %d classes, clips of %s", checkpoint, model.origin, len(classes), preprocessing.show())
    if line:
        LOG.warning("%s", line)
    batch_size = options.val_batch_size or (4 if machine.device == "cpu" else 16)
    return model, preprocessing, Scorer(model, preprocessing, device, precision, batch_size), classes


def _workers(options: PredictOptions, videos: int) -> int:
    """A single whole video is read sooner than a process has started."""
    if options.workers >= 0:
        return options.workers
    if videos == 1 and options.window is None:
        return 0
    return min(videos, with_machine(MachineOptions(device="cpu")).workers)


def _predict(
    found: Found, reading: Reading, scorer: Scorer, workers: int, options: PredictOptions
) -> list[VideoResult]:
    """The results by the names of the videos; lines say what could not be read, and what is special."""
    for line in found.left_out:
        LOG.info("%s", line)
    jobs = [Job(name, path) for name, path in found.videos.items()]
    unit = "videos" if reading.window is None else "windows"
    with progress_bar() as progress:
        task = progress.add_task(unit, total=len(jobs) if reading.window is None else None)

        def tell(videos: int, windows: int) -> None:
            progress.update(task, completed=videos if reading.window is None else windows)

        results = score_all(read_all(reading, jobs, workers), scorer, options.top, tell)
    for name, problem in found.problems.items():
        results[name] = VideoResult(name, Path(name), problem=problem)
    ordered = [results[name] for name in sorted(results)]
    bad = [each for each in ordered if each.problem]
    if len(ordered) > 1:
        for result in bad:
            LOG.warning("not read: %s", result.problem)
    notes = [f"{each.path} {warning}" for each in ordered for warning in each.warnings]
    for note in notes[:LISTED]:
        LOG.warning("%s", note)
    if len(notes) > LISTED:
        LOG.warning("%s", f"... and {len(notes) - LISTED} more such lines; a .json has them all")
    if bad and len(ordered) > 1:
        LOG.warning("%d of %s could not be read", len(bad), counted(len(ordered), "video"))
    return ordered


def _show(
    results: Sequence[VideoResult],
    segments: dict[str, list[Segment]] | None,
    classes: Sequence[str],
    top: int,
    limit: int | None,
) -> None:
    if segments is None:
        rows = sum(1 for each in results if each.windows)
        log_table(video_table(results, classes, top, limit))
    else:
        rows = sum(map(len, segments.values()))
        log_table(segment_table(segments, classes, limit))
    if limit is not None and rows > limit:
        LOG.info("... and %d more", rows - limit)


def _about(model: TrainedModel, preprocessing: Preprocessing, options: PredictOptions, stride: float) -> dict[str, Any]:
    """What was predicted with, for the JSON."""
    size = preprocessing.clip_size
    facts: dict[str, Any] = {
        "checkpoint": str(model.path),
        "network": model.facts["name"],
        "clip": f"{preprocessing.clip_length}x{size}x{size}",
        "interval": preprocessing.interval,
        "crop_scale": preprocessing.crop_scale,
        "normalisation": preprocessing.normalisation.show(),
        "clips_per_video": options.val_clips,
        "crops": options.val_crops,
    }
    if options.window is not None:
        facts |= {"window": options.window, "stride": stride, "threshold": options.threshold or 0.0}
    return facts


def _write(
    output: Path,
    results: list[VideoResult],
    segments: dict[str, list[Segment]] | None,
    classes: Sequence[str],
    top: int,
    about: dict[str, Any],
    options: PredictOptions,
    stride: float,
) -> None:
    kind = output.suffix.lower()
    if kind == ".json":
        write_json(output, results, segments, classes, top, about)
    elif kind == ".csv":
        write_csv(output, results, classes, top, segments is not None)
        if segments is not None:
            write_segments(segments_path(output), segments, classes)
        else:
            remove_old_segments(output)
    else:
        write_film(output, results[0], classes, stride, options.keep_partial)


def _camera(checkpoint: Path, source: str, options: PredictOptions) -> int:
    camera = open_camera(source, options.short_side, options.speed)
    _, preprocessing, scorer, classes = _load(checkpoint, replace(options, workers=0))
    sampling = preprocessing.sampling(options.val_clips, options.val_crops)
    live = Live(
        camera, sampling, preprocessing.shape, options.window or CAMERA_WINDOW, options.every or EVERY, options.top
    )
    return watch(live, scorer, classes)


if __name__ == "__main__":
    run_command(main)
