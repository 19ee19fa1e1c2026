"""How many videos the labels of a split name, and how many of them are not on disk or cannot be used."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from common.text import shortened

MOST_REASONS = 10  # kinds of reasons that are counted one by one
OTHERS = "other reasons"
_FILE = re.compile(r"^\(.*?\.\w{1,5}\) ")  # before the reason of a video file
_VALUE = re.compile(r"'[^']*'|[0-9]+(\.[0-9]+)?")


class LabelCounts(NamedTuple):
    """The counts of a split: `named` videos less the absent and the unusable ones are the videos of its VideoList."""

    named: int
    absent: int
    unusable: tuple[tuple[str, int], ...]
    """Kinds of reasons, most frequent first, and the number of videos on disk that cannot be used for it."""

    @classmethod
    def of(cls, named: int, absent: int, problems: Iterable[str]) -> "LabelCounts":
        """Counts with the problems (FoundVideo.problem) of the unusable videos by kind."""
        kinds = Counter(map(kind_of, problems)).most_common()
        others = sum(number for _, number in kinds[MOST_REASONS:])
        return cls(named, absent, (*kinds[:MOST_REASONS], *([(OTHERS, others)] if others else [])))

    @classmethod
    def from_plain(cls, value: Sequence[object]) -> "LabelCounts":
        """Counts that JSON has made a list of. ValueError for a list of anything else."""
        named, absent, unusable = value
        if not isinstance(named, int) or not isinstance(absent, int) or not isinstance(unusable, list):
            raise ValueError("its counts are of other types")
        return cls(named, absent, tuple((str(reason), int(number)) for reason, number in unusable))


def kind_of(problem: str) -> str:
    """What problems of one kind have in common: without paths, numbers and what follows a colon."""
    text = _FILE.sub("", problem).partition(": ")[0]
    return shortened(_VALUE.sub(lambda match: "'...'" if match[0].startswith("'") else "N", text), 120)
