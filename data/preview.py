"""A picture of what augmentation makes of a dataset's clips."""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from common.cli import CommandParser, positive_integer, run_command
from common.errors import DataError
from common.files import atomic_file
from data.augment.augment import Augment
from data.augment.normalise import MEAN, SCALE
from data.augment.params import KINDS, fields_of, random_params, random_params_of_kind
from data.clips.sampling import RandomClips
from data.clips.types import ClipRequest, ClipShape
from data.labels.class_folders import list_folders
from data.store.frame_store import DATABASE, FrameStore

DESCRIPTION = """Draw original and augmented clips side by side, a row a draw, with what was done to each.

    python -m data.augment demo --output sheet.png

Crop, flip and the rest are drawn as in training. Look at it before a long run on a dataset of your own.
"""
INTERVALS = (2, 2)
INCHES_A_PICTURE = 1.25


class Row(NamedTuple):
    """One clip before and after: frames uint8 (T, h, w, 3)."""

    title: str
    original: NDArray[np.uint8]
    augmented: NDArray[np.uint8]


def main() -> int:
    """Write the sheet that the command line asks for; the exit status."""
    parser = CommandParser(
        prog="python -m data.augment", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="a dataset (it holds jpg/), or a video's folder (it holds frames.db)")
    parser.add_argument("--output", type=Path, default=Path("augmentation.png"), help="PNG to write")
    parser.add_argument("--rows", type=positive_integer, default=8, help="clips, each with a draw of its own")
    parser.add_argument("--frames", type=positive_integer, default=3, help="frames of each clip")
    parser.add_argument("--size", type=positive_integer, default=224, help="height and width of a clip, in pixels")
    parser.add_argument("--seed", type=int, default=0, help="other seeds, other clips and draws")
    parser.add_argument("--each-kind", action="store_true", help="a row for each kind of change, by itself")
    arguments = parser.parse_args()
    if arguments.seed < 0:
        raise DataError(f"--seed {arguments.seed}: must be 0 or more")
    shape = ClipShape(arguments.frames, arguments.size, arguments.size)
    kinds = list(KINDS) if arguments.each_kind else [None] * arguments.rows
    rows = [make_row(arguments.folder, shape, kind, (arguments.seed, row)) for row, kind in enumerate(kinds)]
    draw_sheet(rows, arguments.output)
    print(f"{len(rows)} clips in {arguments.output}")
    return 0


def make_row(folder: Path, shape: ClipShape, kind: str | None, key: tuple[int, int]) -> Row:
    """A random clip of the dataset or video in `folder`, changed by one kind alone or, if that is None, as in training.

    DataError if there is no video or it cannot be read.
    """
    rng = np.random.default_rng(key)
    video = _choose_video(folder, rng)
    sampling = RandomClips(INTERVALS, flip=kind is None, augment=True)
    with FrameStore(video) as store:
        (sampled,) = sampling.frames(len(store), ClipRequest(0, shape, 0), rng)
        box = sampling.crop_box(store.size(), shape, rng)
        original, clip = (store.read(sampled.indices.tolist(), box._replace(flip=flip)) for flip in (False, box.flip))
    draw = random_params(rng) if kind is None else random_params_of_kind(kind, rng)
    clips = torch.from_numpy(clip)[None].permute(0, 4, 1, 2, 3)
    normalised = Augment()(clips, torch.from_numpy(draw)[None])[0]
    grey_levels = (normalised / SCALE + torch.tensor(MEAN).view(3, 1, 1, 1)).round().clamp(0, 255)
    augmented = grey_levels.to(torch.uint8).permute(1, 2, 3, 0).numpy()
    return Row(describe(draw, box.flip), original, augmented)


def describe(draw: np.ndarray, flip: bool) -> str:
    """What a draw (NUM_PARAMS,) does, a line each, in the order in which it is done."""
    (fields,) = fields_of(draw[None])
    lines = ["flip"] if flip else []
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
        lines.append(f"noise {fields['noise_scale']:.0f}")
    if fields["colour"] != 1:
        lines.append(f"colour {fields['colour']:.2f}")
    if fields["contrast"] != 1:
        lines.append(f"contrast {fields['contrast']:.2f}")
    return "\n".join(lines) or "unchanged"


def draw_sheet(rows: list[Row], path: Path) -> None:
    """Write a PNG: for each row its title, the original frames and the augmented ones. DataError if it cannot."""
    import matplotlib.figure  # takes a second, which training need not wait for

    frames = len(rows[0].original)
    columns = 2 * frames
    height = len(rows) * INCHES_A_PICTURE + 0.35
    figure = matplotlib.figure.Figure(figsize=(2.1 + columns * INCHES_A_PICTURE + 0.15, height), dpi=110)
    widths = [2.1 / INCHES_A_PICTURE, *[1] * frames, 0.12, *[1] * frames]
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
    try:
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png")
    except OSError as error:
        raise DataError(f"{path}: cannot be written: {error.strerror}") from None


def _choose_video(folder: Path, rng: np.random.Generator) -> Path:
    if (folder / DATABASE).is_file():
        return folder
    jpg = folder / "jpg"
    if not jpg.is_dir():
        raise DataError(f"{folder} is neither a dataset (with a folder jpg) nor a video's folder (with {DATABASE})")
    classes = list_folders(jpg)
    rng.shuffle(classes)
    for name in classes:
        videos = list_folders(jpg / name)
        if videos:
            return jpg / name / videos[rng.integers(len(videos))]
    raise DataError(f"{jpg} holds no videos: python -m data.prepare.convert makes them")


if __name__ == "__main__":
    run_command(main)
