"""Whether options.json and passport.json are of the run of the newest checkpoint: they may be copied or edited."""

from collections.abc import Iterator, Mapping
from typing import Any

from common.options import flag_name
from train.checkpoint.checks import is_option
from train.run_folder import KEY

MOST_NAMED = 6
OF_A_START = {"given", "resume_epoch", "device", "gpus", "workers"}
"""Options that differ whenever a run goes on elsewhere."""


def is_of_other_run(facts: Mapping[str, Any], checkpoint: Mapping[str, Any]) -> bool:
    """Whether a file of a run has another key than a checkpoint; older versions saved none."""
    keys = facts.get(KEY), checkpoint.get(KEY)
    return all(isinstance(key, str) for key in keys) and keys[0] != keys[1]


def other_values(options: object, saved: object) -> str:
    """The flags of which a checkpoint has another value: "--mixup, --lr-base"; or nothing.

    Options that one of both lacks, as of an older version, are not compared, nor those that belong to a start.
    """
    if not isinstance(options, Mapping) or not isinstance(saved, Mapping):
        return ""
    found = list(_others(options, saved))
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more


def _others(options: Mapping[Any, Any], saved: Mapping[Any, Any]) -> Iterator[str]:
    for name, value in options.items():
        if isinstance(name, str) and name in saved and name not in OF_A_START:
            values = [list(each) if isinstance(each, tuple) else each for each in (value, saved[name])]
            if all(map(is_option, values)) and values[0] != values[1]:
                yield flag_name(name)
