"""The frame rates of a dataset as text."""

from collections import Counter
from collections.abc import Mapping
from statistics import median

from data.labels.text import counted
from data.store.origin import Origin

MAX_RATES = 6  # different ones in a text; of more, the range is given


def constant_rate(made: Origin | None) -> float | None:
    """The frames a second of a video; None if they vary or are not known."""
    return None if made is None or made.is_variable else made.fps


def rates_text(counts: Mapping[float | None, int]) -> str:
    """How many of the videos have which rate: "25 (310 videos), 30 (19), variable or unknown (3)".

    `counts` are the numbers of videos by their `constant_rate`.
    """
    rates = sorted((rate, number) for rate, number in counts.items() if rate is not None)
    found = Counter[str]()
    for rate, number in rates:
        found[f"{rate:.4g}"] += number
    if len(found) > MAX_RATES:
        middle = median(rate for rate, number in rates for _ in range(number))
        found = Counter({f"{rates[0][0]:.4g} to {rates[-1][0]:.4g}, median {middle:.4g}": found.total()})
    if None in counts:
        found["variable or unknown"] = counts[None]
    first, *others = found.items()
    return ", ".join([f"{first[0]} ({counted(first[1], 'video')})", *(f"{text} ({number})" for text, number in others)])
