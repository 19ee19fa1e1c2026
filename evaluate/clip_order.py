"""An order of a video's clips in which the first 1, 2, 5, 10 are each a fair spread over the video."""

COUNTS = (1, 2, 5, 10)
"""Numbers of clips whose scores a table shows besides those of all, where they divide their number."""


def counts_of(clips: int) -> tuple[int, ...]:
    """The numbers of clips, of `clips` evenly spaced ones, that have a fair spread; the last is `clips`.

    These are those of COUNTS that divide `clips`.
    """
    return (*(count for count in COUNTS if count < clips and clips % count == 0), clips)


def clip_order(clips: int) -> list[int]:
    """The numbers 0 to `clips` - 1 of evenly spaced clips in an order with fair beginnings.

    For each count k of `counts_of`, the first k have one clip in each k-th of the video. The first is in its middle.
    """
    order: list[int] = []
    for count in counts_of(clips):
        size = clips // count
        for block in range(count):
            members = range(block * size, (block + 1) * size)
            if not any(clip in members for clip in order):
                order.append(members[(size - 1) // 2])
    assert sorted(order) == list(range(clips))
    return order
