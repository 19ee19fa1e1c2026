"""The networks by name: one dict of builders.

A family of networks is one file that calls `register` for each of its names, such as csn.py, imported in
network/__init__.py. A variant of a family is one row in a table of its file.
"""

import difflib
import re
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase

from common.errors import NetworkError
from common.normalisation import SRTG, Normalisation
from common.text import quoted
from network.base import EPS, VideoNetwork
from network.srtg import PLACEMENTS

Builder = Callable[[int, bool, str], VideoNetwork]
"""(num_classes, gates, placement) to a network; a family without SRTG ignores the last two."""

_builders: dict[str, Builder] = {}


def register(name: str, builder: Builder) -> None:
    """Add a builder; NetworkError if the name is taken."""
    if name in _builders:
        raise NetworkError(f"network {name!r} is registered twice: give the second one another name")
    _builders[name] = builder


def network_names(pattern: str = "*") -> list[str]:
    """The registered names that match a shell pattern such as `srtg_*`, shallow networks first."""
    return sorted((name for name in _builders if fnmatchcase(name, pattern)), key=_by_depth)


def check_name(name: str) -> None:
    """NetworkError with the nearest names if there is no network of that name."""
    if name not in _builders:
        raise NetworkError(f"unknown network {name!r}; did you mean {_near(name)}?")


def create_network(
    name: str,
    num_classes: int,
    gates: bool = False,
    placement: str = "final",
    normalisation: Normalisation = SRTG,
    eps: float = EPS,
) -> VideoNetwork:
    """A new network from clips (B, 3, T, H, W) to logits (B, num_classes).

    With `gates`, each block's temporal gate decides for each clip whether its SRTG is applied. `placement` is the
    SRTG's place in a residual block, see `network.srtg.PLACEMENTS`. `normalisation` is that of the clips that it will
    get, `eps` that of its batch norm. NetworkError if the name or the placement is unknown, or if there is less than
    one class. A warning if gates or placement have no effect.
    """
    check_name(name)
    if not isinstance(num_classes, int) or num_classes < 1:
        raise NetworkError(f"{name} cannot have {quoted(num_classes)} classes: num_classes must be 1 or more")
    if placement not in PLACEMENTS:
        raise NetworkError(f"unknown placement {placement!r}: choose one of {', '.join(PLACEMENTS)}")
    if not name.startswith("srtg_") and (gates or placement != "final"):
        warnings.warn(f"{name} has no SRTG blocks: gates and placement have no effect", stacklevel=2)
    network = _builders[name](num_classes, gates, placement)
    network.name, network.gates, network.placement = name, gates, placement
    network.normalisation = normalisation
    network.set_eps(eps)
    return network


def _near(name: str) -> str:
    """The registered names most similar to `name`; all names if none is similar."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), _builders, n=4, cutoff=0.6)
    return ", ".join(near or network_names())


def _by_depth(name: str) -> list[tuple[int, str]]:
    """A sort key: letters alphabetically, numbers by value, so that r3d_18 comes before r3d_101."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
