"""RandAugment's operations on grey levels: those of a clip are one table, from each level of each channel to another.

What depends on the clip's pixels is the same for all its frames, so that it does not flicker, and is of the pixels that
`level_counts` takes, before any other operation. All numbers are integers: tables are the same on every device.
"""

from collections.abc import Callable
from math import sqrt
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from data.augment.composed import operations_of
from data.augment.packed import to_device
from data.augment.params import MOST_OPERATIONS
from data.augment.randaugment import OPERATIONS

COUNTED_SIDE = 56  # rows and columns that are counted at least, of a large square frame
GREY, WHOLE = (19595, 38470, 7471), 65536  # weights of R, G, B in Pillow's conversion to grey, and their sum


class LevelTables(NamedTuple):
    """The tables of the chosen ones of n clips."""

    is_chosen: np.ndarray  # bool (n,)
    tables: Tensor  # uint8 (m, 3, 256), on the device


class _Plan(NamedTuple):
    """The operations of m clips: what is known beforehand, and between that, what depends on the pixels."""

    known: np.ndarray  # uint8 (steps + 1, m, 256): tables
    names: np.ndarray  # str (steps, m): of STATISTICS, or empty
    percent: np.ndarray  # int64 (steps, m): factors of contrast


def changes_levels(fields: np.ndarray) -> np.ndarray:
    """Which of the clips with the `named_params` fields (n,) have a table, bool (n,)."""
    return np.any(operations_of(fields, *KNOWN, *STATISTICS), axis=1)


def level_tables(clips: Tensor, fields: np.ndarray) -> LevelTables | None:
    """The tables of uint8 clips (n, 3, T, h, w) with the `named_params` fields (n,); None if no clip has one."""
    is_chosen = changes_levels(fields)
    if not is_chosen.any():
        return None
    plan = _plan(fields[is_chosen])
    counted = np.flatnonzero((plan.names != "").any(0))
    chosen = [np.flatnonzero(names == name) for names in plan.names for name in STATISTICS]
    arrays = [plan.known, plan.percent, counted, np.flatnonzero(is_chosen)[counted], *chosen]
    known, percent, of_chosen, of_batch, *rest = to_device(arrays, clips.device)
    tables = known[0].long()[:, None].repeat(1, 3, 1)
    if len(counted):
        counts = torch.zeros_like(tables).index_copy_(0, of_chosen, level_counts(clips, of_batch))
    indices = iter(rest)
    for step in range(len(plan.names)):
        for function in STATISTICS.values():
            index = next(indices)
            if len(index):
                some = (each.index_select(0, index) for each in (tables, counts, percent[step]))
                tables.index_copy_(0, index, function(*some))
        tables = known[step + 1].long()[:, None].expand_as(tables).gather(2, tables)
    return LevelTables(is_chosen, tables.byte())


def looked_up(x: Tensor, tables: Tensor) -> Tensor:
    """The levels of x (m, 3, T, h, w), whole numbers in float32, through the clips' tables (m, 3, 256)."""
    first = torch.arange(0, tables.numel(), 256, dtype=torch.int32, device=x.device).view(-1, 3, 1, 1, 1)
    places = x.to(torch.int32).add_(first)
    return tables.float().flatten().index_select(0, places.flatten()).view(x.shape)


def level_counts(clips: Tensor, chosen: Tensor) -> Tensor:
    """How many pixels of the chosen (m,) of uint8 clips (n, 3, T, h, w) have each level: int64 (m, 3, 256).

    Counted are every k-th row and column, so that of a large frame there are at least 3,000 pixels.
    """
    k = max(1, int(sqrt(clips.shape[3] * clips.shape[4]) / COUNTED_SIDE))
    some = clips[..., ::k, ::k].index_select(0, chosen).long()
    counts = torch.zeros(len(some) * 3 * 256, dtype=torch.int64, device=clips.device)
    some += torch.arange(0, len(counts), 256, device=clips.device).view(-1, 3, 1, 1, 1)
    ones = torch.ones((), dtype=torch.int64, device=clips.device).expand(some.numel())
    return counts.scatter_add_(0, some.flatten(), ones).view(-1, 3, 256)


