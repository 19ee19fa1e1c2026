"""python -m data.preview: a picture (contact sheet) of a dataset's clips before and after augmentation."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import atomic_file, changed_at, check_output, reason, what_is_at, write_errors
from common.text import quoted
from data.augment.augment import Augment
from data.augment.normalise import MEAN, SCALE
from data.augment.params import KINDS, named_params, random_params, random_params_of_kind
from data.augment.randaugment import OPERATIONS, RandAugment, params_of, randaugment_params, read_randaugment
from data.clips.dataset import SOURCES, known_rate
from data.clips.intervals import Intervals, intervals_of, read_interval
from data.clips.sampling import SPAN, RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.class_folders import list_folders, list_names
from data.labels.locate import find_class_folders
from data.store.folder_entries import is_hidden_folder
from data.store.frame_store import DATABASE
from data.store.video_source import VideoPart
from data.store.video_suffixes import is_video

DESCRIPTION = """Write a picture of original and augmented clips side by side, one clip a row, with its augmentation.

    python -m data.preview demo --output sheet.png

Clip, crop, flip and augmentation are random, as in training. Check it before a long run on your own dataset.
"""
FRAMES = Intervals(2, 2)
INCHES_PER_FRAME = 1.25


class Row(NamedTuple):
    """One clip before and after: frames uint8 (T, h, w, 3)."""

    title: str
    original: NDArray[np.uint8]
    augmented: NDArray[np.uint8]


def main(prog: str = "python -m data.preview") -> int:
    """Write the sheet as the command line says and return the exit status; `prog` is the command's name in messages."""
    parser = CommandParser(prog=prog, description=DESCRIPTION)
    parser.add_argument(
        "folder", type=Path, help="a dataset (contains jpg/) or the folder of a video (contains frames.db)"
    )
    parser.add_argument(
        "--source", choices=("frames", "videos"), default="frames",
        help="what clips are read from. frames: databases; videos: the video files of a dataset (contains videos/), or "
        "one file",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="the PNG file to write")
    parser.add_argument("--rows", type=positive_integer, default=8, help="number of clips")
    parser.add_argument("--frames", type=positive_integer, default=3, help="frames per clip")
    parser.add_argument(
        "--frame-interval",
        default="2",
        metavar="N",
        help="distance between two frames of a clip, as --train-frame-interval; a range as 1,2",
    )
    parser.add_argument("--size", type=positive_integer, default=224, help="height and width of a clip in pixels")
    parser.add_argument("--seed", type=int, default=0, help="another seed gives other clips and augmentations")
    parser.add_argument(
        "--randaugment", metavar="NxM",
        help="as in training, such as 2x9, instead of the changes of --augment full",
    )  # fmt: skip
    parser.add_argument("--each-kind", action="store_true", help="one row for each kind of augmentation, applied alone")
    arguments = parser.parse_args()
    if arguments.seed < 0:
        raise DataError(f"--seed {arguments.seed}: must be 0 or more")
    check_output(arguments.output, [".png"], "--output")
    shape = ClipShape(arguments.frames, arguments.size, arguments.size)
    try:
        recipe = None if arguments.randaugment is None else read_randaugment(arguments.randaugment)
    except DataError as error:
        raise DataError(f"--randaugment {quoted(arguments.randaugment)}: {error}") from None
    kinds: list[str | None] = [None] * arguments.rows
    if arguments.each_kind:
        kinds = list(OPERATIONS[1:] if recipe else KINDS)
    try:
        intervals = intervals_of(read_interval(arguments.frame_interval))
    except DataError as error:
        raise DataError(f"--frame-interval: {error}") from None
    rows = [
        make_row(arguments.folder, shape, kind, (arguments.seed, row), intervals, arguments.source, recipe)
        for row, kind in enumerate(kinds)
    ]
    draw_sheet(rows, arguments.output)
    print(f"{len(rows)} clips in {arguments.output}")
    return 0


def make_row(
    folder: Path,
    shape: ClipShape,
    kind: str | None,
    key: tuple[int, int],
    intervals: Intervals | None = FRAMES,
    source: str = "frames",
    randaugment: RandAugment | None = None,
) -> Row:
    """A random clip of the dataset or video in `folder`, augmented by one kind alone (None: as in training).

    The kinds are those of params.KINDS, or the operations of `randaugment` if that is given. `key` seeds all random
    choices; `intervals` None: the clip spans the whole video. `source` is "frames" or "videos". DataError if there is
    no video, or it cannot be read.
    """
    rng = np.random.default_rng(key)
    place = _choose_file(folder, rng) if source == "videos" else _choose_video(folder, rng)
    lowest, highest, steps = intervals or FRAMES
    how = "uniform" if intervals else SPAN
    sampling = RandomClips((lowest, highest), flip=kind is None, augment=True, rate=steps, sampling=how)
    with SOURCES[source](place) as store:
        rate = known_rate(store, place) if sampling.needs_rate else None
        (sampled,) = sampling.frames(len(store), ClipRequest(0, shape, 0), rng, rate)
        (crop_box,) = sampling.crop_boxes(store.size(), shape, rng)
        indices = sampled.indices.tolist()
        original, clip = (store.read(indices, crop_box._replace(flip=flip)) for flip in (False, crop_box.flip))
    params = _random_params(kind, randaugment, rng)
    clips = torch.from_numpy(clip)[None].permute(0, 4, 1, 2, 3)
    normalised = Augment()(clips, torch.from_numpy(params)[None])[0]
    grey_levels = (normalised / SCALE + torch.tensor(MEAN).view(3, 1, 1, 1)).round().clamp(0, 255)
    augmented = grey_levels.to(torch.uint8).permute(1, 2, 3, 0).numpy()
    return Row(describe(params, crop_box.flip), original, augmented)


