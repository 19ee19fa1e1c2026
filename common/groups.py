"""Groups of names that are alike."""

from collections.abc import Iterable, Sequence


def joined(alike: Iterable[Sequence[str]]) -> list[list[str]]:
    """The names that are alike, directly or by way of others: groups of two or more, the largest first, each in order.

    `alike` are names of which each is like the others; those with a name in common become one group.
    """
    group_of: dict[str, set[str]] = {}
    for names in alike:
        if len(names) > 1:
            group = set(names).union(*(group_of.get(name, ()) for name in names))
            group_of.update(dict.fromkeys(group, group))
    different = {id(group): sorted(group) for group in group_of.values()}
    return sorted(different.values(), key=lambda group: (-len(group), group))
