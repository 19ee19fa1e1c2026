"""python -m evaluate.features: what a layer of a network computes for each video, as one .npy a video."""

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from common.cli import CommandParser, run_command
from common.errors import DataError
from common.json_text import json_text
from common.known_errors import machine_errors
from common.logs import LOG, make_console, print_result, start_logging
from common.machine import MachineOptions, with_machine
from common.options import add_options, option, read_options
from common.text import quoted
from data.labels.split_rows import SplitRows
from data.labels.text import canonical_name, counted
from data.prepare.sources import Shard
from evaluate.layer_features.clips import Piece, Video, Windows, read_whole, read_windows
from evaluate.layer_features.layers import (
    POOLS,
    Layer,
    LayerClips,
    Pooled,
    check_layer,
    check_pool,
    layer_names,
    layer_of_views,
    pool_views,
)
from evaluate.layer_features.neighbours import score_neighbours
from evaluate.layer_features.store import INDEX, FeatureFolder, FileState, Listed, state_of
from evaluate.layer_features.videos import FoundVideo, Root, classes_of, describe, find_root, find_videos, read_rows
from evaluate.left_out import LeftOut
from evaluate.model import TrainedModel, load_model
from evaluate.preprocessing import Preprocessing
from evaluate.views import ClipOptions, chosen_preprocessing

DESCRIPTION = """Write what a layer of a network computes for each video of a dataset or folder: one .npy a video.

    python -m evaluate.features CHECKPOINT VIDEOS --output DIR

DIR/index.csv tells the video, the times and the class of each row of each file. A second run goes on where the first
one ended.
"""
LINE_SECONDS = 30.0  # between two lines where there is no terminal for a bar


@dataclass(frozen=True)
class FeatureOptions(ClipOptions):
    """The flags of the command."""

    layer: str = option("layer4", "stem, layer1 to layer4, fc (the input of the classifier) or logits", "features")
    pool: str = option(
        "mean", "what the features are averaged over. mean: frames and pixels; time: pixels, which keeps the frames of "
        "the layer; none: nothing", "features", choices=POOLS,
    )  # fmt: skip
    window: float | None = option(
        None, "seconds of a window, for long videos: each window is seen as a video of its own", "features", above=0
    )
    stride: float | None = option(
        None, "seconds from the start of a window to that of the next (default: those of a window)", "features", above=0
    )
    batch_size: int = option(8, "clips that the network takes at once", "machine", minimum=1, maximum=4096)
    device: str = option(
        "auto", "auto: the GPU if torch sees one, else the CPU", "machine", choices=("auto", "cuda", "cpu")
    )
    workers: int = option(
        -1, "threads that read videos ahead, without --window; 0: none; -1: by the number of CPU cores", "machine",
        minimum=-1, maximum=256,
    )  # fmt: skip


class Opened(NamedTuple):
    """A video that is read."""

    state: FileState  # before it was read
    found: Video
    pieces: Iterable[Piece]


