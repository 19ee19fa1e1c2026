"""What a file of this project says of its network and of its training; each value is checked before it is used."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from common.cli import LARGEST, LARGEST_CROP_SCALE
from common.errors import NetworkError
from common.normalisation import SRTG, Normalisation, of_levels
from network.base import EPS, VideoNetwork
from network.srtg import PLACEMENTS

FORMAT = 1
"""Of the checkpoints that this version writes and reads."""

MOST_DIGESTS, LONGEST_DIGEST = 1000, 128
"""Of the videos of a split: digests, and characters of one."""

LONGEST_NUMBER = 128
"""Bits of a whole number that is shown. Python refuses to show the largest."""

KEYS = ("name", "gates", "placement", "num_classes")
"""What every file says of its network."""

LATER = ("normalisation", "eps")
"""What newer files say too: {"mean", "std"} in grey levels of R, G, B, and the eps of batch norm. Networks of others
have the normalisation of the file's preprocessing, else this project's, and the default eps."""

LARGEST_EPS = 1.0

CLIPS = ("clip_length", "clip_size", "val_frame_interval")
"""The options of the clips that a network was trained for."""

INTERVAL = re.compile(r"all|[1-9][0-9]{0,8}@[1-9][0-9]{0,3}(\.[0-9]{1,9})?")
"""A `val_frame_interval` that is no number of frames: the whole video, or a time."""

PREPROCESSING = ("clip_length", "clip_size", "interval", "crop_scale", "colour", "mean", "std")
"""What must be done to a video for a network: clips of `clip_length` frames, `interval` apart (as INTERVAL has it), of
`clip_size` pixels, cut from frames whose shorter side is `crop_scale` x `clip_size`; grey levels 0-255 of R, G, B
(`colour` "RGB") less `mean`, divided by `std`."""

TRAINING = ("options", "videos", "content", "preprocessing")
"""The fields of a checkpoint that exported files have too, as `training_facts` gives them."""


def saved_facts(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a checkpoint of this project says of its network; None for all others.

    {"name", "gates", "placement", "num_classes", "normalisation", "eps"}, the arguments of `create_network`, and
    "classes": the class names in the order of the logits, None if the file has no names. NetworkError if one of them is
    missing or is no such value, or if another version of this project wrote the file in another format.
    """
    if not is_own(checkpoint):
        return None
    _check_format(checkpoint)
    network = checkpoint.get("network")
    if not isinstance(network, Mapping):
        raise NetworkError(f"the checkpoint's field `network` is {_kind(network)}, not the network's name and settings")
    missing = [key for key in KEYS if key not in network]
    if missing:
        raise NetworkError(f"the checkpoint's field `network` lacks {', '.join(missing)}")
    unknown = [key for key in network if key not in (*KEYS, *LATER)]
    if unknown:
        raise NetworkError(f"the checkpoint's network has the setting {shown(unknown[0])}, of another version")
    name, gates, placement, num_classes = (network[key] for key in KEYS)
    if not isinstance(name, str) or not name:
        raise NetworkError(f"the checkpoint names its network by {_kind(name)}, not by a text")
    if not isinstance(gates, bool):
        raise NetworkError(f"the checkpoint's gates are {_kind(gates)}, neither True nor False")
    if placement not in PLACEMENTS:
        raise NetworkError(f"the checkpoint has an unknown placement: {shown(placement)}")
    if type(num_classes) is not int or num_classes < 1:
        raise NetworkError(f"the checkpoint's number of classes is {shown(num_classes)}, not a whole number above 0")
    facts = {key: network[key] for key in KEYS}
    facts |= {"normalisation": _normalisation(checkpoint, network.get("normalisation")), "eps": _eps(network)}
    return facts | {"classes": _classes(checkpoint.get("classes"), num_classes)}


def facts_of(network: VideoNetwork) -> dict[str, Any]:
    """What a file says of this network, as plain values; `saved_facts` reads it."""
    return {
        "name": network.name,
        "gates": network.gates,
        "placement": network.placement,
        "num_classes": network.num_classes,
        "normalisation": network.normalisation.plain(),
        "eps": network.eps,
    }


