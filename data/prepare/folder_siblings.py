"""Whether the name or the class of a video tells its length, as s01_slow.mp4 and s02_slow.mp4, which last equally."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from data.prepare.folder_shared import Key

MOST = 8  # pairs of videos that are compared for each part of the names
Kind = tuple[int, int]  # which part of a path differs: of which folder or name, counted from the end, and which word
OF_CLASS = (0, 0)  # all but the first part of the path, which is the class


def siblings_of(
    sample: Sequence[int], places: Iterable[int], key: Callable[[int], Key], has_class: bool
) -> Mapping[Kind, list[tuple[int, int]]]:
    """For each part of the paths in `sample`, pairs of it with others of `places` whose path differs in that part only.

    With `has_class`, also those of one class, under OF_CLASS. The first of `places` are preferred.
    """
    wanted = {pattern: list[int]() for place in sample for _, pattern in _patterns(key(place), has_class)}
    for place in places:
        for _, pattern in _patterns(key(place), has_class):
            if len(found := wanted.get(pattern, _FULL)) < 2:
                found.append(place)
    pairs: defaultdict[Kind, list[tuple[int, int]]] = defaultdict(list)
    for place in sample:
        for kind, pattern in _patterns(key(place), has_class):
            other = next((each for each in wanted[pattern] if each != place), None)
            if other is not None and len(pairs[kind]) < MOST:
                pairs[kind].append((place, other))
    return pairs


_FULL = [0, 0]


def _patterns(key: Key, has_class: bool) -> Iterator[tuple[Kind, str]]:
    """The path without a folder, without its name, or without a number or word in one of them."""
    if has_class:
        yield OF_CLASS, key[0]
    for number, part in enumerate(key):
        before, after = "\0".join((*key[:number], "")), "\0".join(("", *key[number + 1 :]))
        words = list(re.finditer(r"[0-9]+|[^\W\d_]+", part))
        spans = {(0, len(part)), *(match.span() for match in words)} if part else set()
        for place, (start, end) in enumerate(sorted(spans)):
            yield (number - len(key), place), f"{before}{part[:start]}\0\0{part[end:]}{after}"
