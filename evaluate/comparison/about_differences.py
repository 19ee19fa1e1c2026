"""In what two sides of a comparison differ, as their files of predictions tell: options, network, views."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from common.json_text import json_text
from common.text import printable, shortened
from evaluate.results.checkpoint_file import CHECKPOINT_FILE
from evaluate.results.content import CONTENT, other_frames
from evaluate.results.predictions import Predictions

OF_CLIPS = ("clip", "interval", "crop_scale")
FIRST = ("network", "gates", "placement", "split", "views", *OF_CLIPS, "pretrained_3d", "fine_tune")
DIGESTS = ("digest", "weights_digest")  # of the weights; they decide where both sides have one
EVALUATION = ("split", "views", "clips", "crops", *OF_CLIPS)
LAST = {  # of where and how a run was done; they seldom make a difference
    "checkpoint", "dataset", "labels", "model_dir", "task_name", "log_file", "resume_epoch", "random_seed", "workers",
    "device", "gpus", "debug_mode", "evaluate", "log_every", "save_frequency", "save_every_steps", "save_every_minutes",
    "val_batch_size", "run_id", *DIGESTS, "versions", "created", "time",
}  # fmt: skip
SKIPPED = {"given", "run_key", CHECKPOINT_FILE, CONTENT}
"""Which flags were given, of which each has its own value; keys and digests, of which others tell what they mean."""
ABSENT = "(not saved)"


class AboutDifference(NamedTuple):
    """A field that differs, and its values: of the seeds of a side without repetitions."""

    name: str
    a: str
    b: str


def differences(a: Sequence[Predictions], b: Sequence[Predictions]) -> list[AboutDifference]:
    """The fields of `about` and of its "options" whose values differ, what matters most first and paths, seeds last.

    Options are left out where a side has none saved, such as an ensemble.
    """
    sides = [[_flat(each.about) for each in side] for side in (a, b)]
    with_options = all(any(_options(each) for each in side) for side in (a, b))
    names = dict.fromkeys(name for side in sides for fields in side for name in fields)
    if not with_options:
        options = {name for each in (*a, *b) for name in _options(each) if name not in each.about}
        names = {name: None for name in names if name not in options}
    values = {name: [_values(side, name) for side in sides] for name in names}
    differ = [AboutDifference(name, *map(_joined, own)) for name, own in values.items() if set(own[0]) != set(own[1])]
    return sorted(differ, key=lambda each: _rank(each.name))


def evaluated_otherwise(found: Sequence[AboutDifference]) -> list[AboutDifference]:
    """Those of the differences that are of the evaluation, not of the network: split, views, clips."""
    return [each for each in found if each.name.split(".")[0] in EVALUATION]


def differences_within(side: Sequence[Predictions]) -> list[str]:
    """The fields in which the seeds of a side differ, but for those of where and how a run was done."""
    fields = [_flat(each.about) for each in side]
    names = dict.fromkeys(name for each in fields for name in each)
    return sorted((name for name in names if len(_values(fields, name)) > 1 and not _is_last(name)), key=_rank)


def evaluated_on(pairs: Iterable[tuple[Predictions, Predictions]]) -> str:
    """What the first of the pairs that was not evaluated on the same frames has otherwise, in the videos of both.

    Such as "other frames (in 3 of 24 videos looked at)", as `other_frames` has it; empty if there is none.
    """
    for one, other in pairs:
        if found := other_frames(one.about, other.about, set(one.ids.tolist()) & set(other.ids.tolist())):
            return found
    return ""


def same_weights(a: Sequence[Predictions], b: Sequence[Predictions]) -> str | None:
    """The digest or checkpoint that a file of each side names; None if there is none.

    A checkpoint without its folder does not count: all runs name their files alike.
    """
    for name in (*DIGESTS, "checkpoint"):
        own, others = ({str(each.about[name]) for each in side if each.about.get(name)} for side in (a, b))
        if name in DIGESTS and own and others:
            return min(own & others, default=None)
        if found := [path for path in own & others if "/" in path]:
            return min(found)
    return None


def _options(predictions: Predictions) -> Mapping[str, Any]:
    found = predictions.about.get("options")
    return found if isinstance(found, Mapping) else {}


def _flat(about: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Each field as text; a field `views` with `clips` in it is `views.clips`, an option has its own name."""
    found: dict[str, str] = {}
    for name, value in about.items():
        if name in SKIPPED:
            continue
        if isinstance(value, Mapping):
            inner = _flat(value, "" if name == "options" and not prefix else f"{prefix}{name}.")
            found = {**inner, **found}  # a field of the evaluation itself counts more than an option
        elif name == "parts" and isinstance(value, list):
            found[prefix + name] = f"ensemble of {len(value)}"
        else:
            found[prefix + name] = value if isinstance(value, str) else json_text(value)
    return found


def _values(side: Sequence[Mapping[str, str]], name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(fields.get(name, ABSENT) for fields in side))


def _joined(values: Sequence[str]) -> str:
    return shortened(printable(", ".join(values)))


def _is_last(name: str) -> bool:
    return not LAST.isdisjoint(name.split("."))


def _rank(name: str) -> tuple[bool, int]:
    first = name.split(".")[0]
    return _is_last(name), FIRST.index(first) if first in FIRST else len(FIRST)
