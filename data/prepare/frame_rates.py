"""The frame rates of a dataset as text."""

from collections import Counter
from collections.abc import Sequence
from statistics import median

from data.labels.text import counted
from data.store.origin import Origin

MAX_RATES = 6  # different ones in a text; of more, the range is given


def rates_text(origins: Sequence[Origin | None]) -> str:
    """How many of the videos have which rate: "25 (310 videos), 30 (19), variable or unknown (3)"."""
    constant = [made.fps for made in origins if made and made.fps and not made.is_variable]
    found = Counter(f"{rate:.4g}" for rate in sorted(constant))
    if len(found) > MAX_RATES:
        found = Counter({f"{min(constant):.4g} to {max(constant):.4g}, median {median(constant):.4g}": len(constant)})
    if other := len(origins) - len(constant):
        found["variable or unknown"] = other
    first, *others = found.items()
    return ", ".join([f"{first[0]} ({counted(first[1], 'video')})", *(f"{text} ({number})" for text, number in others)])
