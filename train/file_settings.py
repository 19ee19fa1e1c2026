"""What a checkpoint knows of its network and clips takes the place of the script's defaults.

A flag on the command line still overrides the file; the log says so. `options` are those of a script, with the names
of the flags on its command line in `given`.
"""

import logging
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.cli import LARGEST
from common.errors import DataError, NetworkError
from data.clips.intervals import interval_of
from network.weights.facts import CLIPS, in_file, saved_facts, training_facts
from train.checkpoint.files import Checkpoint

CROP = "crop_scale"
SRTG = ("gates", "placement")
NETWORK = ("network", *SRTG)
Notes = list[tuple[int, str]]  # log level and text


def settings_from_file(
    options: Any, path: Path, checkpoint: Checkpoint, variants: Collection[str] = ()
) -> tuple[Any, Notes]:
    """The options, with the file's values in place of defaults: those of the network and, to evaluate, of the clips.

    To evaluate, also the variant or split of the dataset, if it is one of the script's `variants`: the validation
    videos of one split of UCF-101 are training videos of the others.
    The notes are for the log: what is taken from the file, what a flag changes, and what the file does not say.
    """
    names = NETWORK + ((*CLIPS, CROP, "variant") if options.evaluate else ())
    if options.evaluate and options.val_size:
        given = (*options.given, "clip_size")
        options = replace(options, clip_size=options.val_size, val_size=None, given=given)
    with in_file(path):
        saved = _saved(checkpoint, variants)
    differing = [name for name in names if name in saved and saved[name] != getattr(options, name)]
    taken = {name: saved[name] for name in differing if name not in options.given}
    changed = {name: saved[name] for name in differing if name in options.given}
    action = "evaluating with" if options.evaluate else "this run has"
    notes: Notes = []
    if taken:
        notes.append((logging.INFO, f"from {path}: {_shown(taken)}"))
    if changed:
        now = _shown({name: getattr(options, name) for name in changed})
        notes.append((logging.WARNING, f"{path} has {_shown(changed)}; {action} {now}, as the command line says"))
    if not options.evaluate and saved.get(CROP, options.crop_scale) != options.crop_scale:
        own = _shown({CROP: options.crop_scale})
        notes.append((logging.INFO, f"{path} was trained with {_shown({CROP: saved[CROP]})}; this run has {own}"))
    if taken.keys() & CLIPS[:2]:
        size = taken.get("clip_size", options.clip_size)
        with in_file(path):
            check_clip(taken.get("clip_length", options.clip_length), size)
    with in_file(path):
        check_interval(taken.get("val_frame_interval", 1))
    needed = (*(SRTG if options.network.startswith("srtg_") else ()), *CLIPS, *(("variant",) if variants else ()))
    unknown = [name for name in needed if name not in saved and name not in options.given]
    if options.evaluate and unknown:
        assumed = _shown({name: getattr(options, name) for name in unknown})
        notes.append((logging.WARNING, f"{path} does not say all that its weights need: evaluating with {assumed}"))
    return replace(options, **taken), notes


def _saved(checkpoint: Checkpoint, variants: Collection[str]) -> dict[str, Any]:
    """The values that the checkpoint holds, by the name of the option; none if another project wrote it."""
    facts = saved_facts(checkpoint)
    if not facts:
        return {}
    saved = {"network": facts["name"], "gates": facts["gates"], "placement": facts["placement"]}
    trained = training_facts(checkpoint)
    crop = {CROP: trained["preprocessing"][CROP]} if trained["preprocessing"] else {}
    options = trained["options"]
    return saved | crop | {name: value for name, value in options.items() if name in CLIPS or value in variants}


def check_clip(length: int, size: int) -> None:
    """NetworkError if clips of the size that the file gives have more values than a tensor may have here."""
    if 3 * length * size**2 > LARGEST:
        raise NetworkError(
            f"its clips of {length} frames of {size}x{size} are too large: give --clip-length and --clip-size"
        )


def check_interval(interval: int | str) -> None:
    """NetworkError if the file gives an interval that no flag takes."""
    try:
        interval_of(interval)
    except DataError as error:
        raise NetworkError(f"its option val_frame_interval is {interval}: {error}") from error


def _shown(values: dict[str, Any]) -> str:
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in values.items())