def _plan(fields: np.ndarray) -> _Plan:
    known = np.tile(np.arange(256), (MOST_OPERATIONS + 1, len(fields), 1))
    names = np.full((MOST_OPERATIONS, len(fields)), "", dtype="<U16")
    percent = np.zeros((MOST_OPERATIONS, len(fields)), np.int64)
    for clip, each in enumerate(fields):
        step = 0
        for place, strength in zip(each["operations"].astype(int), each["strengths"].tolist(), strict=True):
            name = OPERATIONS[place]
            if name in KNOWN:
                known[step, clip] = KNOWN[name](strength)[known[step, clip]]
            elif name in STATISTICS:
                names[step, clip], percent[step, clip] = name, round(100 * strength)
                step += 1
    steps = int((names != "").any(1).sum())
    return _Plan(known[: steps + 1].astype(np.uint8), names[:steps], percent[:steps])


def _inverted(threshold: float) -> np.ndarray:
    levels = np.arange(256)
    return np.where(levels < threshold, levels, 255 - levels)


def _brighter(factor: float) -> np.ndarray:
    return np.minimum(np.arange(256) * round(100 * factor) // 100, 255)


def _autocontrast(tables: Tensor, counts: Tensor, percent: Tensor) -> Tensor:
    """The lowest level of each channel becomes 0 and the highest 255; a channel of one level stays."""
    low = tables.masked_fill(counts == 0, 255).amin(2, keepdim=True)
    span = tables.masked_fill(counts == 0, 0).amax(2, keepdim=True) - low
    spread = torch.div((tables - low) * 255, span.clamp(min=1), rounding_mode="floor").clamp_(0, 255)
    return torch.where(span > 0, spread, tables)


def _equalized(tables: Tensor, counts: Tensor, percent: Tensor) -> Tensor:
    """All levels of a channel become about equally frequent, as by Pillow; a channel of one level stays."""
    counts = torch.zeros_like(counts).scatter_add_(2, tables, counts)  # of the levels now
    levels = torch.arange(256, device=tables.device).expand_as(tables)
    highest = (levels * (counts > 0)).amax(2, keepdim=True)
    step = torch.div(counts.sum(2, keepdim=True) - counts.gather(2, highest), 255, rounding_mode="floor")
    before = counts.cumsum(2) - counts + torch.div(step, 2, rounding_mode="floor")
    equal = torch.div(before, step.clamp(min=1), rounding_mode="floor").clamp_(max=255)
    return torch.where(step > 0, equal, levels).gather(2, tables)


def _contrasted(tables: Tensor, counts: Tensor, percent: Tensor) -> Tensor:
    """The distance from the clip's mean grey is multiplied."""
    sums = (counts * tables).sum(2)
    grey = sum(sums[:, channel] * weight for channel, weight in enumerate(GREY))
    whole = counts[:, 0].sum(1) * WHOLE
    mean = torch.div(2 * grey + whole, 2 * whole, rounding_mode="floor")[:, None, None]  # rounded
    distance = percent[:, None, None] * (tables - mean)
    return torch.div(100 * mean + distance, 100, rounding_mode="floor").clamp_(0, 255)


KNOWN: dict[str, Callable[[float], np.ndarray]] = {
    "solarize": _inverted,
    "posterize": lambda bits: np.arange(256) & (256 - 2 ** (8 - int(bits))),
    "brightness": _brighter,
}
"""A table (256,) for a strength."""
STATISTICS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "autocontrast": _autocontrast,
    "equalize": _equalized,
    "contrast": _contrasted,
}
"""Tables int64 (m, 3, 256), which have become of tables, of the counts of a clip's levels and the percent (m,)."""