def training_facts(checkpoint: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """{"options", "videos", "content", "preprocessing"}: what an evaluation needs besides the network.

    An empty dict stands for each that is not known.
    `options` are those of CLIPS and the `variant` of the dataset, "" if its script has none; `videos` and `content` are
    digests of the training and validation videos and of what they hold; `preprocessing` has all of PREPROCESSING.
    `clip_size` is that of the run's validation in both, also where it is not that of its training.
    Paths and other options are left out: exported files are given to others. NetworkError if one of them is no such
    value.
    """
    facts: dict[str, dict[str, Any]] = {name: {} for name in TRAINING}
    if not is_own(checkpoint):
        return facts
    options = _values(checkpoint, "options")
    facts["options"] = {name: _clip_option(name, options[name]) for name in CLIPS if name in options}
    if "variant" in options:
        if not isinstance(options["variant"], str):
            raise NetworkError(f"its option variant is {shown(options['variant'])}, not a text")
        facts["options"]["variant"] = options["variant"]
    for field in ("videos", "content"):
        for name, digests in _values(checkpoint, field).items():
            if not isinstance(name, str) or not _are_digests(digests):
                raise NetworkError(f"its field `{field}` has {shown(digests)} for {shown(name)}, which no run saves")
            facts[field][name] = digests
    facts["preprocessing"] = _preprocessing(_values(checkpoint, "preprocessing"))
    if options.get("val_size") is not None:  # older versions' preprocessing has the size of the training
        size = {"clip_size": _clip_option("val_size", options["val_size"])}
        facts["options"] |= size
        facts["preprocessing"] |= size if facts["preprocessing"] else {}
    return facts


def is_own(checkpoint: Mapping[str, Any]) -> bool:
    """Whether this project wrote the checkpoint, so that it must say what network it is of."""
    network, versions = checkpoint.get("network"), checkpoint.get("versions")
    names_network = isinstance(network, Mapping) and "name" in network and "weights" in checkpoint
    return names_network or (isinstance(versions, Mapping) and "srtg" in versions) or _is_run(checkpoint)


def _is_run(checkpoint: Mapping[str, Any]) -> bool:
    return {"format", "position", "progress"} <= checkpoint.keys()


@contextmanager
def in_file(path: object) -> Iterator[None]:
    """Put the file's name before the message of a NetworkError in the block."""
    try:
        yield
    except NetworkError as error:
        raise NetworkError(f"{path}: {error}") from error


def shown(value: object, length: int = 60) -> str:
    """A value of unknown origin as text for a message: printable, in one line, and not long."""
    text = value if isinstance(value, str) else _kind(value)
    text = text[:length] + "..." if len(text) > length else text
    return text if text.isprintable() else ascii(text)[1:-1]


def _check_format(checkpoint: Mapping[str, Any]) -> None:
    found = checkpoint.get("format", FORMAT)  # a safetensors file has none
    if type(found) is not int or found != FORMAT:
        versions = checkpoint.get("versions")
        writer = shown(versions.get("srtg", "unknown")) if isinstance(versions, Mapping) else "unknown"
        raise NetworkError(
            f"the checkpoint is of format {shown(found)}, written by version {writer} of this project; this version "
            f"reads format {FORMAT}: use the version that wrote it"
        )


def _classes(classes: object, num_classes: int) -> list[str] | None:
    if classes is None:
        return None
    if not isinstance(classes, list | tuple) or not all(isinstance(name, str) for name in classes):
        raise NetworkError("the checkpoint's field `classes` is no list of names")
    if len(classes) != num_classes:
        raise NetworkError(f"the checkpoint names {len(classes)} classes, but its network has {num_classes}")
    if len(set(classes)) < len(classes):
        twice = next(name for index, name in enumerate(classes) if name in classes[:index])
        raise NetworkError(f"the checkpoint names the class {shown(twice)} twice")
    return list(classes)


def _values(checkpoint: Mapping[str, Any], field: str) -> Mapping[Any, Any]:
    """A field that holds values by name, or is missing."""
    values = checkpoint.get(field)
    if values is not None and not isinstance(values, Mapping):
        raise NetworkError(f"its field `{field}` is {shown(values)}, not values by name")
    return values or {}


def _are_digests(value: object, depth: int = 2) -> bool:
    """Whether a value is a short text, or a list or dict of such: a split's field of `videos` or `content`."""
    if isinstance(value, Mapping):
        return depth > 0 and all(isinstance(name, str) for name in value) and _are_digests([*value.values()], depth)
    if isinstance(value, list | tuple):
        return depth > 0 and len(value) <= MOST_DIGESTS and all(_are_digests(each, depth - 1) for each in value)
    return value is None or (isinstance(value, str) and len(value) <= LONGEST_DIGEST)


def _preprocessing(values: Mapping[Any, Any]) -> dict[str, Any]:
    """The checked values of a checkpoint's preprocessing; NetworkError if one is missing or is none."""
    if not values:
        return {}
    odd = [name for name in PREPROCESSING if name not in values] + [
        name for name in values if name not in PREPROCESSING
    ]
    if odd:
        what = "lacks" if odd[0] in PREPROCESSING else "has"
        raise NetworkError(f"its preprocessing {what} {shown(odd[0])}: it is of another version of this project")
    found = dict(values)
    for name, option in (("clip_length",) * 2, ("clip_size",) * 2, ("interval", "val_frame_interval")):
        found[name] = _clip_option(option, values[name])
    scale, colour = values["crop_scale"], values["colour"]
    if not _is_number(scale) or not 1 <= scale <= LARGEST_CROP_SCALE:
        raise NetworkError(f"its crop scale is {shown(scale)}, not a number from 1 to {LARGEST_CROP_SCALE:g}")
    if colour != "RGB":
        raise NetworkError(f"its preprocessing takes the colours {shown(colour)}; this version knows RGB alone")
    return found | _levels(values).plain()


def _levels(values: Mapping[Any, Any]) -> Normalisation:
    """The normalisation of "mean" and "std"; NetworkError if one of them is none."""
    for name in ("mean", "std"):
        levels = values[name]
        if not isinstance(levels, list | tuple) or len(levels) != 3 or not all(map(_is_number, levels)):
            raise NetworkError(f"its {name} is {shown(levels)}, not three numbers")
    found = of_levels(values["mean"], values["std"])
    if min(found.std) <= 0:
        raise NetworkError(f"its std is {list(found.std)}: it must be above 0")
    return found


def _normalisation(checkpoint: Mapping[str, Any], saved: object) -> Normalisation:
    """The network's, which its preprocessing must not contradict."""
    clips = _preprocessing(_values(checkpoint, "preprocessing") or {})
    own = _levels(clips) if clips else SRTG
    if saved is None:
        return own
    if not isinstance(saved, Mapping) or set(saved) != {"mean", "std"}:
        raise NetworkError(f"its network's normalisation is {shown(saved)}, not a mean and a std")
    found = _levels(saved)
    if clips and found != own:
        raise NetworkError(f"its network expects {found.show()}, but its preprocessing gives {own.show()}")
    return found


def _eps(network: Mapping[Any, Any]) -> float:
    eps = network.get("eps", EPS)
    if not isinstance(eps, float) or not 0 < eps <= LARGEST_EPS:
        raise NetworkError(f"its batch norm has the eps {shown(eps)}, not a number above 0 and up to {LARGEST_EPS:g}")
    return eps


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _clip_option(name: str, value: object) -> int | str:
    if name == "val_frame_interval" and isinstance(value, str) and INTERVAL.fullmatch(value):
        return value
    if type(value) is not int or value < 1:
        raise NetworkError(f"its option {name} is {shown(value)}, not a whole number above 0")
    if value > LARGEST:
        raise NetworkError(f"its option {name} is {shown(value)}: {LARGEST} is the most")
    return value


def _kind(value: object) -> str:
    """The value of a number, the type of anything else."""
    if isinstance(value, int) and value.bit_length() > LONGEST_NUMBER:
        return f"a number of {value.bit_length()} bits"
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"a {type(value).__name__}"
