"""Types of the command-line flags that argparse has none for."""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from common.errors import DataError

Number = TypeVar("Number", int, float)
BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


def boolean(text: str) -> bool:
    """`True` or `False` in any case, also yes/no, on/off and 1/0; use with `nargs="?", const=True`."""
    try:
        return BOOLEANS[text.strip().lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither True nor False") from None


def numbers(texts: str | Iterable[str], kind: Callable[[str], Number] = int) -> tuple[Number, ...]:
    """The numbers of `40 60 75` or `40,60,75`, whole or split into words; DataError names what is none."""
    joined = texts if isinstance(texts, str) else " ".join(texts)
    try:
        return tuple(kind(word) for word in re.split(r"[,\s]+", joined) if word)
    except ValueError:
        raise DataError(f"{joined!r} is not a list of whole numbers such as 40 60 75 or 40,60,75") from None


class StoreNumbers(argparse.Action):
    """The action of a flag with `nargs="+"` or `"*"` that stores a tuple of whole numbers, as `numbers` reads them."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Store the tuple; a word that is no number ends the program with the flag's name."""
        try:
            setattr(namespace, self.dest, numbers(values or ()))
        except DataError as error:
            raise argparse.ArgumentError(self, str(error)) from None