def _random_params(kind: str | None, randaugment: RandAugment | None, rng: np.random.Generator) -> np.ndarray:
    if randaugment is None:
        return random_params(rng) if kind is None else random_params_of_kind(kind, rng)
    if kind is None:
        return randaugment_params(randaugment, rng)
    return params_of([(kind, randaugment.magnitude, int(rng.choice((-1, 1))))])


def describe(params: np.ndarray, flip: bool) -> str:
    """The operations that augmentation parameters (NUM_PARAMS,) cause, one a line, in the order of application."""
    (fields,) = named_params(params[None])
    lines = ["flip"] if flip else []
    for place, strength in zip(fields["operations"].astype(int), fields["strengths"], strict=True):
        if place:
            lines.append(f"{OPERATIONS[place]} {strength:.3g}" if strength else OPERATIONS[place])
    if fields["rotation"]:
        lines.append(f"rotation {fields['rotation']:+.1f}°")
    if fields["corner_shifts"].any():
        lines.append(f"perspective {100 * fields['corner_shifts'].mean():.1f} %")
    if fields["blur_sigma"]:
        lines.append(f"Gaussian blur {fields['blur_sigma']:.2f}")
    if fields["motion_kernel"]:
        lines.append(f"motion blur {fields['motion_kernel']:.0f} at {fields['motion_angle']:.0f}°")
    if fields["hue"] or fields["saturation"]:
        lines.append(f"hue {fields['hue']:+.1f}, saturation {fields['saturation']:+.1f}")
    if fields["add"].any():
        lines.append("add " + " ".join(f"{value:+.0f}" for value in fields["add"]))
    if fields["noise_scale"]:
        lines.append(f"noise {fields['noise_scale']:.1f}")
    if fields["colour"] != 1:
        lines.append(f"colour {fields['colour']:.2f}")
    if fields["contrast"] != 1:
        lines.append(f"contrast {fields['contrast']:.2f}")
    return "\n".join(lines) or "unchanged"


def draw_sheet(rows: list[Row], path: Path) -> None:
    """Write a PNG with the title, original and augmented frames of each row. DataError if `path` cannot be written."""
    import matplotlib.figure  # takes a second to import, so only when needed

    frames = len(rows[0].original)
    columns = 2 * frames
    height = len(rows) * INCHES_PER_FRAME + 0.35
    figure = matplotlib.figure.Figure(figsize=(2.1 + columns * INCHES_PER_FRAME + 0.15, height), dpi=110)
    widths = [2.1 / INCHES_PER_FRAME, *[1] * frames, 0.12, *[1] * frames]
    axes = figure.subplots(len(rows), len(widths), squeeze=False, width_ratios=widths)
    figure.subplots_adjust(0, 0.008, 0.992, 1 - 0.35 / height, wspace=0.02, hspace=0.02)
    for row, places in zip(rows, axes, strict=True):
        for place in places:
            place.axis("off")
        places[0].text(0.06, 0.5, row.title, va="center", fontsize=9, linespacing=1.35)
        pictures = (*row.original, None, *row.augmented)
        for place, picture in zip(places[1:], pictures, strict=True):
            if picture is not None:
                place.imshow(picture)
    for column, title in ((1, "original"), (frames + 2, "augmented")):
        axes[0, column].set_title(title, loc="left", fontsize=11)
    with write_errors(path), atomic_file(path) as temporary:
        figure.savefig(temporary, format="png")


def _choose_file(folder: Path, rng: np.random.Generator) -> VideoPart:
    """A random video file of a dataset, or `folder` if it is one."""
    from data.store.keyframe_index import index_video  # loads FFmpeg, which databases do not need

    path = folder
    if what_is_at(folder) != "file":
        root = find_class_folders(folder, "videos")
        places = [(name, file) for name in _classes(root) for file in sorted(list_names(root / name))]
        files = [root / name / file for name, file in places if is_video(file)]
        if not files:
            raise DataError(f"{root} contains no videos: they go into {root}/<class>/")
        path = files[int(rng.integers(len(files)))]
    try:
        status, index = path.stat(), index_video(path)
    except OSError as error:
        raise DataError(f"{path}: {reason(error)}") from error
    except DataError as error:
        raise DataError(f"{path} {error}") from error
    return VideoPart(str(path), status.st_size, changed_at(status), index.packed(), 0, len(index.times))


def _classes(folder: Path) -> list[str]:
    return [name for name in list_folders(folder) if not is_hidden_folder(name)]


def _choose_video(folder: Path, rng: np.random.Generator) -> Path:
    jpg = folder / "jpg"
    # Path.is_file raises for a name that is too long, or in a folder without permission.
    if os.path.isfile(folder / DATABASE):  # noqa: PTH113
        return folder
    if not os.path.isdir(jpg):  # noqa: PTH112
        raise DataError(
            f"{folder} is neither a dataset (with a folder jpg) nor the folder of a video (with {DATABASE})"
            + ("; it has a folder videos: add --source videos" if os.path.isdir(folder / "videos") else "")  # noqa: PTH112
        )
    classes = _classes(jpg)
    rng.shuffle(classes)
    for name in classes:
        videos = list_folders(jpg / name)
        if videos:
            return jpg / name / videos[rng.integers(len(videos))]
    raise DataError(f"{jpg} contains no videos: make them with python -m data.prepare.convert")


if __name__ == "__main__":
    run_command(main)
