"""Names of networks and what builds them."""

import difflib
import re
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase

from common.errors import NetworkError
from network.base import VideoNetwork
from network.srtg import PLACEMENTS

Builder = Callable[[int, bool, str], VideoNetwork]
"""Takes the number of classes, whether temporal gates decide, and the SRTG's placement in a block."""

_builders: dict[str, Builder] = {}


def register(name: str, builder: Builder) -> None:
    """Make `builder` known as `name`; NetworkError if the name is taken."""
    if name in _builders:
        raise NetworkError(f"network {name!r} is registered twice: names near it are {_near(name)}")
    _builders[name] = builder


def network_names(pattern: str = "*") -> list[str]:
    """The registered names that match a shell pattern such as `srtg_*`, shallow networks first."""
    return sorted((name for name in _builders if fnmatchcase(name, pattern)), key=_by_depth)


def check_name(name: str) -> None:
    """NetworkError with the nearest names if there is no network of that name."""
    if name not in _builders:
        raise NetworkError(f"unknown network {name!r}; did you mean {_near(name)}?")


def create_network(name: str, num_classes: int, gates: bool = False, placement: str = "final") -> VideoNetwork:
    """A new network that takes clips (B, 3, T, H, W) and gives logits (B, num_classes).

    `gates` lets a temporal gate decide for each clip whether a block's recursion is applied; `placement` says where
    in a residual block it is applied. NetworkError on an unknown name or placement and on fewer than one class.
    """
    check_name(name)
    if num_classes < 1:
        raise NetworkError(f"{name} cannot tell {num_classes} classes apart: num_classes must be 1 or more")
    if placement not in PLACEMENTS:
        raise NetworkError(f"unknown placement {placement!r}: choose one of {', '.join(PLACEMENTS)}")
    if not name.startswith("srtg_") and (gates or placement != "final"):
        warnings.warn(f"{name} has no SRTG blocks: gates and placement have no effect", stacklevel=2)
    network = _builders[name](num_classes, gates, placement)
    network.name = name
    return network


def _near(name: str) -> str:
    """The registered names most like `name`, or all of them where none is."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), _builders, n=4, cutoff=0.6)
    return ", ".join(near or network_names())


def _by_depth(name: str) -> list[tuple[int, str]]:
    """Sorts r3d_18 before r3d_101: words by letter, numbers by value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
