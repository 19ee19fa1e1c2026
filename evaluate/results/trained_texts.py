"""The warnings that videos to evaluate are training videos of the weights, and what share of the videos one means."""

import re

_ALL = " was trained on these very videos"
_SOME = re.compile(r"(\d{1,12}) of (\d{1,12}) validation videos are among the training videos of ")


def all_trained(path: object, change: str = "") -> str:
    """The warning if they are all; `change` says what else differs: ", with other frames"."""
    return f"{path}{_ALL}{change}"


def some_trained(path: object, number: int, videos: int) -> str:
    """The warning if a number of the videos to validate are training videos of a file."""
    return f"{number} of {videos} validation videos are among the training videos of {path}"


def trained_share(warning: str) -> float:
    """The share of the videos that were trained on, from 0 to 1, by one of these warnings; 0 for another text."""
    if found := _SOME.search(warning):
        return min(1.0, int(found[1]) / max(1, int(found[2])))
    return float(warning.endswith(_ALL) or f"{_ALL}, with " in warning)
