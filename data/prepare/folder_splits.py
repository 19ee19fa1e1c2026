"""A split into train and val: a part of each class, whole groups on one side, and few moves when videos are added."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from common.text import composed

PASSES = 30  # over all groups, until nothing gets better
MOST_PAIRS = 20_000  # that are tried for classes which have no video on a side
LACKS = 1e6  # the cost of a class without a video on a side, though it has two groups


def split_groups(
    labels: Sequence[str], groups: Sequence[str], part: float, seed: int, fixed: Mapping[str, str]
) -> dict[str, str]:
    """The side of each group, "train" or "val": about `part` of each class's videos are val.

    `labels` and `groups` are those of each video. Groups are tried in the order of a hash of `seed` and their names.
    Each class of two or more groups gets at least one on each side, unless the groups of other classes rule that out.
    `fixed` are the sides of groups that do not move.
    """
    balance = _Balance(labels, groups, part)
    sides = {group: fixed.get(group, "train") for group in dict.fromkeys(groups)}
    for group, side in sides.items():
        if side == "val":
            balance.move(group, True)
    free = sorted((group for group in sides if group not in fixed), key=lambda group: (_hash(seed, group), group))
    for _ in range(PASSES):
        moved = False
        for group in free:
            to_val = sides[group] != "val"
            if balance.gain({group: to_val}) > 1e-9:
                balance.move(group, to_val)
                sides[group] = "val" if to_val else "train"
                moved = True
        if not moved:
            break
    _exchange(balance, sides, free)
    return sides


def _exchange(balance: "_Balance", sides: dict[str, str], free: Sequence[str]) -> None:
    """Exchange pairs of groups while classes lack a side."""
    tried = 0
    for label in balance.lacking():
        for group in (each for each in free if label in balance.of_group[each]):
            for other in (each for each in free if sides[each] != sides[group]):
                tried += 1
                if tried > MOST_PAIRS:
                    return
                change = {group: sides[group] != "val", other: sides[other] != "val"}
                if balance.gain(change) > LACKS / 2:
                    for each, to_val in change.items():
                        balance.move(each, to_val)
                        sides[each] = "val" if to_val else "train"
                    break


class _Balance:
    """How far the numbers of val videos of the classes are from what they should be."""

    def __init__(self, labels: Sequence[str], groups: Sequence[str], part: float) -> None:
        self.of_group: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for label, group in zip(labels, groups, strict=True):
            self.of_group[group][label] += 1
        self._videos = Counter(labels)
        self._groups = Counter(label for counts in self.of_group.values() for label in counts)
        self._wanted = {label: max(1.0, min(number - 1, part * number)) for label, number in self._videos.items()}
        self._val: Counter[str] = Counter()
        self._val_groups: Counter[str] = Counter()

    def gain(self, change: Mapping[str, bool]) -> float:
        """How much better it gets if groups move, to val or away from it."""
        videos: Counter[str] = Counter()
        groups: Counter[str] = Counter()
        for group, to_val in change.items():
            for label, number in self.of_group[group].items():
                videos[label] += number if to_val else -number
                groups[label] += 1 if to_val else -1
        return sum(self._cost(label, 0, 0) - self._cost(label, videos[label], groups[label]) for label in videos)

    def move(self, group: str, to_val: bool) -> None:
        """Move a group to val, or away from it."""
        for label, number in self.of_group[group].items():
            self._val[label] += number if to_val else -number
            self._val_groups[label] += 1 if to_val else -1

    def lacking(self) -> list[str]:
        """The classes that have two groups and yet no video on a side."""
        return [label for label in self._videos if self._cost(label, 0, 0) >= LACKS]

    def _cost(self, label: str, videos: int, groups: int) -> float:
        number, val = self._groups[label], self._val_groups[label] + groups
        if number < 2:
            return LACKS if val else 0.0  # the only group is better used for training
        lacks = LACKS if val in (0, number) else 0.0
        return lacks + (self._val[label] + videos - self._wanted[label]) ** 2 / self._videos[label]


def _hash(seed: int, group: str) -> bytes:
    """Of a group in either Unicode form: a folder that went over a Mac has the same split."""
    return hashlib.blake2b(f"{seed}\0{composed(group)}".encode(errors="backslashreplace"), digest_size=8).digest()


def sides_of(groups: Iterable[str], splits: Iterable[str]) -> dict[str, Counter[str]]:
    """The numbers of videos of each group by split; videos without one are not counted."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group, split in zip(groups, splits, strict=True):
        if split:
            found[group][split] += 1
    return found


def known_sides(known: Sequence[str], groupings: Iterable[Sequence[str]]) -> list[str]:
    """The side of each video that is `known`; else that of most known videos of its group, in the first of `groupings`.

    Each of `groupings` has the group of every video; the first are the recordings. Videos whose recording is in other
    groups, too, may have the side of these: they count only in groups that have no others. Empty for a video of which
    no grouping tells the side.
    """
    sides = list(known)
    recordings: Sequence[str] = ()
    for groups in groupings:
        spread = set[str]()
        if recordings:
            pairs = Counter(recording for recording, _ in set(zip(recordings, groups, strict=True)))
            spread = {recording for recording, number in pairs.items() if number > 1}
        else:
            recordings = groups
        own = ["" if recording in spread else side for recording, side in zip(recordings, known, strict=True)]
        found = sides_of(groups, known) | sides_of(groups, own)
        most = {group: sides_in.most_common(1)[0][0] for group, sides_in in found.items()}
        sides = [side or most.get(group, "") for side, group in zip(sides, groups, strict=True)]
    return sides
