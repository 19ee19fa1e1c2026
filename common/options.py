"""Command-line flags as fields of frozen dataclasses. One line defines flag, help, default, bounds and saved value.

Each part of the program declares its own flags and gets an object with only these:

    @dataclass(frozen=True)
    class LossOptions:
        label_smoothing: float = option(0.0, "share of the target spread over all classes", "training", minimum=0)

    add_options(parser, LossOptions())                   # --label-smoothing
    options = read_options(LossOptions, parser.parse_args())

A class may inherit from several such classes; `part` returns the options of one of them.
"""

import argparse
import dataclasses
import math
import typing
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar

from common.cli import LARGEST, StoreNumbers, StoreRead, StoreText, boolean
from common.errors import DataError
from common.text import shortened

Options = TypeVar("Options")
METAVARS = {int: "N", float: "X", str: "NAME", Path: "PATH"}  # values in the help


@dataclasses.dataclass(frozen=True)
class Flag:
    """The properties of a flag besides the name, type and default of its field."""

    help: str
    group: str  # heading in the help
    aliases: tuple[str, ...] = ()  # besides the field's name
    choices: Sequence[str] | None = None
    metavar: str | None = None
    required: bool = False
    minimum: float | None = None
    above: float | None = None
    below: float | None = None
    maximum: int = LARGEST  # of whole numbers
    is_compared: bool = False
    is_fixed: bool = False
    read: Callable[[str | Sequence[str]], Any] | None = None


def option(
    default: Any,
    help: str,
    group: str,
    *,
    aliases: tuple[str, ...] = (),
    choices: Iterable[str] | None = None,
    metavar: str | None = None,
    required: bool = False,
    minimum: float | None = None,
    above: float | None = None,
    below: float | None = None,
    maximum: int = LARGEST,
    is_compared: bool = False,
    is_fixed: bool = False,
    read: Callable[[str | Sequence[str]], Any] | None = None,
) -> Any:
    """A dataclass field that is a flag; the flag has the field's name, with `-` for `_`.

    `minimum`, `above` and `below` bound its value, and `maximum` that of a whole number. `is_compared`: a resumed run
    warns if the value has changed. `is_fixed`: it stops. A checkpoint older than the flag counts as having the default.
    `read` makes the value of the flag's word, or of its words if the value may be a tuple, and raises DataError.
    """
    known = None if choices is None else tuple(choices)
    bounds = (minimum, above, below, maximum)
    flag = Flag(help, group, aliases, known, metavar, required, *bounds, is_compared, is_fixed, read)
    return dataclasses.field(default=default, metadata={"flag": flag})


def flags_of(kind: type | Any) -> dict[str, Flag]:
    """The flags of a dataclass or an instance, by field, in the order of the fields."""
    return {field.name: field.metadata["flag"] for field in dataclasses.fields(kind) if "flag" in field.metadata}


def flag_name(field: str) -> str:
    """The flag of a field: `--lr-base` of `lr_base`."""
    return f"--{field.replace('_', '-')}"


def add_options(parser: argparse.ArgumentParser, defaults: Any, groups: Sequence[str] = ()) -> dict[str, Any]:
    """Add the flags of a dataclass, and return the groups of the help by their headings.

    `defaults` is an instance. `groups` are the headings to begin with, in order. Within a group, the flags of the class
    itself come before those of the classes that it inherits from. Aliases work on the command line, but are not shown.
    """
    flags, own = flags_of(defaults), type(defaults).__annotations__
    types = typing.get_type_hints(type(defaults))
    names = dict.fromkeys([*groups, *(flag.group for flag in flags.values())])
    headings: dict[str, Any] = {name: parser.add_argument_group(name) for name in names}
    for field in sorted(flags, key=lambda field: field not in own):  # own flags first, then inherited ones
        flag = flags[field]
        arguments = _argument(types[field], flag, getattr(defaults, field))
        headings[flag.group].add_argument(flag_name(field), dest=field, help=flag.help, **arguments)
        for spelling in flag.aliases:
            hidden = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
            headings[flag.group].add_argument(spelling, dest=field, **arguments | hidden)
    return headings


def _argument(kind: Any, flag: Flag, default: Any) -> dict[str, Any]:
    """The arguments of add_argument for a field of type `kind`."""
    alternatives = [each for each in typing.get_args(kind) if each is not NoneType]
    if NoneType in typing.get_args(kind) and flag.read is None:
        (kind,) = alternatives
    arguments: dict[str, Any] = {"required": True} if flag.required else {"default": default}
    if flag.choices is not None:
        arguments["choices"] = flag.choices
    if flag.read is not None:
        has_several = any(typing.get_origin(each) is tuple for each in (kind, *typing.get_args(kind)))
        words = {"nargs": "+"} if has_several else {}
        return arguments | words | {"action": partial(StoreRead, read=flag.read), "metavar": flag.metavar}
    if kind is bool:
        return arguments | {"type": boolean, "nargs": "?", "const": True, "metavar": flag.metavar or "True|False"}
    if typing.get_origin(kind) is tuple:
        return arguments | {"nargs": "+", "action": StoreNumbers, "metavar": flag.metavar or "N"}
    assert kind in METAVARS, kind
    if flag.choices is None:
        arguments["metavar"] = flag.metavar or METAVARS[kind]
    return arguments | ({"action": StoreText} if kind is str else {"type": kind})


def read_options(kind: type[Options], namespace: argparse.Namespace) -> Options:
    """The options of a parsed command line; DataError if a value is out of its bounds."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    options = kind(**{name: getattr(namespace, name) for name in names if hasattr(namespace, name)})
    check_bounds(options)
    return options


def check_bounds(options: Any) -> None:
    """DataError that names the flag if a value is out of its bounds, NaN or infinite."""
    for field, flag in flags_of(options).items():
        value = getattr(options, field)
        if value is None:
            continue
        if flag.minimum is not None and not value >= flag.minimum:
            raise DataError(f"{flag_name(field)} {value}: must be {flag.minimum:g} or more")
        if flag.above is not None and not value > flag.above:
            raise DataError(f"{flag_name(field)} {value}: must be above {flag.above:g}")
        if flag.below is not None and not value < flag.below:
            raise DataError(f"{flag_name(field)} {value}: must be below {flag.below:g}")
        if isinstance(value, float) and not math.isfinite(value):
            raise DataError(f"{flag_name(field)} {value}: must be finite")
        if isinstance(value, int) and value > flag.maximum:
            raise DataError(f"{flag_name(field)} {value}: must be {flag.maximum} or less")


def part(options: Any, kind: type[Options]) -> Options:
    """Only those options that `kind` declares."""
    names = [field.name for field in dataclasses.fields(kind)]  # type: ignore[arg-type]
    return kind(**{name: getattr(options, name) for name in names})


def plain(options: Any) -> dict[str, Any]:
    """The options as plain types for JSON and checkpoints: paths as text, tuples as lists."""
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(options)}
    values = {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


def differences(options: Any, before: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
    """The compared options that differ from those saved `before`, by flag: (before, now).

    An option that was not saved counts as its default. DataError if a fixed option differs.
    """
    now = plain(options)
    defaults = plain(type(options)())
    found = {}
    for field, flag in flags_of(options).items():
        old = before.get(field, defaults[field])
        if old != now[field] and flag.is_fixed:
            before_text = shortened(str(old))
            raise DataError(
                f"{flag_name(field)} {now[field]}: the run to resume has {before_text}; give {flag_name(field)} "
                f"{before_text}"
            )
        if old != now[field] and flag.is_compared:
            found[flag_name(field)] = (old, now[field])
    return found
