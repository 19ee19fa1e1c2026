"""How videos are seen in an evaluation: the flags of views, and of the clips of commands that take a trained file."""

from dataclasses import dataclass, replace
from typing import Any

from common.cli import LARGEST, LARGEST_CROP_SCALE
from common.errors import DataError
from common.normalisation import AUTO, NORMALISATIONS
from common.options import flag_name, option
from data.clips.cropping import read_ratio
from data.clips.intervals import interval_of, read_single_interval
from evaluate.model import TrainedModel
from evaluate.preprocessing import Preprocessing

MOST_VIEWS = 1000


def normalisation_option() -> Any:
    """--normalisation, of all that takes weights of other projects."""
    return option(
        AUTO, "the mean and deviation that weights of another project expect of frames, by name, for files that cannot "
        "tell; auto: as the file's tensors say", "network and weights", choices=(AUTO, *NORMALISATIONS),
    )  # fmt: skip


@dataclass(frozen=True)
class ViewOptions:
    """The views of a video. A view is one clip at one crop; the probabilities of a video's views are averaged."""

    val_clips: int = option(
        1, "evenly spaced clips of each video in validation; their probabilities are averaged", "data", minimum=1,
        maximum=MOST_VIEWS, is_compared=True,
    )  # fmt: skip
    val_crops: int = option(
        1, "crops of each clip in validation, evenly spaced over the longer side; 1: the centre crop; 3: left, centre "
        "and right (or top, middle and bottom)", "data", minimum=1, maximum=MOST_VIEWS, is_compared=True,
    )  # fmt: skip
    val_size: int | None = option(
        None, "height and width of the crops in validation (default: those of the training; in an evaluation, those "
        "of the file's validation)", "data", minimum=1, is_compared=True, metavar="N",
    )  # fmt: skip


@dataclass(frozen=True)
class ClipOptions(ViewOptions):
    """The views, and what the clips of a trained file may be replaced by."""

    clip_length: int | None = option(
        None, "frames of a clip (default: as the checkpoint says)", "data", minimum=1, metavar="N"
    )
    val_frame_interval: int | str | None = option(
        None, "distance between two sampled frames of a clip, as 2, 2@30 or all (default: as the checkpoint says)",
        "data", aliases=("--val-frame-inteval",), read=read_single_interval, metavar="N",
    )  # fmt: skip
    crop_scale: float | None = option(
        None, "shorter side of the resized frame over the crop's side, as 294/224 (default: as the checkpoint says)",
        "data", minimum=1, below=LARGEST_CROP_SCALE, read=read_ratio, metavar="A/B",
    )  # fmt: skip
    normalisation: str = normalisation_option()


def chosen_preprocessing(options: ClipOptions, model: TrainedModel) -> tuple[Preprocessing, str]:
    """The preprocessing of a trained file, with what flags change, and a line that says these; "" if none does.

    NetworkError if the file does not say its clips and the flags do not either; DataError if clips are too large.
    """
    given: dict[str, Any] = {
        "clip_length": options.clip_length,
        "clip_size": options.val_size,
        "interval": options.val_frame_interval,
        "crop_scale": options.crop_scale,
    }
    given = {name: value for name, value in given.items() if value is not None}
    if options.val_frame_interval is not None:
        try:
            interval_of(options.val_frame_interval)
        except DataError as error:
            raise DataError(f"--val-frame-interval {options.val_frame_interval}: {error}") from None
    if model.preprocessing is None and {"clip_length", "clip_size", "interval"} <= given.keys():
        chosen = _checked(Preprocessing(**given, normalisation=model.network.normalisation))
        return chosen, f"{model.path} does not say its clips: taking {chosen.show()}"
    trained = model.needs_preprocessing()
    chosen = _checked(replace(trained, **given))
    if chosen == trained:
        return chosen, ""
    flags = {"clip_size": "val_size", "interval": "val_frame_interval"}
    names = [flag_name(flags.get(name, name)) for name, value in given.items() if value != getattr(trained, name)]
    scales = [
        f", crop scale {each.crop_scale:.4g}" if trained.crop_scale != chosen.crop_scale else ""
        for each in (trained, chosen)
    ]
    return chosen, (
        f"trained with clips of {trained.show()}{scales[0]}; taking {chosen.show()}{scales[1]}, as "
        f"{' and '.join(names)} say"
    )


def _checked(chosen: Preprocessing) -> Preprocessing:
    if 3 * chosen.clip_length * chosen.clip_size**2 > LARGEST:
        raise DataError(f"clips of {chosen.show()} are too large: lower --clip-length or --val-size")
    return chosen