@dataclass(frozen=True)
class Job:
    """All that the features of a video depend on."""

    model: TrainedModel
    layer: Layer
    preprocessing: Preprocessing
    options: FeatureOptions
    device: torch.device
    windows: Windows | None

    def read(self, video: FoundVideo) -> Opened:
        """The views of a video, or of its windows."""
        state, path = state_of(video), video.path
        sampling = self.preprocessing.sampling(self.options.val_clips, self.options.val_crops)
        if self.windows is not None:
            return Opened(state, *read_windows(path, self.windows, sampling, self.preprocessing.shape))
        found, piece = read_whole(path, sampling, self.preprocessing.shape)
        return Opened(state, found, [piece])

    def features(self, path: Path, pieces: Iterable[Piece]) -> Pooled:
        """The features of a video. DataError if they are not finite."""
        normalise = self.preprocessing.normalise().to(self.device)
        found: list[Pooled] = []
        for piece in pieces:
            values = layer_of_views(self.layer, normalise, piece.views, self.device, self.options.batch_size)
            pooled = pool_views(LayerClips(values, len(piece.frames), piece.frames), self.options.pool)
            if self.options.pool == "mean":
                pooled = pooled._replace(frames=np.array([[piece.first, piece.last]]))
            found.append(pooled)
        rows = np.concatenate([each.rows for each in found])
        if not np.isfinite(rows).all():
            raise DataError(f"{path}: its features are not finite: is the network sound?")
        return Pooled(rows, np.concatenate([each.frames for each in found]))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the features as the arguments say and return the exit status: 1 if a video could not be read."""
    args = _parser().parse_args(arguments)
    options = read_options(FeatureOptions, args)
    with machine_errors("lower --batch-size or --workers"):
        return _features(args, options)


def _features(args: argparse.Namespace, options: FeatureOptions) -> int:
    console = make_console()
    start_logging(console, is_first_rank=True, debug=False)
    windows = _windows(options)
    if args.shard and args.knn is not None:
        raise DataError("--knn needs the features of all shards: give it once, without --shard, when these are done")
    root = find_root(args.videos)
    job = _job(args, options, windows)
    videos, left_out = find_videos(root.path)
    LOG.info("%s", describe(videos, root))
    _tell(left_out)
    rows = _rows(root, args.knn)
    listed = _listed(videos, root, rows, job.model)
    folder = FeatureFolder(args.output, _settings(job, root))
    folder.open()
    mine = [video for video in videos if args.shard is None or args.shard.has(video.name)]
    todo = [video for video in mine if folder.about(video) is None]
    if len(todo) < len(mine):
        LOG.info("%s there already", counted(len(mine) - len(todo), "video"))
    if folder.changed:
        others = f"of {counted(len(folder.changed), 'video')}, such as {quoted(min(folder.changed))},"
        LOG.warning("the features %s were changed since they were written: they are computed again", others)
    start = time.monotonic()
    failed = _run(job, folder, todo, console)
    speed = len(todo) / max(1e-9, time.monotonic() - start)
    indexed = folder.write_index(listed)
    if failed and not indexed:
        raise DataError(f"none of the {len(todo)} videos can be read")
    if todo:
        LOG.info("%s written, %.2f videos/s", counted(len(todo) - failed, "video"), speed)
    LOG.info("%s of %d videos in %s", indexed, len(videos), args.output / INDEX)
    result: dict[str, Any] = {
        "output": str(args.output), "videos": len(mine), "written": len(todo) - failed,
        "there_before": len(mine) - len(todo), "failed": failed + len(left_out.lost),
    }  # fmt: skip
    if rows is not None and args.knn is not None:
        scores = score_neighbours(folder, videos, root, rows)
        LOG.info("nearest neighbours of %d val videos: %s", scores.videos, scores.show())
        result["knn"] = scores.plain()
    print_result(json_text(result))
    return 1 if failed or left_out.lost else 0


def _tell(left_out: LeftOut) -> None:
    for line in left_out.lines:
        LOG.info("%s", line)
    for line in left_out.lost.values():
        LOG.warning("left out: %s", line)


def _windows(options: FeatureOptions) -> Windows | None:
    if options.window is None:
        if options.stride is not None:
            raise DataError(f"--stride {options.stride:g} is the distance of windows: give --window as well")
        return None
    return Windows(options.window, options.stride or options.window)


def _job(args: argparse.Namespace, options: FeatureOptions, windows: Windows | None) -> Job:
    machine = with_machine(MachineOptions(workers=options.workers, device=options.device, gpus=1))
    device = torch.device(machine.device)
    model = load_model(args.checkpoint, device, args.name, normalisation=options.normalisation)
    check_layer(model, options.layer, layer_names(model.network))
    check_pool(options.layer, options.pool, options.val_crops)
    preprocessing, said = chosen_preprocessing(options, model)
    LOG.info("%s: %s", model.path, model.origin)
    if said:
        LOG.warning("%s", said)
    options = replace(options, workers=machine.workers)
    return Job(model, Layer(model.network, options.layer), preprocessing, options, device, windows)


def _settings(job: Job, root: Root) -> dict[str, Any]:
    """What two runs into one folder must have in common."""
    options = job.options
    return {
        "videos": str(root.path.resolve()),
        "weights": job.model.weights_digest(),
        "network": {name: job.model.facts[name] for name in ("name", "gates", "placement")},
        "layer": options.layer,
        "pool": options.pool,
        "window": None if job.windows is None else job.windows.seconds,
        "stride": None if job.windows is None else job.windows.stride,
        "clips_per_video": options.val_clips,
        "crops_per_clip": options.val_crops,
        "preprocessing": job.preprocessing.plain(),
    }


def _rows(root: Root, labels: list[Path] | None) -> SplitRows | None:
    """The label rows of --knn, or those of the dataset if it has any; they also tell classes and splits."""
    if labels is None and not root.is_dataset:
        return None
    try:
        rows = read_rows(root, labels or [])
    except DataError as error:
        if labels is not None:
            raise
        LOG.info("without label files, classes are the names of the folders (%s)", error)
        return None
    for line in rows.report:
        LOG.info("%s", line)
    return rows


def _listed(videos: list[FoundVideo], root: Root, rows: SplitRows | None, model: TrainedModel) -> list[Listed]:
    classes = model.classes or ()
    places = {canonical_name(name): place for place, name in enumerate(classes)}
    found = classes_of(videos, root, rows, classes)
    return [
        Listed(video, name, places.get(canonical_name(name)), split)
        for video, (name, split) in zip(videos, found, strict=True)
    ]


def _run(job: Job, folder: FeatureFolder, videos: Sequence[FoundVideo], console: Console) -> int:
    """Write the features of the videos; returns how many could not be read, each of which was logged."""
    columns = (TextColumn("features"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    failed, last_line = 0, time.monotonic()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(videos))
        for number, (video, read) in enumerate(_ahead(job, videos), start=1):
            try:
                state, found, pieces = read()
                features = job.features(video.path, pieces)
                if state_of(video) != state:
                    raise DataError(f"{video.path} has changed while it was read: give the same command again")
            except (DataError, OSError) as error:
                failed += 1
                LOG.warning("left out: %s", error)
            else:
                folder.write(video, state, found, features)
            bar.advance(task)
            if bar.disable and time.monotonic() - last_line > LINE_SECONDS:
                last_line = time.monotonic()
                LOG.info("%d of %d videos", number, len(videos))
    return failed


Read = Callable[[], Opened]


def _ahead(job: Job, videos: Sequence[FoundVideo]) -> Iterator[tuple[FoundVideo, Read]]:
    """The videos, in order, each with a function that gives its views; threads read some videos ahead."""
    workers = 0 if job.windows is not None else job.options.workers
    if not workers:
        yield from ((video, partial(job.read, video)) for video in videos)
        return
    pool = ThreadPoolExecutor(workers)
    waiting: list[tuple[FoundVideo, Future[Opened]]] = []
    try:
        for video in videos:
            waiting.append((video, pool.submit(job.read, video)))
            if len(waiting) > workers:
                first, future = waiting.pop(0)
                yield first, future.result
        for first, future in waiting:
            yield first, future.result
    finally:
        pool.shutdown(cancel_futures=True)


def _shard(text: str) -> Shard:
    part, _, parts = text.partition("/")
    if not part.isdecimal() or not parts.isdecimal() or not int(part) <= int(parts) or int(parts) < 1:
        raise argparse.ArgumentTypeError(f"{quoted(text)} is not I/N with I from 0 or 1 up to N, such as 1/4")
    return Shard(int(part), int(parts))


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m evaluate.features", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, help="a .pth or .safetensors; of .onnx and .pt2, only the logits")
    parser.add_argument(
        "videos", type=Path, help="a dataset (with a folder jpg), or a folder of video files and frames.db at any depth"
    )
    parser.add_argument("--output", type=Path, required=True, help="the folder to write, or to go on with")
    parser.add_argument(
        "--network", dest="name", default="", help="the network, for a checkpoint that does not name it"
    )
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only part I of N of the videos, for several processes or machines"
    )
    parser.add_argument(
        "--knn", type=Path, nargs="*", metavar="LABELS",
        help="score the val videos by their nearest training videos, as a label file (or folder, or a train and a val "
        "label file) says; without LABELS, as those of the dataset say",
    )  # fmt: skip
    add_options(parser, FeatureOptions(), ["features", "data"])
    return parser


if __name__ == "__main__":
    run_command(main, "give the same command again to go on")
