"""python -m evaluate.explain: where in a clip a network finds a class, and what its SRTG blocks do meanwhile."""

import argparse
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from common.cli import CommandParser, run_command
from common.errors import DataError, NetworkError
from common.files import check_output, what_is_at
from common.known_errors import machine_errors
from common.logs import LOG, make_console, start_logging
from common.options import add_options, option, read_options
from common.text import quoted, shortened
from data.labels.csv_file import open_text
from data.labels.text import did_you_mean, first_names
from evaluate.explanation.film import write_film
from evaluate.explanation.gates import Recursion, recorded
from evaluate.explanation.heat import grad_cam, on_frames
from evaluate.explanation.mark import check_replaces_own
from evaluate.explanation.picture import Explained, write_sheet
from evaluate.exported import SUFFIXES
from evaluate.layer_features.clips import Piece, Video, read_whole
from evaluate.layer_features.layers import check_layer, stage_names
from evaluate.model import TrainedModel, load_model
from evaluate.preprocessing import Preprocessing
from evaluate.views import ClipOptions, chosen_preprocessing

DESCRIPTION = """Show where in a clip a network finds a class (Grad-CAM), and what its SRTG blocks do with the frames.

    python -m evaluate.explain CHECKPOINT VIDEO --output x.png

A .png has all frames on one sheet, an .mp4 shows them one after the other.
"""
OUTPUTS = (".png", ".mp4")
COARSE = 4  # positions in height and width up to which heat tells little
BATCH = 8


@dataclass(frozen=True)
class ExplainOptions(ClipOptions):
    """The flags of the command."""

    layer: str = option(
        "layer4", "the layer whose heat is shown: stem, layer1 to layer4; earlier ones are finer, and tell less of the "
        "class", "heat",
    )  # fmt: skip


