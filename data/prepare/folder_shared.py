"""Which folders have many paths in common, of folders with many thousands of videos."""

from array import array
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from data.labels.text import letters

FEWEST = 4  # videos in common that tell anything
MOST_PAIRS = 2000  # of folders that are compared: those of like names, and then those with the most in common
FEW = 16  # folders that have a path; their pairs are counted one by one
ROWS = 4096  # paths that are counted together
Key = tuple[str, ...]  # what a video's path is below a folder
Numbers = NDArray[Any]


class Shared(NamedTuple):
    """The folders with paths that others have, too; of each, these paths by their hashes in order, and their places.

    `pairs` are the numbers of two folders of which at least half of the smaller one's paths are in the other one.
    """

    folders: list[str]
    hashes: list[Numbers]
    places: list[Numbers]
    pairs: list[tuple[int, int]]

    def common(self, pair: tuple[int, int]) -> list[tuple[int, int]]:
        """The places of the videos of equal paths in both folders, in the order of the hashes."""
        one, other = pair
        _, first, second = np.intersect1d(self.hashes[one], self.hashes[other], True, True)
        return list(zip(self.places[one][first].tolist(), self.places[other][second].tolist(), strict=True))


def shared_paths(folders: Sequence[str], key: Callable[[int], Key], most_folders: int) -> Shared:
    """What the `folders` of the videos at all places have in common; `key` is a video's path below its folder.

    Videos of the folder "" are in none. No pairs if more than `most_folders` have paths in common.
    """
    names = sorted(set(folders) - {""})
    number_of = {name: number for number, name in enumerate(names)}
    number, hashes, places = array("q"), array("Q"), array("q")
    for place, folder in enumerate(folders):
        if folder:
            number.append(number_of[folder])
            hashes.append(_hash(key(place)))
            places.append(place)
    of, codes, at = np.array(number), np.array(hashes), np.array(places)
    order = np.lexsort((at, codes, of))
    of, codes, at = of[order], codes[order], at[order]
    is_first = np.ones(len(of), bool)
    is_first[1:] = (of[1:] != of[:-1]) | (codes[1:] != codes[:-1])
    of, codes, at = of[is_first], codes[is_first], at[is_first]
    totals = np.bincount(of, minlength=len(names))
    _, inverse, times = np.unique(codes, return_inverse=True, return_counts=True)
    is_shared = times[inverse] > 1
    numbers = np.bincount(of[is_shared], minlength=len(names))
    is_shared &= numbers[of] >= FEWEST
    kept = np.flatnonzero(numbers >= FEWEST)
    if len(kept) > most_folders or len(kept) < 2:
        return Shared([], [], [], [])
    of, codes, at, inverse = (np.searchsorted(kept, of[is_shared]), codes[is_shared], at[is_shared], inverse[is_shared])
    cuts = np.cumsum(np.bincount(of, minlength=len(kept)))[:-1]
    found = [names[each] for each in kept]
    pairs = _pairs(found, _in_common(of, inverse, len(kept)), totals[kept])
    return Shared(found, np.split(codes, cuts), np.split(at, cuts), pairs)


def _in_common(folders: Numbers, paths: Numbers, number: int) -> Numbers:
    """For each two of the `number` folders, the smaller one first, how many paths both have."""
    order = np.lexsort((folders, paths))
    folders = folders[order]
    _, starts, sizes = np.unique(paths[order], return_index=True, return_counts=True)
    common = np.zeros((number, number), np.float32)
    for size in np.unique(sizes).tolist():
        rows = folders[starts[sizes == size][:, None] + np.arange(size)]
        if size <= FEW:
            for one, other in combinations(range(size), 2):
                np.add.at(common, (rows[:, one], rows[:, other]), 1)
            continue
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            has = np.zeros((len(part), number), np.float32)
            np.put_along_axis(has, part, 1, axis=1)
            common += has.T @ has
    return np.triu(common, 1)


def _pairs(names: Sequence[str], common: Numbers, totals: Numbers) -> list[tuple[int, int]]:
    """The pairs of folders with enough in common, those of like names first, and then the most alike."""
    part = common / np.minimum(totals[:, None], totals[None, :])
    ones, others = np.nonzero((common >= FEWEST) & (part >= 0.5))
    spelled = [letters(name) for name in names]
    is_other = [not _are_alike(spelled[one], spelled[other]) for one, other in zip(ones, others, strict=True)]
    order = np.lexsort((-part[ones, others], np.array(is_other, bool)))[:MOST_PAIRS]
    return list(zip(ones[order].tolist(), others[order].tolist(), strict=True))


def _are_alike(first: str, second: str) -> bool:
    """Whether one name begins or ends with the other one, as data and data_small, but not as c1 and c12."""
    short, name = sorted((first, second), key=len)
    begins = name.startswith(short) and not (name[len(short) :][:1].isdigit() and short[-1:].isdigit())
    return begins or (name.endswith(short) and not (name[: -len(short)][-1:].isdigit() and short[:1].isdigit()))


def _hash(key: Key) -> int:
    """An order in which files of a folder are not beside each other."""
    return int.from_bytes(blake2b("\0".join(key).encode(errors="surrogatepass"), digest_size=8).digest(), "big")