@dataclass(frozen=True)
class Views:
    """The views of a video and what the network says of them."""

    video: Video
    piece: Piece
    scores: Tensor  # (V, classes), log-probabilities

    @property
    def of_video(self) -> Tensor:
        """The probabilities of the video, (classes,): the mean over its views."""
        return self.scores.exp().mean(dim=0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the picture or film as the arguments say; UserError for mistakes of the user."""
    args = _parser().parse_args(arguments)
    options = read_options(ExplainOptions, args)
    start_logging(make_console(), is_first_rank=True, debug=False)
    with machine_errors("lower --val-clips, --val-crops or --clip-length", on_cpu=""):
        return _explain(args, options)


def _explain(args: argparse.Namespace, options: ExplainOptions) -> int:
    model, preprocessing = _prepare(args, options)
    target = None if args.class_name is None else _class_index(model, args.class_name)
    views = _views(model, preprocessing, args.video, options)
    predicted = int(views.of_video.argmax())
    target = predicted if target is None else target
    view = int(views.scores[:, target].argmax())
    normalise = preprocessing.normalise()
    clip = views.piece.views[view : view + 1]
    with recorded(model.network) as recursions:
        heat = grad_cam(model.network, normalise(clip), options.layer, target)
    title = _title(args.video, model, views, (predicted, target, view), options, heat)
    LOG.info("%s", title)
    _tell(heat, options, recursions)
    frames = clip[0].permute(1, 2, 3, 0).numpy()
    heat_on_frames = on_frames(heat, frames.shape[:3]).numpy()
    labels = _labels(views.video, views.piece.frames[view % len(views.piece.frames)])
    explained = Explained(title, frames, heat_on_frames, labels, recursions)
    _write(explained, args.output)
    LOG.info("%s", args.output)
    return 0


def _prepare(args: argparse.Namespace, options: ExplainOptions) -> tuple[TrainedModel, Preprocessing]:
    """The network and its clips; UserError for arguments that cannot be, before the video is read."""
    check_output(args.output, OUTPUTS, "--output", args.video)
    if what_is_at(args.output.parent) != "folder":
        raise DataError(f"--output {args.output}: there is no folder {args.output.parent}")
    check_replaces_own(args.output)
    if args.checkpoint.suffix.lower() in SUFFIXES:
        raise NetworkError(f"{args.checkpoint} is an exported file, which cannot be looked into: give its checkpoint")
    names = None if args.classes is None else _read_names(args.classes)
    model = load_model(args.checkpoint, "cpu", args.name, names, options.normalisation)
    check_layer(model, options.layer, stage_names(model.network))
    model.class_names()
    preprocessing, said = chosen_preprocessing(options, model)
    if said:
        LOG.warning("%s", said)
    return model, preprocessing


def _class_index(model: TrainedModel, name: str) -> int:
    classes = model.class_names()
    if name not in classes:
        hint = (
            did_you_mean(name, classes)
            or did_you_mean(name.casefold(), classes)
            or f"; its classes are {first_names(classes)}"
        )
        raise DataError(f"--class {quoted(name)}: {model.path} has no such class{hint}")
    return classes.index(name)


def _read_names(path: Path) -> tuple[str, ...]:
    """The lines of a text file."""
    try:
        with open_text(path) as file:
            names = tuple(line.rstrip("\r\n") for line in file)
    except UnicodeDecodeError:
        raise DataError(f"{path} is no UTF-8 text: give a class name a line") from None
    if not names or not all(names):
        raise DataError(f"{path} is empty, or has an empty line: give a class name a line")
    return names


def _views(model: TrainedModel, preprocessing: Preprocessing, path: Path, options: ExplainOptions) -> Views:
    """Read the views of a video and score them; NetworkError if scores are not finite."""
    video, piece = read_whole(path, preprocessing.sampling(options.val_clips, options.val_crops), preprocessing.shape)
    normalise = preprocessing.normalise()
    with torch.inference_mode():
        logits = torch.cat([model.network(normalise(part)) for part in piece.views.split(BATCH)])
    if not logits.isfinite().all():
        raise NetworkError(f"{model.path}: its logits of {path} are not finite")
    return Views(video, piece, logits.float().log_softmax(dim=-1).clone())


def _title(
    path: Path,
    model: TrainedModel,
    views: Views,
    chosen: tuple[int, int, int],
    options: ExplainOptions,
    heat: Tensor,
) -> str:
    """Two lines: the video and its classes; the clip and the layer."""
    predicted, target, view = chosen
    classes, scores = model.class_names(), views.of_video
    text = f"{path.name}: predicted {_named(classes[predicted], scores[predicted])}"
    if target != predicted:
        text += f"; heat of {_named(classes[target], scores[target])}"
    clips = len(views.piece.frames)
    frames = views.piece.frames[view % clips]
    where = f"frames {frames[0] + 1} to {frames[-1] + 1} of {views.video.frames}"
    if len(views.scores) > 1:
        crops = len(views.scores) // clips
        where += (
            f", clip {view % clips + 1} of {clips}, crop {view // clips + 1} of {crops}: the one with the best score"
        )
    grid = " x ".join(map(str, heat.shape))
    return f"{text}\n{model.facts['name']}, {where}; heat of {options.layer}, {grid} (frames x height x width)"


def _named(name: str, score: Tensor) -> str:
    return f"{shortened(name, 60)} ({100 * float(score):.1f} %)"


def _tell(heat: Tensor, options: ExplainOptions, recursions: Sequence[Recursion]) -> None:
    """Log what the picture cannot show, and the gates."""
    if not heat.max() > 0:
        LOG.warning("no part of the clip speaks for the class at %s: there is no heat", options.layer)
    elif len(heat) == 1 or min(heat.shape[1:]) <= COARSE:
        LOG.warning(
            "%s has only %d x %d x %d positions (frames x height x width): an earlier --layer is finer",
            options.layer, *heat.shape,
        )  # fmt: skip
    for each in recursions:
        LOG.info(
            "%s: %s, mean strength %.3f; frames that return to themselves: %d of %d from a to a*, %d from a* to a",
            each.block, each.state, float(each.strength.mean()), each.there.consistent, len(each.strength),
            each.back.consistent,
        )  # fmt: skip


def _write(explained: Explained, path: Path) -> None:
    """Write the picture or film; a line says if the font lacks characters of its names."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        (write_sheet if path.suffix.lower() == ".png" else write_film)(explained, path)
    messages = dict.fromkeys(str(each.message) for each in caught)
    for message in messages:
        if not message.startswith("Glyph "):
            LOG.warning("%s", message)
    if any(message.startswith("Glyph ") for message in messages):
        LOG.warning("the font of the picture has not all characters of the names: boxes are drawn")


def _labels(video: Video, frames: np.ndarray) -> list[str]:
    """The frame numbers, from 1, with their times in the file if the rate is known."""
    times = ((frame, video.seconds(frame)) for frame in frames.tolist())
    return [f"frame {frame + 1}" + ("" if time is None else f", {time:.2f} s") for frame, time in times]


def _parser() -> CommandParser:
    parser = CommandParser(prog="python -m evaluate.explain", description=DESCRIPTION)
    parser.add_argument("checkpoint", type=Path, help="a .pth or .safetensors")
    parser.add_argument("video", type=Path, help="a video file, or the folder of a frames.db")
    parser.add_argument("--output", type=Path, required=True, help="the file to write: .png or .mp4")
    parser.add_argument(
        "--class", dest="class_name", metavar="NAME", help="the class whose heat is shown (default: the predicted one)"
    )
    parser.add_argument(
        "--network", dest="name", default="", help="the network, for a checkpoint that does not name it"
    )
    parser.add_argument(
        "--classes", type=Path, metavar="FILE", help="class names, for a checkpoint without: one a line, in its order"
    )
    add_options(parser, ExplainOptions(), ["heat", "data"])
    return parser


if __name__ == "__main__":
    run_command(main)
